"""Start a camera driver for a Video4Linux device, and the segmentation node on its images.

``ros2 launch lsabinet_ros v4l2.launch.py video_device:=/dev/video0``

The arguments of segment.launch.py (weights, device, ...) apply here too; ``--show-args`` lists all of them.
"""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(__file__).resolve().parents[1]
"""The folder that holds launch/ and config/, in the checkout as well as in an installation."""

DRIVERS = {"usb_cam": "usb_cam_node_exe", "v4l2_camera": "v4l2_camera_node"}
"""Packages of camera drivers, in the order of preference, with their executables."""


def arguments():
    """The launch arguments in addition to those of segment.launch.py."""
    return [
        DeclareLaunchArgument(
            "driver",
            default_value="auto",
            choices=["auto", *DRIVERS],
            description="Package of the camera driver; auto is the first that is installed.",
        ),
        DeclareLaunchArgument("video_device", default_value="/dev/video0", description="Video4Linux device."),
        DeclareLaunchArgument("image_width", default_value="640", description="Width of the images in pixels."),
        DeclareLaunchArgument("image_height", default_value="480", description="Height of the images in pixels."),
        DeclareLaunchArgument(
            "camera_frame", default_value="camera", description="frame_id of the images, and name of the driver's node."
        ),
    ]


def is_installed(package):
    """Whether the ROS package is in the ament index."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def choose_driver(name):
    """The package of the driver. Raise RuntimeError if it is not installed."""
    found = next((driver for driver in DRIVERS if name in ("auto", driver) and is_installed(driver)), None)
    if found is None:
        wanted = " or ".join(DRIVERS) if name == "auto" else name
        package = next(iter(DRIVERS)) if name == "auto" else name
        raise RuntimeError(
            f"driver: {wanted} is not installed: sudo apt install ros-$ROS_DISTRO-{package.replace('_', '-')}"
        )
    return found


def driver_parameters(driver, device, frame, width, height):
    """The parameters of the driver's node; the two packages name them differently."""
    if driver == "usb_cam":
        return {"video_device": device, "frame_id": frame, "image_width": width, "image_height": height}
    return {"video_device": device, "camera_frame_id": frame, "image_size": [width, height]}


def start_camera(context):
    """Create the driver's node from the values of the launch arguments."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    driver = choose_driver(value("driver"))
    sizes = value("image_width"), value("image_height")
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise RuntimeError(f"image_width, image_height: expected positive integers, got {sizes[0]!r}, {sizes[1]!r}")
    width, height = map(int, sizes)
    return [
        Node(
            package=driver,
            executable=DRIVERS[driver],
            name=value("camera_frame"),
            namespace=value("namespace"),
            parameters=[driver_parameters(driver, value("video_device"), value("camera_frame"), width, height)],
            remappings=[("image_raw", value("image_topic"))],
            output="screen",
        )
    ]


def generate_launch_description():
    segment = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "segment.launch.py")),
    )
    # The driver comes after segment.launch.py, which declares namespace and image_topic.
    return LaunchDescription([*arguments(), segment, OpaqueFunction(function=start_camera)])
