"""The table of parameters agrees with config/segment.param.yaml, docs/node.md and the parameters of a running node."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import rclpy
import yaml
from rcl_interfaces.msg import ParameterType
from rclpy.parameter import Parameter

from lsabinet_ros import parameters
from lsabinet_ros.parameters import BY_NAME, SETTINGS, Settable

ROOT = Path(__file__).resolve().parents[2]
TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
    list: ParameterType.PARAMETER_STRING_ARRAY,
}


@pytest.fixture
def make_node(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    nodes = []

    def make(**overrides):
        node = rclpy.create_node(
            "parameters_test",
            context=context,
            parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()],
        )
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_parameter_file_has_every_default():
    text = (ROOT / "config" / "segment.param.yaml").read_text()
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert list(values) == [setting.name for setting in SETTINGS]
    for setting in SETTINGS:
        assert values[setting.name] == setting.default
        assert type(values[setting.name]) is type(setting.default)
    # Every description is among the comments.
    comments = " ".join(line.strip().removeprefix("# ") for line in text.splitlines() if line.strip().startswith("#"))
    for setting in SETTINGS:
        assert setting.description in comments


def test_the_page_has_the_table():
    page = (ROOT / "docs" / "node.md").read_text(encoding="utf-8")
    match = re.search(r"<!-- parameters:begin -->\n(.*?)<!-- parameters:end -->", page, re.DOTALL)
    assert match, "docs/node.md lacks the markers of the parameter table"
    assert match[1].strip() == parameters.markdown_table().strip()


@pytest.mark.parametrize(("arguments", "function"), [([], "markdown_table"), (["--yaml"], "parameter_file")])
def test_module_prints_table_and_file(arguments, function):
    result = subprocess.run(
        [sys.executable, "-m", "lsabinet_ros.parameters", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert result.stdout == getattr(parameters, function)()


def test_declared_parameters_are_the_table(make_node):
    node = make_node()
    assert parameters.declare(node) == {}
    assert parameters.values(node) == {setting.name: setting.default for setting in SETTINGS}
    for setting in SETTINGS:
        descriptor = node.describe_parameter(setting.name)
        assert descriptor.type == TYPES[type(setting.default)]
        assert descriptor.description == setting.description
        assert not descriptor.dynamic_typing
        assert descriptor.read_only == (setting.settable is Settable.AT_START)
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert len(ranges) == (type(setting.default) in (int, float))
        for allowed in ranges:
            assert (allowed.from_value, allowed.to_value) == (setting.minimum, setting.maximum)


def test_start_values_are_accepted_or_rejected_by_name(make_node):
    node = make_node(threads=2, max_image_age_ms=500, overlay_alpha=7.0, precision="fp7", compressed="yes")
    problems = parameters.declare(node)
    assert set(problems) == {"overlay_alpha", "precision", "compressed"}
    assert all(word in problems["precision"] for word in ("precision", "int8", "'fp7'"))
    values = parameters.values(node)
    assert (values["threads"], values["max_image_age_ms"]) == (2, 500.0)
    assert isinstance(values["max_image_age_ms"], float)
    assert values["overlay_alpha"] == BY_NAME["overlay_alpha"].default


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_defaults_are_valid_and_other_types_are_not(setting):
    assert setting.problem(setting.default) is None
    for value in (
        None,
        [1],
        True if type(setting.default) is not bool else 1,
        *([""] if setting.default != "" else []),
    ):
        problem = setting.problem(value)
        assert setting.name in problem
        assert "\n" not in problem


def test_ranges_and_choices():
    assert BY_NAME["overlay_alpha"].problem(1.0) is None
    for value in (-0.1, 1.1, float("nan"), float("inf"), 1):
        assert BY_NAME["overlay_alpha"].problem(value)
    for value in ("bf16", "int8"):
        assert BY_NAME["precision"].problem(value) is None
    assert BY_NAME["precision"].problem("int4")
    assert BY_NAME["weights"].problem("/my/file.safetensors") is None
    assert BY_NAME["weights"].problem("  ")


@pytest.mark.parametrize("names", [["front"], ["front", "rear_2"], ["_hidden", "A"]])
def test_valid_camera_names(names):
    assert BY_NAME["cameras"].problem(names) is None
    assert parameters.camera_names(names) == names
    assert parameters.camera_names(BY_NAME["cameras"].default) == []


@pytest.mark.parametrize(
    "names", [["", "front"], ["front", "front"], ["a/b"], ["/front"], ["2nd"], ["a b"], ["a-b"], ["a__b"], ["vörn"]]
)
def test_invalid_camera_names_are_rejected_in_one_line(names, make_node):
    problem = BY_NAME["cameras"].problem(names)
    assert problem.startswith("cameras: ")
    assert repr(names) in problem
    assert "\n" not in problem
    node = make_node(cameras=names)
    assert parameters.declare(node) == {"cameras": problem}
    assert parameters.values(node)["cameras"] == [""]


def test_structural_parameters_can_only_be_set_while_unconfigured():
    assert parameters.reason_to_reject({"device": "cpu"}, unconfigured=True) is None
    assert "device" in parameters.reason_to_reject({"device": "cpu"}, unconfigured=False)
    assert parameters.reason_to_reject({"overlay_alpha": 0.1}, unconfigured=False) is None
    assert "overlay_alpha" in parameters.reason_to_reject({"overlay_alpha": 2.0}, unconfigured=True)
    assert parameters.reason_to_reject({"use_sim_time": True}, unconfigured=False) is None


def test_sizes_are_set_in_pairs():
    values = {setting.name: setting.default for setting in SETTINGS}
    assert parameters.size_problems(values) == []
    assert parameters.size_problems({**values, "input_height": 360, "input_width": 480}) == []
    (problem,) = parameters.size_problems({**values, "warm_up_width": 480})
    assert all(word in problem for word in ("warm_up_height", "warm_up_width", "480"))


def test_settings_of_a_camera_are_those_given_or_the_shared_ones(make_node):
    given = {"max_rate_hz": 5.0, "front.max_rate_hz": 20, "rear.compressed": True, "rear.significant_bits": 99}
    node = make_node(**given)
    assert parameters.declare(node) == {}
    problems = parameters.declare_for_cameras(node, ["front", "rear"])
    assert set(problems) == {"rear.significant_bits"}
    assert problems["rear.significant_bits"].startswith("rear.significant_bits: ")
    found = {
        (camera, name): node.get_parameter(f"{camera}.{name}").value
        for camera in ("front", "rear")
        for name in ("max_rate_hz", "compressed", "significant_bits")
    }
    assert found == {
        ("front", "max_rate_hz"): 20.0,
        ("rear", "max_rate_hz"): 5.0,
        ("front", "compressed"): False,
        ("rear", "compressed"): True,
        ("front", "significant_bits"): 16,
        ("rear", "significant_bits"): 16,
    }
    # Cameras may be added while the node is unconfigured.
    assert parameters.declare_for_cameras(node, ["front", "side"]) == {}
    assert node.get_parameter("side.max_rate_hz").value == 5.0
    assert not node.has_parameter("front.weights")


def test_settings_of_a_camera_are_checked_like_the_shared_ones():
    assert parameters.reason_to_reject({"front.max_rate_hz": 5.0}, unconfigured=False) is None
    assert "front.max_rate_hz" in parameters.reason_to_reject({"front.max_rate_hz": -1.0}, unconfigured=False)
    assert "front.body_mask" in parameters.reason_to_reject({"front.body_mask": ""}, unconfigured=False)
    assert parameters.reason_to_reject({"front.body_mask": ""}, unconfigured=True) is None


def test_descriptions_say_what_may_differ_between_cameras():
    assert [s.name for s in SETTINGS if s.per_camera] == [s.name for s in SETTINGS if "Per camera." in s.description]
