"""Bring up the segmentation node.

One camera: ``ros2 launch lsabinet_ros segment.launch.py image_topic:=/my/image``.
Several: ``ros2 launch lsabinet_ros segment.launch.py cameras:=front,rear``.

Arguments: ``ros2 launch lsabinet_ros segment.launch.py --show-args``.
"""

import os
from pathlib import Path
from typing import List  # noqa: UP035

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

SHARE = Path(__file__).resolve().parents[1]
"""Holds launch/ and config/, in the checkout as in the installation."""

BOOLEANS = ["true", "false", "True", "False"]

# Image-sized blocks are kept for reuse instead of being given back to the system with every frame; docs/transport.md.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
# Fast DDS 2 reads the first, Fast DDS 3 the second.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def arguments():
    """The launch arguments. An empty one leaves the value of the parameter file."""
    return [
        DeclareLaunchArgument(
            "image_topic",
            default_value="image_raw",
            description="Camera topic (sensor_msgs/Image), relative to the namespace unless it begins with '/'. "
            "With compressed, the topic <image_topic>/compressed is subscribed. With cameras, relative to each name.",
        ),
        DeclareLaunchArgument(
            "cameras",
            default_value="",
            description="Names of several cameras that share the network, separated by commas: the camera NAME is "
            "read from NAME/<image_topic>, NAME/image_raw by default, and its masks are on ~/NAME/output/mask. "
            "Empty: one camera. Name them here and not in params_file, which this file does not read.",
        ),
        DeclareLaunchArgument(
            "weights",
            default_value="",
            description="Name of shipped weights, path of a .safetensors file or of an exported network; empty: as in "
            "params_file.",
        ),
        DeclareLaunchArgument(
            "device",
            default_value="",
            description="auto, cpu, cuda or cuda:N; empty: as in params_file.",
        ),
        DeclareLaunchArgument(
            "precision",
            default_value="",
            description="auto, fp32, bf16, fp16, or int8, which `lsabinet export` makes; empty: as in params_file.",
        ),
        DeclareLaunchArgument(
            "backend",
            default_value="",
            description="Inference engine, or auto for the fastest on this machine; empty: as in params_file.",
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(SHARE / "config" / "segment.param.yaml"),
            description="Parameter file of the node.",
        ),
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of the node and its relative topics."
        ),
        DeclareLaunchArgument(
            "autostart",
            default_value="true",
            choices=BOOLEANS,
            description="Configure and activate the node; otherwise it waits for a lifecycle manager or "
            "`ros2 lifecycle set`.",
        ),
        DeclareLaunchArgument(
            "compressed",
            default_value="",
            choices=["", *BOOLEANS],
            description="Subscribe to compressed images (sensor_msgs/CompressedImage); empty: as in params_file.",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=BOOLEANS,
            description="Take the time from /clock, as for a simulator or a bag played with --clock.",
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="Least severity that the node logs.",
        ),
    ]


def start_node(context):
    """The node with its event handlers, from the arguments' values."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    if not Path(value("params_file")).is_file():
        raise RuntimeError(f"params_file: expected a parameter file, got {value('params_file')!r}, which is none")
    overrides = {"use_sim_time": value("use_sim_time").lower() == "true"}
    for name in ("weights", "device", "precision", "backend"):
        if value(name):
            # A string even if it reads like a number.
            overrides[name] = ParameterValue(value(name), value_type=str)
    if value("compressed"):
        overrides["compressed"] = value("compressed").lower() == "true"
    cameras = [name.strip() for name in value("cameras").split(",")] if value("cameras").strip() else []
    if cameras:
        # launch_ros knows no list[str].
        overrides["cameras"] = ParameterValue(cameras, value_type=List[str])  # noqa: UP006
        if not all(name.isascii() and name.isidentifier() for name in cameras):
            raise RuntimeError(f"cameras: expected ROS names separated by commas, got {value('cameras')!r}")
        if value("image_topic").startswith("/"):
            raise RuntimeError(
                "image_topic: expected a topic relative to each of the cameras, as image_raw, "
                f"got {value('image_topic')!r}"
            )
    topics = {f"~/{name}": f"{name}/{value('image_topic')}" for name in cameras} or {"~": value("image_topic")}

    environment = {name: size for name, size in MALLOC.items() if name not in os.environ}
    if not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        environment |= {name: str(SHARE / "config" / "fastdds.xml") for name in PROFILE_VARIABLES}

    def end_with_node(event, context):
        # After Ctrl-C the launch is ending already; a second shutdown would make its exit status 1.
        return None if context.is_shutdown else [Shutdown(reason="the segmentation node ended")]

    node = LifecycleNode(
        package="lsabinet_ros",
        executable="segmentation",
        name="segmentation",
        namespace=value("namespace"),
        parameters=[value("params_file"), overrides],
        remappings=[
            (f"{prefix}/input/image{transport}", topic + transport)
            for prefix, topic in topics.items()
            for transport in ("", "/compressed")
        ],
        ros_arguments=["--log-level", value("log_level")],
        additional_env=environment,
        output="screen",
        on_exit=end_with_node,
    )
    if value("autostart").lower() != "true":
        return [node]

    def change_state(transition):
        event = ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
        return EmitEvent(event=event)

    # The handlers come before the node, so that no event is missed.
    return [
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="configuring",
                goal_state="inactive",
                entities=[change_state(Transition.TRANSITION_ACTIVATE)],
            )
        ),
        RegisterEventHandler(
            OnProcessStart(target_action=node, on_start=[change_state(Transition.TRANSITION_CONFIGURE)])
        ),
        node,
    ]


def generate_launch_description():
    return LaunchDescription([*arguments(), OpaqueFunction(function=start_node)])
