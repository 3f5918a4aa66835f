"""Play a bag through the segmentation node, with the bag's time, and end with it.

``ros2 launch lsabinet_ros replay.launch.py bag:=drive.mcap image_topic:=/camera/image_raw rviz:=true``

The arguments of segment.launch.py (weights, device, ...) apply here too; ``--show-args`` lists all of them.
"""

import shutil
from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(__file__).resolve().parents[1]
"""The folder that holds launch/ and config/, in the checkout as well as in an installation."""

BOOLEANS = ["true", "false", "True", "False"]


def arguments():
    """The launch arguments in addition to those of segment.launch.py."""
    return [
        DeclareLaunchArgument("bag", description="Bag to play: rosbag2 folder, .mcap, .db3 or ROS 1 .bag."),
        DeclareLaunchArgument("rate", default_value="1.0", description="Playback speed; 2.0 is twice as fast."),
        DeclareLaunchArgument(
            "loop",
            default_value="false",
            choices=BOOLEANS,
            description="Start again at the end of the bag, until Ctrl-C.",
        ),
        DeclareLaunchArgument(
            "rviz",
            default_value="false",
            choices=BOOLEANS,
            description="Open RViz on the frames and the overlay; needs rviz2.",
        ),
    ]


def lsabinet_command():
    """Path of the ``lsabinet`` command of the environment or workspace that this file is installed in."""
    prefix = SHARE.parents[1]
    installed = (prefix / "lib" / "lsabinet_ros" / "lsabinet", prefix / "bin" / "lsabinet")
    found = next((str(path) for path in installed if path.is_file()), None) or shutil.which("lsabinet")
    if found is None:
        raise RuntimeError("the command lsabinet was not found: build the workspace or activate the environment")
    return found


def start(context):
    """Create the actions from the values of the launch arguments."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    bag = Path(value("bag")).expanduser()
    if not bag.exists():
        raise RuntimeError(f"bag: no such file or folder: {value('bag')!r}")

    def end_with_bag(event, context):
        # After Ctrl-C, launch is already shutting down; a second shutdown would turn its exit status into 1.
        return None if context.is_shutdown else [Shutdown(reason="the bag has ended")]

    # The player waits for the node to subscribe.
    play = [lsabinet_command(), "bag", "play", str(bag), "--clock", "--rate", value("rate"), "--wait", "120"]
    if value("loop").lower() == "true":
        play.append("--loop")
    actions = [ExecuteProcess(cmd=play, name="bag_player", output="screen", on_exit=end_with_bag)]
    if value("rviz").lower() == "true":
        view = str(SHARE / "config" / "segment.rviz")
        actions.append(
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", view],
                parameters=[{"use_sim_time": True}],
                output="screen",
            )
        )
    return actions


def generate_launch_description():
    segment = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "segment.launch.py")),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    return LaunchDescription([*arguments(), segment, OpaqueFunction(function=start)])
