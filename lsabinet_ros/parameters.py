"""The node's parameters: one table, from which declaration, checks, the YAML file and the README's table follow.

python -m lsabinet_ros.parameters          prints the Markdown table
python -m lsabinet_ros.parameters --yaml   prints config/segment.param.yaml
"""

import argparse
import math
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from lsabinet_core.errors import LsabinetError
from lsabinet_core.inference.backends import DEFAULT_BACKEND
from lsabinet_ros.watchdog import Limits

if TYPE_CHECKING:
    from rclpy.node import Node

Value = bool | int | float | str | list[str]

_NAME_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ParameterError(LsabinetError):
    """A parameter that cannot be taken; names it, and what is allowed."""


class Settable(Enum):
    """When a parameter may change."""

    ALWAYS = "any time"
    UNCONFIGURED = "while unconfigured"
    AT_START = "at start only"


@dataclass(frozen=True)
class Setting:
    """One parameter; its type is the default's.

    Attributes:
        name, default, description: as ``ros2 param describe`` shows them.
        settable: when it may change.
        minimum, maximum: both inclusive, for numbers.
        choices: allowed strings; none means any that is not empty.

    A list is one of camera names: the only kind of list there is.
    """

    name: str
    default: Value
    description: str
    settable: Settable
    minimum: float = 0
    maximum: float = 0
    choices: tuple[str, ...] = ()

    @property
    def type_name(self) -> str:
        return {bool: "bool", int: "integer", float: "double", str: "string", list: "string_array"}[type(self.default)]

    @property
    def allowed(self) -> str:
        """What values are allowed, in words."""
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, list):
            return "[''], or ROS names without slash, each once"
        if isinstance(self.default, str):
            return ", ".join(self.choices) if self.choices else "any"
        return f"{self.minimum:g} to {self.maximum:g}"

    def problem(self, value: object) -> str | None:
        """Why ``value`` cannot be taken, in one line; None when it can."""
        got = f"{self.name}: expected {self.type_name} ({self.allowed}), got {value!r}"
        if type(value) is not type(self.default):
            return got
        if isinstance(value, list):
            return None if value == [""] or _are_names(value) else got
        if isinstance(value, str):
            return got if not value.strip() or (self.choices and value not in self.choices) else None
        if not isinstance(value, bool) and not (math.isfinite(value) and self.minimum <= value <= self.maximum):
            return got
        return None


def _are_names(value: list) -> bool:
    """Whether these can name cameras: ROS name tokens, each once."""
    tokens = all(isinstance(name, str) and _NAME_TOKEN.fullmatch(name) and "__" not in name for name in value)
    return bool(value) and tokens and len(set(value)) == len(value)


_LIMITS = Limits()

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "weights",
        "lsabinet_camvid",
        "Name of shipped weights, or path of a .safetensors file or of an exported network.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "model",
        "auto",
        "Network that the weights must be of, such as lsabinet or cgnet: those of another are refused; auto takes any.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "device",
        "auto",
        "Where the network runs: auto (a GPU if there is one), cpu, cuda or cuda:N.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "precision",
        "auto",
        "Arithmetic: auto takes fp32 on a CPU and fp16 on a GPU; int8 has to be exported before.",
        Settable.UNCONFIGURED,
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
    ),
    Setting(
        "backend",
        DEFAULT_BACKEND,
        "Inference engine: torch, openvino, onnxruntime, tensorrt and others; auto takes the fastest on this machine.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "threads",
        0,
        "Most CPU threads for inference; 0 leaves the choice to the libraries.",
        Settable.UNCONFIGURED,
        maximum=256,
    ),
    Setting(
        "input_height",
        0,
        "Height of the network's input in pixels; 0, with input_width 0, keeps the trained pixel count at the camera's "
        "aspect ratio.",
        Settable.UNCONFIGURED,
        maximum=8192,
    ),
    Setting(
        "input_width",
        0,
        "Width of the network's input in pixels; 0, with input_height 0, as above.",
        Settable.UNCONFIGURED,
        maximum=8192,
    ),
    Setting(
        "warm_up_height",
        0,
        "Height in pixels of the frames to warm up with, the camera's at best; 0 takes the trained size.",
        Settable.UNCONFIGURED,
        maximum=8192,
    ),
    Setting(
        "warm_up_width",
        0,
        "Width in pixels of the frames to warm up with; 0 takes the trained size.",
        Settable.UNCONFIGURED,
        maximum=8192,
    ),
    Setting(
        "cameras",
        [""],
        "Names of several cameras that share the network: each NAME has its topics under ~/NAME instead of ~. [''] "
        "stands for the empty list, which has no type in a parameter file: one camera under ~.",
        Settable.UNCONFIGURED,
    ),
    Setting(
        "compressed",
        False,
        "Subscribe to ~/input/image/compressed (CompressedImage) instead of ~/input/image (Image).",
        Settable.AT_START,
    ),
    Setting(
        "overlay_alpha",
        0.5,
        "Weight of the class colours in the overlay: 0 shows the frame, 1 the colours.",
        Settable.ALWAYS,
        maximum=1.0,
    ),
    Setting(
        "max_processing_time_ms",
        _LIMITS.max_processing_time_ms,
        "Watchdog: a frame that takes longer from callback to publication is slow (WARN); 0 switches this off.",
        Settable.ALWAYS,
        maximum=600_000.0,
    ),
    Setting(
        "max_consecutive_slow",
        _LIMITS.max_consecutive_slow,
        "Watchdog: so many slow frames in a row are an ERROR; 0 switches this off.",
        Settable.ALWAYS,
        maximum=100_000,
    ),
    Setting(
        "max_image_age_ms",
        _LIMITS.max_image_age_ms,
        "Watchdog: WARN when a mask is published more than this after its frame's stamp; 0 switches this off.",
        Settable.ALWAYS,
        maximum=600_000.0,
    ),
    Setting(
        "input_timeout_s",
        _LIMITS.input_timeout_s,
        "Watchdog: no frame for this long while active is an ERROR; 0 switches this off.",
        Settable.ALWAYS,
        maximum=3600.0,
    ),
    Setting(
        "diagnostics_period_s",
        1.0,
        "How often the watchdog looks and /diagnostics is published.",
        Settable.ALWAYS,
        minimum=0.05,
        maximum=60.0,
    ),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


def camera_names(value: list[str]) -> list[str]:
    """The names in the parameter ``cameras``; empty for the one camera under ``~``."""
    return [name for name in value if name]


def size_problems(values: Mapping[str, Value]) -> list[str]:
    """What is wrong with the pairs of height and width, which are set one at a time and so are checked at configure."""
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

    A start value that cannot be taken does not keep the node from starting: the default stands in for it, and the
    reason is returned, for configure to fail with. An integer is taken where a double is meant.

    Returns:
        ``{name: reason}`` of the start values that were refused.
    """
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    problems = {}
    for setting in SETTINGS:
        # First with any type, to see what the user gave; rclpy would raise on a wrong type and lose the value.
        value = node.declare_parameter(setting.name, setting.default, ParameterDescriptor(dynamic_typing=True)).value
        node.undeclare_parameter(setting.name)
        if type(setting.default) is list and value is None:
            # An empty list has no type.
            value = setting.default
        if type(setting.default) is float and type(value) is int:
            value = float(value)
        if problem := setting.problem(value):
            problems[setting.name] = problem
            value = setting.default
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
    return problems


def values(node: "Node") -> dict[str, Value]:
    """The current value of every parameter."""
    return {setting.name: node.get_parameter(setting.name).value for setting in SETTINGS}


def refuse(changes: Mapping[str, object], unconfigured: bool) -> str | None:
    """Why a set of new values cannot be taken now, in one line; None when it can.

    Args:
        changes: new values by name; names that are not ours are left to others.
        unconfigured: whether the node is in that state.
    """
    for name, value in changes.items():
        setting = BY_NAME.get(name)
        if setting is None:
            continue
        if problem := setting.problem(value):
            return problem
        if setting.settable is Settable.UNCONFIGURED and not unconfigured:
            return f"{name} takes effect at configure: deactivate and clean up the node before setting it"
    return None


def markdown_table() -> str:
    """The README's table."""
    lines = ["| parameter | type | default | allowed | settable | meaning |", "|---|---|---|---|---|---|"]
    for s in SETTINGS:
        default = _yaml_value(s.default)
        lines.append(
            f"| `{s.name}` | {s.type_name} | `{default}` | {s.allowed} | {s.settable.value} | {s.description} |"
        )
    return "\n".join(lines) + "\n"


def parameter_file() -> str:
    """The parameter file with all defaults."""
    lines = ["# Defaults of the segmentation node; written by: python -m lsabinet_ros.parameters --yaml"]
    lines += ["/**:", "  ros__parameters:"]
    for setting in SETTINGS:
        note = f"{setting.description} Allowed: {setting.allowed}. Settable {setting.settable.value}."
        lines += textwrap.wrap(note, 116, initial_indent="    # ", subsequent_indent="    # ")
        lines.append(f"    {setting.name}: {_yaml_value(setting.default)}")
    return "\n".join(lines) + "\n"


def _yaml_value(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lsabinet_ros.parameters", description="Print the table of the node's parameters."
    )
    parser.add_argument("--yaml", action="store_true", help="print the parameter file instead of the Markdown table")
    options = parser.parse_args(arguments)
    print(parameter_file() if options.yaml else markdown_table(), end="")


if __name__ == "__main__":
    main()
