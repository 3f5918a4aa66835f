"""Start the segmentation node, and configure and activate it.

One camera: ``ros2 launch lsabinet_ros segment.launch.py image_topic:=/my/image``.
Several: ``ros2 launch lsabinet_ros segment.launch.py cameras:=front,rear``, or with different settings
``ros2 launch lsabinet_ros multi_camera.launch.py cameras_file:=cameras.yaml``.

Arguments: ``ros2 launch lsabinet_ros segment.launch.py --show-args``.
"""

import re
from pathlib import Path
from typing import List  # noqa: UP035

import yaml
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

SHARE = Path(__file__).resolve().parents[1]
"""The folder that holds launch/ and config/, in the checkout as well as in an installation."""

BOOLEANS = ["true", "false", "True", "False"]

CAMERA_SETTINGS = {
    "compressed": bool,
    "significant_bits": int,
    "region_of_interest": str,
    "body_mask": str,
    "camera_info_topic": str,
    "rectify": bool,
    "enabled": bool,
    "max_rate_hz": float,
}
"""The parameters that may differ between cameras, with the types of their values."""

COMPRESSED = "/compressed"
TOPIC = re.compile(r"(~/|/)?[A-Za-z]\w*(/[A-Za-z_]\w*)*", re.ASCII)
"""Names of topics, not of rules such as ``__ns``: the namespace has its own argument."""

ASK_AGAIN_S = 5.0
"""How long a restarted node may take to begin with configure before it is asked again: for about 20 s after a crash,
the middleware may deliver the request to the node that crashed."""


def arguments():
    """The launch arguments; an empty one keeps the value in the parameter file."""
    return [
        DeclareLaunchArgument(
            "image_topic",
            default_value="image_raw",
            description="Camera topic (sensor_msgs/Image), relative to the namespace unless it starts with '/'. "
            "With compressed, the node subscribes to <image_topic>/compressed. With cameras, the topic is relative to "
            "each camera's name.",
        ),
        DeclareLaunchArgument(
            "cameras",
            default_value="",
            description="Comma-separated names of several cameras that share the network. The images of camera NAME "
            "are expected on NAME/<image_topic> and its masks are published on ~/NAME/output/mask. Empty: a single "
            "camera. Set the names here rather than in params_file, which the launch file does not read.",
        ),
        DeclareLaunchArgument(
            "cameras_file",
            default_value="",
            description="YAML file that names several cameras with their topics and settings, in place of cameras and "
            "image_topic; config/cameras.yaml is an example.",
        ),
        DeclareLaunchArgument(
            "weights",
            default_value="",
            description="Name of shipped weights, or path of a .safetensors file or an exported model (default: value "
            "in params_file).",
        ),
        DeclareLaunchArgument(
            "device",
            default_value="",
            description="Device: auto, cpu, cuda or cuda:N (default: value in params_file).",
        ),
        DeclareLaunchArgument(
            "precision",
            default_value="",
            description="Precision: auto, fp32, bf16, fp16, or int8, which needs `lsabinet export` first (default: "
            "value in params_file).",
        ),
        DeclareLaunchArgument(
            "backend",
            default_value="",
            description="Inference engine, or auto for the fastest one on this machine (default: value in "
            "params_file).",
        ),
        DeclareLaunchArgument(
            "warm_up_height",
            default_value="",
            description="Height in pixels of the camera's images, so that the engine is built for them before the "
            "first one arrives (default: value in params_file).",
        ),
        DeclareLaunchArgument(
            "warm_up_width", default_value="", description="Width in pixels of these images; see warm_up_height."
        ),
        DeclareLaunchArgument(
            "build_only",
            default_value="false",
            choices=BOOLEANS,
            description="Only build the engine for warm_up_height and warm_up_width, store it in the cache, and end "
            "the launch.",
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(SHARE / "config" / "segment.param.yaml"),
            description="Parameter file of the node.",
        ),
        DeclareLaunchArgument(
            "remap",
            default_value="",
            description="New names for the node's topics and services, separated by spaces, such as "
            "'~/output/mask:=/perception/mask ~/output/overlay:=/perception/overlay'. A rule for raw images also "
            "renames the compressed ones.",
        ),
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of the node and of its relative topics."
        ),
        DeclareLaunchArgument(
            "autostart",
            default_value="true",
            choices=BOOLEANS,
            description="Configure and activate the node. If false, it waits for a lifecycle manager or "
            "`ros2 lifecycle set`.",
        ),
        DeclareLaunchArgument(
            "required",
            default_value="true",
            choices=BOOLEANS,
            description="End the launch with a non-zero status if the node cannot be configured or crashes. If false, "
            "the rest of the launch continues.",
        ),
        DeclareLaunchArgument(
            "respawn",
            default_value="false",
            choices=BOOLEANS,
            description="Restart the node when it ends, and retry a failed configure, instead of ending the launch.",
        ),
        DeclareLaunchArgument(
            "respawn_delay", default_value="2.0", description="Seconds before a restart or a retry, at least 0."
        ),
        DeclareLaunchArgument(
            "compressed",
            default_value="",
            choices=["", *BOOLEANS],
            description="Subscribe to compressed images (sensor_msgs/CompressedImage) (default: value in params_file).",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=BOOLEANS,
            description="Use the time on /clock, as needed with a simulator or a bag played with --clock.",
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="Minimum severity of the node's log messages.",
        ),
    ]


def camera_names(value):
    """The names in the argument ``cameras``; ``value`` returns the value of an argument."""
    if not value("cameras").strip():
        return []
    names = [name.strip() for name in value("cameras").split(",")]
    if not all(name.isascii() and name.isidentifier() for name in names):
        raise RuntimeError(f"cameras: expected comma-separated ROS names, got {value('cameras')!r}")
    if value("image_topic").startswith("/"):
        raise RuntimeError(
            f"image_topic: expected a topic relative to each camera, such as image_raw, got {value('image_topic')!r}"
        )
    return names


def cameras_of_file(path):
    """The topic of each camera and the parameters of all of them, from the argument ``cameras_file``."""
    try:
        document = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RuntimeError(f"cameras_file: {path} cannot be read: {' '.join(str(error).split())}") from None
    cameras = document.get("cameras") if isinstance(document, dict) else None
    if not isinstance(cameras, dict) or not cameras or len(document) > 1:
        raise RuntimeError(f"cameras_file: expected the key cameras with the settings of each one, in {path}")
    topics, parameters = {}, {}
    for name, settings in cameras.items():
        if not isinstance(name, str) or not (name.isascii() and name.isidentifier()):
            raise RuntimeError(f"cameras_file: expected ROS names of cameras, got {name!r} in {path}")
        if not isinstance(settings, dict) or not isinstance(settings.get("topic"), str):
            raise RuntimeError(f"cameras_file: expected a topic for camera {name} in {path}")
        for key, setting in settings.items():
            if key == "topic":
                topics[name] = setting
                continue
            kind = CAMERA_SETTINGS.get(key)
            if kind is None:
                known = ", ".join(["topic", *CAMERA_SETTINGS])
                raise RuntimeError(f"cameras_file: camera {name} has no setting {key!r}, expected {known}, in {path}")
            if type(setting) is not kind and not (kind is float and type(setting) is int):
                raise RuntimeError(
                    f"cameras_file: expected {key} of camera {name} to be of type {kind.__name__}, got {setting!r} "
                    f"in {path}"
                )
            # A path is relative to the file that names it.
            text = str(Path(path).resolve().parent / setting) if key == "body_mask" and setting else setting
            typed = ParameterValue(text, value_type=str) if kind is str else kind(setting)
            parameters[f"{name}.{key}"] = typed
    return topics, parameters


def respawn_delay(value):
    """The argument ``respawn_delay`` as a number of seconds."""
    try:
        delay_s = float(value("respawn_delay"))
    except ValueError:
        delay_s = -1.0
    if not 0.0 <= delay_s < float("inf"):
        raise RuntimeError(f"respawn_delay: expected a number of seconds, at least 0, got {value('respawn_delay')!r}")
    return delay_s


def remappings(value):
    """The pairs of old and new names in the argument ``remap``."""
    pairs = []
    for rule in value("remap").split():
        old, _, new = rule.partition(":=")
        if not TOPIC.fullmatch(old) or not TOPIC.fullmatch(new):
            raise RuntimeError(f"remap: expected names such as ~/output/mask:=/perception/mask, got {rule!r}")
        # Most topics have no compressed twin, which does no harm.
        pairs += [(old, new)] if old.endswith(COMPRESSED) else [(old, new), (old + COMPRESSED, new + COMPRESSED)]
    return pairs


def parameter_overrides(value, cameras):
    """The parameters that the arguments set in addition to the parameter file."""
    overrides = {"use_sim_time": value("use_sim_time").lower() == "true"}
    for name in ("weights", "device", "precision", "backend"):
        if value(name):
            # Typed, because launch_ros would turn a name such as 123 into a number.
            overrides[name] = ParameterValue(value(name), value_type=str)
    for name in ("warm_up_height", "warm_up_width"):
        if value(name):
            if not value(name).isdecimal():
                raise RuntimeError(f"{name}: expected a number of pixels, got {value(name)!r}")
            overrides[name] = int(value(name))
    if value("build_only").lower() == "true":
        overrides["build_only"] = True
    if value("compressed"):
        overrides["compressed"] = value("compressed").lower() == "true"
    if cameras:
        # launch_ros does not accept list[str].
        overrides["cameras"] = ParameterValue(cameras, value_type=List[str])  # noqa: UP006
    return overrides


def when_it_ends(event, context, required):
    """What follows when the node's process has ended and is not started again."""
    # After Ctrl-C, launch is already shutting down; anything else would turn its exit status into 1.
    if context.is_shutdown or not required:
        return None
    if event.returncode == 0:
        return [Shutdown(reason="the segmentation node ended")]
    # An exception is what gives `ros2 launch` a non-zero exit status.
    raise RuntimeError(f"the segmentation node died with exit status {event.returncode}")


def autostart(node, required, respawn, delay_s):
    """Event handlers that configure and activate the node, and what follows if that fails."""

    def change_state(transition):
        event = ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
        return EmitEvent(event=event)

    def on_transition(start, goal, *entities):
        transition = OnStateTransition(
            target_lifecycle_node=node, start_state=start, goal_state=goal, entities=list(entities)
        )
        return RegisterEventHandler(transition)

    pids, configured_pids = [], set()

    def configure(event, context):
        pids.append(event.pid)
        again = [TimerAction(period=ASK_AGAIN_S, actions=[OpaqueFunction(function=configure_again)])]
        return [change_state(Transition.TRANSITION_CONFIGURE), *(again if len(pids) > 1 else [])]

    def configure_again(context):
        if context.is_shutdown or pids[-1] in configured_pids:
            return []
        again = TimerAction(period=ASK_AGAIN_S, actions=[OpaqueFunction(function=configure_again)])
        return [change_state(Transition.TRANSITION_CONFIGURE), again]

    def note_configuring(context):
        configured_pids.add(pids[-1])

    def after_failure(context):
        if context.is_shutdown:
            return []
        if respawn:
            return [TimerAction(period=delay_s, actions=[change_state(Transition.TRANSITION_CONFIGURE)])]
        if required:
            raise RuntimeError(
                "the segmentation node could not be configured or activated: its ERROR line above says why "
                "(required:=false keeps the launch running, respawn:=true tries again)"
            )
        return []

    return [
        on_transition("unconfigured", "configuring", OpaqueFunction(function=note_configuring)),
        on_transition("configuring", "inactive", change_state(Transition.TRANSITION_ACTIVATE)),
        on_transition("configuring", "unconfigured", OpaqueFunction(function=after_failure)),
        on_transition("errorprocessing", "unconfigured", OpaqueFunction(function=after_failure)),
        RegisterEventHandler(OnProcessStart(target_action=node, on_start=configure)),
    ]


def start_node(context):
    """Create the node and its event handlers from the values of the launch arguments."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    def is_true(name):
        return value(name).lower() == "true"

    if not Path(value("params_file")).is_file():
        raise RuntimeError(f"params_file: no such file: {value('params_file')!r}")
    if value("cameras_file"):
        if value("cameras").strip():
            raise RuntimeError("cameras_file: expected no argument cameras, got both")
        topics, camera_parameters = cameras_of_file(value("cameras_file"))
    else:
        topics = {name: f"{name}/{value('image_topic')}" for name in camera_names(value)}
        camera_parameters = {}
    inputs = {f"~/{name}": topic for name, topic in topics.items()} or {"~": value("image_topic")}
    build_only = is_true("build_only")
    required = is_true("required") or build_only
    respawn, delay_s = is_true("respawn") and not build_only, respawn_delay(value)
    node = LifecycleNode(
        package="lsabinet_ros",
        executable="segmentation",
        name="segmentation",
        namespace=value("namespace"),
        parameters=[value("params_file"), {**parameter_overrides(value, [*topics]), **camera_parameters}],
        remappings=[
            *remappings(value),
            *(
                (f"{prefix}/input/image{transport}", topic + transport)
                for prefix, topic in inputs.items()
                for transport in ("", COMPRESSED)
            ),
        ],
        ros_arguments=["--log-level", value("log_level")],
        output="screen",
        on_exit=lambda event, context: None if respawn else when_it_ends(event, context, required),
        respawn=respawn,
        respawn_delay=delay_s,
    )
    # The handlers are registered before the node starts, so that no event is missed.
    starts = is_true("autostart") and not build_only
    return [*(autostart(node, required, respawn, delay_s) if starts else []), node]


def generate_launch_description():
    return LaunchDescription([*arguments(), OpaqueFunction(function=start_node)])
