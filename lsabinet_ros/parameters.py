"""The node's parameters: one table that defines their declaration, checks, YAML file and table in docs/node.md.

python -m lsabinet_ros.parameters          prints the Markdown table
python -m lsabinet_ros.parameters --yaml   prints config/segment.param.yaml
"""

import argparse
import dataclasses
import math
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from lsabinet_core.errors import LsabinetError
from lsabinet_core.inference.backends import DEFAULT_BACKEND
from lsabinet_ros.conversions import DecodeOptions
from lsabinet_ros.watchdog import Limits

if TYPE_CHECKING:
    from rclpy.node import Node

Value = bool | int | float | str | list[str]

_NAME_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ParameterError(LsabinetError):
    """An invalid value of a parameter; the message names the parameter and the allowed values."""


class Settable(Enum):
    """When a parameter may be set."""

    ALWAYS = "at any time"
    UNCONFIGURED = "while unconfigured"
    AT_START = "at start only"


@dataclass(frozen=True)
class Setting:
    """One parameter; its type is that of the default.

    Attributes:
        name, default, description: as shown by ``ros2 param describe``.
        settable: when it may be set.
        minimum, maximum: inclusive limits of a number.
        per_camera: whether ``CAMERA.name`` sets it for one camera; its default is the value of ``name``.
        choices: allowed strings; empty allows every string, but the empty one only if it is the default.

    A list always holds names of cameras; no parameter holds any other list.
    """

    name: str
    default: Value
    description: str
    settable: Settable
    minimum: float = 0
    maximum: float = 0
    choices: tuple[str, ...] = ()
    per_camera: bool = False

    @property
    def type_name(self) -> str:
        return {bool: "bool", int: "integer", float: "double", str: "string", list: "string_array"}[type(self.default)]

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, list):
            return "[''], or distinct ROS names without slashes"
        if isinstance(self.default, str):
            return ", ".join(self.choices) if self.choices else "any"
        # The type of the default, so that integers are not rounded.
        number = type(self.default)
        return " to ".join(f"{limit}" if number is int else f"{limit:g}" for limit in (self.minimum, self.maximum))

    def problem(self, value: object) -> str | None:
        """Why ``value`` is invalid, in one line; None if it is valid."""
        got = f"{self.name}: expected {self.type_name} ({self.allowed}), got {value!r}"
        if type(value) is not type(self.default):
            return got
        if isinstance(value, list):
            return None if value == [""] or _are_names(value) else got
        if isinstance(value, str):
            missing = not value.strip() and self.default != ""
            return got if missing or (self.choices and value not in self.choices) else None
        if not isinstance(value, bool) and not (math.isfinite(value) and self.minimum <= value <= self.maximum):
            return got
        return None


def _are_names(value: list) -> bool:
    """Whether the list consists of valid and distinct names of cameras (ROS name tokens)."""
    tokens = all(isinstance(name, str) and _NAME_TOKEN.fullmatch(name) and "__" not in name for name in value)
    return bool(value) and tokens and len(set(value)) == len(value)


_LIMITS = Limits()
_DECODE = DecodeOptions()

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "weights",
        "lsabinet_camvid",
        "Name of shipped weights, or path of a .safetensors file or an exported model.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "model",
        "auto",
        "Expected network of the weights, such as lsabinet or cgnet; weights of another network are rejected. auto "
        "accepts any network.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "device",
        "auto",
        "Device that runs the network: auto (a GPU if there is one), cpu, cuda or cuda:N.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "precision",
        "auto",
        "Precision of inference; auto is fp16 on a GPU, and on a CPU fp32, or bf16 if backend auto finds it faster and "
        "in agreement with fp32. int8 needs `lsabinet export` first.",
        Settable.UNCONFIGURED,
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
    ),
    Setting(
        "backend",
        DEFAULT_BACKEND,
        "Inference engine, such as torch, openvino, onnxruntime or tensorrt; auto is the fastest one on this machine.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "threads",
        0,
        "Maximum number of CPU threads for inference; 0 leaves it to the libraries.",
        Settable.UNCONFIGURED,
        maximum=256,
    ),
    Setting(
        "input_height",
        0,
        "Height of the network's input in pixels. If input_height and input_width are 0, the input has the camera's "
        "aspect ratio and the number of pixels the network was trained with.",
        Settable.UNCONFIGURED,
        maximum=8192,
    ),
    Setting(
        "input_width",
        0,
        "Width of the network's input in pixels; see input_height.",
        Settable.UNCONFIGURED,
        maximum=8192,
    ),
    Setting(
        "warm_up_height",
        0,
        "Height in pixels of the frames for the warm-up, ideally that of the camera; 0 uses the training size.",
        Settable.UNCONFIGURED,
        maximum=8192,
    ),
    Setting(
        "warm_up_width",
        0,
        "Width in pixels of the frames for the warm-up; see warm_up_height.",
        Settable.UNCONFIGURED,
        maximum=8192,
    ),
    Setting(
        "build_only",
        False,
        "Build the engine for warm_up_height and warm_up_width and for up to as many frames at once as there are "
        "cameras, store it in the cache, and end the process.",
        Settable.AT_START,
    ),
    Setting(
        "configure_timeout_s",
        120.0,
        "Maximum time for loading the network and building its engine; beyond it, configure fails. 0: no limit.",
        Settable.ALWAYS,
        maximum=86_400.0,
    ),
    Setting(
        "bond_heartbeat_period",
        0.0,
        "Seconds between two heartbeats for Nav2's lifecycle manager while active, such as 0.25; needs the ROS package "
        "bond. 0: no bond.",
        Settable.UNCONFIGURED,
        maximum=1.0,
    ),
    Setting(
        "cameras",
        [""],
        "Names of several cameras that share the network; the topics of camera NAME are under ~/NAME instead of ~. "
        "[''] means a single camera under ~ (an empty list would have no type in a parameter file).",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "compressed",
        False,
        "Subscribe to ~/input/image/compressed (CompressedImage) instead of ~/input/image (Image). Per camera.",
        Settable.AT_START,
        per_camera=True,
    ),
    Setting(
        "significant_bits",
        _DECODE.significant_bits,
        "Number of bits that the sensor uses in 16-bit images, such as 12; the values are in the low bits. Images of 8 "
        "bits are not affected. Per camera.",
        Settable.ALWAYS,
        per_camera=True,
        minimum=8,
        maximum=16,
    ),
    Setting(
        "region_of_interest",
        "",
        "Part of the images that is segmented, X,Y,WIDTH,HEIGHT in pixels, such as 0,120,1280,600. Outside it, the "
        "mask is 255 and the confidence 0. Empty: the whole image. Per camera.",
        Settable.UNCONFIGURED,
        per_camera=True,
    ),
    Setting(
        "body_mask",
        "",
        "Path of an image of the camera's size that is white where the camera sees the vehicle's own body. There, the "
        "mask is 255 and the confidence 0. Empty: none. Per camera.",
        Settable.UNCONFIGURED,
        per_camera=True,
    ),
    Setting(
        "camera_info_topic",
        "",
        "Topic of the camera's calibration (CameraInfo), which is published beside each mask on ~/output/camera_info. "
        "Empty: none. Per camera.",
        Settable.UNCONFIGURED,
        per_camera=True,
    ),
    Setting(
        "rectify",
        False,
        "Rectify the images with the calibration on camera_info_topic first; all outputs, region_of_interest and "
        "body_mask then refer to the rectified images. Per camera.",
        Settable.UNCONFIGURED,
        per_camera=True,
    ),
    Setting(
        "enabled",
        True,
        "Whether the images are segmented; if not, the node does not receive them. Per camera.",
        Settable.ALWAYS,
        per_camera=True,
    ),
    Setting(
        "lazy",
        False,
        "Receive the images of a camera only while one of its outputs has a subscriber. Needs ROS 2 Jazzy or newer.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "max_rate_hz",
        0.0,
        "Maximum mean rate of the images that are segmented; further images are dropped. 0: no limit. Per camera.",
        Settable.ALWAYS,
        maximum=1000.0,
        per_camera=True,
    ),
    Setting(
        "batch_wait_ms",
        0.0,
        "Maximum time that a frame waits for those of other cameras, so that they pass through the network together; "
        "only on a GPU. Frames do not wait for a camera that sends nothing.",
        Settable.ALWAYS,
        maximum=1000.0,
    ),
    Setting(
        "max_pixels",
        _DECODE.max_pixels,
        "Images with more pixels are rejected before they are decoded, which bounds memory and time.",
        Settable.ALWAYS,
        minimum=1024,
        maximum=1 << 30,
    ),
    Setting(
        "overlay_alpha",
        0.5,
        "Opacity of the class colours in the overlay: 0 shows only the frame, 1 only the colours.",
        Settable.ALWAYS,
        maximum=1.0,
    ),
    Setting(
        "label_remap",
        "",
        "Published ids of the classes: entries CLASS=ID, separated by commas, such as Road=1,Pavement=1,*=255. CLASS "
        "is the name or id of a class of the network, or * for all others, which otherwise keep their ids; 255 means "
        "that the class is not published.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "palette",
        "",
        "Colours of colour mask, overlay and label map: entries CLASS=#RRGGBB, separated by commas. Other classes keep "
        "their colours.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "min_confidence",
        0.0,
        "Pixels whose confidence is lower are published as unlabelled (255). Above 0, the confidence is computed for "
        "every frame.",
        Settable.ALWAYS,
        maximum=1.0,
    ),
    Setting(
        "snapshot_directory",
        "",
        "Folder in which the service ~/save_snapshot saves frames and results for bug reports. Empty: it refuses.",
        Settable.AT_START,
    ),
    Setting(
        "max_processing_time_ms",
        _LIMITS.max_processing_time_ms,
        "Watchdog: a frame that takes longer from callback to publication is slow and raises a WARN; 0 disables the "
        "check.",
        Settable.ALWAYS,
        maximum=600_000.0,
    ),
    Setting(
        "max_consecutive_slow",
        _LIMITS.max_consecutive_slow,
        "Watchdog: this many consecutive slow frames raise an ERROR; 0 disables the check.",
        Settable.ALWAYS,
        maximum=100_000,
    ),
    Setting(
        "max_image_age_ms",
        _LIMITS.max_image_age_ms,
        "Watchdog: a mask published this long after the stamp of its frame raises a WARN; 0 disables the check.",
        Settable.ALWAYS,
        maximum=600_000.0,
    ),
    Setting(
        "drop_old_images",
        False,
        "Drop an image that is older than max_image_age_ms when its turn comes, instead of segmenting it.",
        Settable.ALWAYS,
    ),
    Setting(
        "max_clock_skew_ms",
        _LIMITS.max_clock_skew_ms,
        "Watchdog: consecutive frames that are stamped this much later than the node's clock at their arrival raise a "
        "WARN; 0 disables the check.",
        Settable.ALWAYS,
        maximum=600_000.0,
    ),
    Setting(
        "min_mean_confidence",
        _LIMITS.min_mean_confidence,
        "Watchdog: a frame whose mean confidence is lower raises a WARN. Above 0, the confidence is computed for every "
        "frame.",
        Settable.ALWAYS,
        maximum=1.0,
    ),
    Setting(
        "input_timeout_s",
        _LIMITS.input_timeout_s,
        "Watchdog: no frame for this long while active raises an ERROR; 0 disables the check.",
        Settable.ALWAYS,
        maximum=3600.0,
    ),
    Setting(
        "diagnostics_period_s",
        1.0,
        "Period of the watchdog's checks and of /diagnostics.",
        Settable.ALWAYS,
        minimum=0.05,
        maximum=60.0,
    ),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


def camera_names(value: list[str]) -> list[str]:
    """The names in the parameter ``cameras``; empty for a single camera under ``~``."""
    return [name for name in value if name]


def size_problems(values: Mapping[str, Any]) -> list[str]:
    """Problems of the pairs of height and width; checked at configure, because the two are set one at a time."""
    problems = []
    for pair in ("input", "warm_up"):
        height, width = values[f"{pair}_height"], values[f"{pair}_width"]
        if (height == 0) != (width == 0):
            problems.append(
                f"{pair}_height and {pair}_width: expected both or neither to be 0 (automatic), "
                f"got {height} and {width}"
            )
    return problems


def declare(node: "Node") -> dict[str, str]:
    """Declare every parameter on ``node`` with type, description, range and read_only.

    The default replaces an invalid start value, so that the node starts nevertheless; the reason is returned so that
    configure can fail with it. An integer is accepted for a double.

    Returns:
        ``{name: reason}`` of the rejected start values.
    """
    return _problems((setting.name, _declare(node, setting, setting.default)) for setting in SETTINGS)


def declare_for_cameras(node: "Node", cameras: Iterable[str]) -> dict[str, str]:
    """Declare ``NAME.parameter`` for every named camera and every parameter that may differ between cameras.

    Those that exist already keep their values.

    Returns:
        As ``declare``.
    """
    own = [
        (dataclasses.replace(setting, name=name_for_camera(setting.name, camera)), _value(node, setting.name))
        for camera in cameras
        for setting in SETTINGS
        if setting.per_camera
    ]
    return _problems((s.name, _declare(node, s, shared)) for s, shared in own if not node.has_parameter(s.name))


def _problems(found: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    return {name: problem for name, problem in found if problem is not None}


def _declare(node: "Node", setting: Setting, default: Value) -> str | None:
    """Declare one parameter with this default; returns why its start value is rejected, if it is."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    # Declare it with any type first to get the given value; with a type, rclpy would raise and lose an invalid one.
    value = node.declare_parameter(setting.name, default, ParameterDescriptor(dynamic_typing=True)).value
    node.undeclare_parameter(setting.name)
    if type(setting.default) is list and value is None:
        # rclpy cannot tell the type of an empty list.
        value = default
    if type(setting.default) is float and type(value) is int:
        value = float(value)
    if problem := setting.problem(value):
        value = default
    descriptor = ParameterDescriptor(
        description=setting.description,
        additional_constraints=f"{setting.allowed}; settable {setting.settable.value}",
        read_only=setting.settable is Settable.AT_START,
    )
    if type(setting.default) is int:
        descriptor.integer_range = [
            IntegerRange(from_value=int(setting.minimum), to_value=int(setting.maximum), step=1)
        ]
    elif type(setting.default) is float:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(setting.minimum), to_value=float(setting.maximum))
        ]
    node.declare_parameter(setting.name, value, descriptor, ignore_override=True)
    return problem


def name_for_camera(name: str, camera: str) -> str:
    """Name of the parameter that sets ``name`` for a camera; ``camera`` is empty for a single one under ``~``."""
    return f"{camera}.{name}" if camera else name


def _value(node: "Node", name: str) -> Any:
    return node.get_parameter(name).value


def values(node: "Node") -> dict[str, Any]:
    """The current value of every parameter, of the type of its default."""
    return {setting.name: _value(node, setting.name) for setting in SETTINGS}


def reason_to_reject(changes: Mapping[str, object], unconfigured: bool) -> str | None:
    """Why new values are rejected in the current state, in one line; None if they are accepted.

    Args:
        changes: new values by name; names of parameters that are not in the table are ignored.
        unconfigured: whether the node is unconfigured.
    """
    for name, value in changes.items():
        setting = _setting(name)
        if setting is None:
            continue
        if problem := setting.problem(value):
            return problem
        if setting.settable is Settable.UNCONFIGURED and not unconfigured:
            return f"{name} only takes effect at configure: deactivate and clean up the node before setting it"
    return None


def _setting(name: str) -> Setting | None:
    """The parameter of this name, possibly one of a camera; None if it is not ours."""
    camera, _, shared = name.rpartition(".")
    setting = BY_NAME.get(shared)
    if setting is None or not camera:
        return setting
    return dataclasses.replace(setting, name=name) if setting.per_camera else None


def markdown_table() -> str:
    """The table of parameters in docs/node.md."""
    lines = ["| parameter | type | default | allowed | settable | meaning |", "|---|---|---|---|---|---|"]
    for s in SETTINGS:
        default = _yaml_value(s.default)
        lines.append(
            f"| `{s.name}` | {s.type_name} | `{default}` | {s.allowed} | {s.settable.value} | {s.description} |"
        )
    return "\n".join(lines) + "\n"


def parameter_file() -> str:
    """The text of config/segment.param.yaml, with all defaults."""
    lines = ["# Defaults of the segmentation node, generated by: python -m lsabinet_ros.parameters --yaml"]
    lines += ["/**:", "  ros__parameters:"]
    for setting in SETTINGS:
        note = f"{setting.description} Allowed: {setting.allowed}. Settable {setting.settable.value}."
        lines += textwrap.wrap(note, 116, initial_indent="    # ", subsequent_indent="    # ")
        lines.append(f"    {setting.name}: {_yaml_value(setting.default)}")
    return "\n".join(lines) + "\n"


def _yaml_value(value: Value) -> str:
    if value == "":
        return '""'
    return str(value).lower() if isinstance(value, bool) else str(value)


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lsabinet_ros.parameters", description="Print the node's parameters as a Markdown table."
    )
    parser.add_argument("--yaml", action="store_true", help="print the parameter file instead")
    options = parser.parse_args(arguments)
    print(parameter_file() if options.yaml else markdown_table(), end="")


if __name__ == "__main__":
    main()
