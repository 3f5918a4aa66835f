"""Start the segmentation node for several cameras whose topics and settings are in one file.

``ros2 launch lsabinet_ros multi_camera.launch.py cameras_file:=cameras.yaml``

The other arguments are those of segment.launch.py.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

SHARE = Path(__file__).resolve().parents[1]
"""The folder that holds launch/ and config/, in the checkout as well as in an installation."""


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "cameras_file",
                description="YAML file that names the cameras with their topics and settings; config/cameras.yaml is "
                "an example.",
            ),
            # It sees this file's arguments.
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(SHARE / "launch" / "segment.launch.py"))),
        ]
    )
