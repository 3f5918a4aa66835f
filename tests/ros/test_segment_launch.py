"""The launch file on recording stand-ins: arguments, remaps, parameters, environment, autostart, end."""

import importlib.util
from pathlib import Path

import launch_stand_ins as stand_ins
import pytest
from lifecycle_msgs.msg import Transition

from lsabinet_ros import transport
from lsabinet_ros.parameters import BY_NAME

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "image_topic",
    "cameras",
    "weights",
    "device",
    "precision",
    "backend",
    "params_file",
    "namespace",
    "autostart",
    "compressed",
    "use_sim_time",
    "log_level",
)


@pytest.fixture
def launch_file(monkeypatch):
    stand_ins.install(monkeypatch)
    for variable in (*transport.MALLOC_SETTINGS, *transport.PROFILE_VARIABLES):
        monkeypatch.delenv(variable, raising=False)
    spec = importlib.util.spec_from_file_location("segment_launch", ROOT / "launch" / "segment.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(launch_file):
    return lambda **arguments: stand_ins.launch(launch_file.generate_launch_description(), **arguments)


def the_node(entities) -> stand_ins.LifecycleNode:
    (node,) = (entity for entity in entities if isinstance(entity, stand_ins.LifecycleNode))
    return node


def overrides(node) -> dict:
    values = node.parameters[-1]
    return {name: (v.value if isinstance(v, stand_ins.ParameterValue) else v) for name, v in values.items()}


def test_every_argument_has_a_default_and_a_description(launch_file):
    entities = launch_file.generate_launch_description().entities
    declared = [entity for entity in entities if isinstance(entity, stand_ins.DeclareLaunchArgument)]
    assert sorted(argument.name for argument in declared) == sorted(NAMES)
    for argument in declared:
        assert argument.default_value is not None
        assert len(argument.description) > 10


def test_defaults_start_the_node_with_the_parameter_file_alone(run):
    entities, _ = run()
    node = the_node(entities)
    assert (node.package, node.executable, node.name, node.namespace) == (
        "lsabinet_ros",
        "segmentation",
        "segmentation",
        "",
    )
    assert node.parameters[0] == str(ROOT / "config" / "segment.param.yaml")
    assert overrides(node) == {"use_sim_time": False}
    assert node.remappings == [
        ("~/input/image", "image_raw"),
        ("~/input/image/compressed", "image_raw/compressed"),
    ]
    assert node.ros_arguments == ["--log-level", "info"]


def test_arguments_reach_the_node(run, tmp_path):
    params_file = tmp_path / "mine.yaml"
    params_file.write_text("/**:\n  ros__parameters:\n    threads: 2\n")
    entities, _ = run(
        image_topic="/front/image",
        weights="123",
        device="cuda:1",
        precision="fp16",
        backend="torch",
        params_file=str(params_file),
        namespace="front",
        compressed="true",
        use_sim_time="True",
        log_level="debug",
    )
    node = the_node(entities)
    assert node.namespace == "front"
    assert node.parameters[0] == str(params_file)
    assert overrides(node) == {
        "use_sim_time": True,
        "weights": "123",
        "device": "cuda:1",
        "precision": "fp16",
        "backend": "torch",
        "compressed": True,
    }
    # launch_ros would read 123 as a number otherwise.
    assert node.parameters[-1]["weights"].value_type is str
    assert set(overrides(node)) - {"use_sim_time"} <= set(BY_NAME)
    assert node.remappings[0] == ("~/input/image", "/front/image")
    assert node.remappings[1] == ("~/input/image/compressed", "/front/image/compressed")
    assert node.ros_arguments == ["--log-level", "debug"]


def test_several_cameras_have_a_topic_each(run):
    node = the_node(run(cameras="front, rear")[0])
    assert overrides(node) == {"use_sim_time": False, "cameras": ["front", "rear"]}
    assert BY_NAME["cameras"].problem(overrides(node)["cameras"]) is None
    assert node.remappings == [
        ("~/front/input/image", "front/image_raw"),
        ("~/front/input/image/compressed", "front/image_raw/compressed"),
        ("~/rear/input/image", "rear/image_raw"),
        ("~/rear/input/image/compressed", "rear/image_raw/compressed"),
    ]
    node = the_node(run(cameras="rear", image_topic="image_rect")[0])
    assert node.remappings[0] == ("~/rear/input/image", "rear/image_rect")


def test_several_cameras_cannot_share_a_topic(run):
    with pytest.raises(RuntimeError, match="image_topic: expected .* got '/camera/image'"):
        run(cameras="front,rear", image_topic="/camera/image")


@pytest.mark.parametrize("cameras", ["front,", "front,,rear", "a/b", "a b"])
def test_names_of_cameras_are_checked(run, cameras):
    with pytest.raises(RuntimeError, match=f"cameras: expected .* got '{cameras}'"):
        run(cameras=cameras)


@pytest.mark.parametrize("name", ["autostart", "compressed", "use_sim_time", "log_level"])
def test_choices_are_checked(run, name):
    with pytest.raises(RuntimeError, match=name):
        run(**{name: "__import__('os')"})


def test_missing_parameter_file_is_an_error(run):
    with pytest.raises(RuntimeError, match="params_file.*nowhere"):
        run(params_file="/nowhere.yaml")


def test_environment_has_the_profile_and_the_malloc_settings(run):
    environment = the_node(run()[0]).additional_env
    assert {name: int(environment[name]) for name in transport.MALLOC_SETTINGS} == {
        name: size for name, (_, size) in transport.MALLOC_SETTINGS.items()
    }
    for variable in transport.PROFILE_VARIABLES:
        assert Path(environment[variable]).is_file()


def test_what_the_user_set_in_the_environment_is_left_alone(run, monkeypatch):
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/mine.xml")
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    environment = the_node(run()[0]).additional_env
    assert not set(environment) & {*transport.PROFILE_VARIABLES, "MALLOC_TOP_PAD_"}
    assert "MALLOC_TRIM_THRESHOLD_" in environment


@pytest.mark.parametrize("autostart", ["true", "True"])
def test_autostart_configures_on_start_and_activates_when_configured(run, autostart):
    entities, _ = run(autostart=autostart)
    node = the_node(entities)
    # Handlers first: an event before its handler would be lost.
    assert entities[-1] is node
    handlers = [e.event_handler for e in entities if isinstance(e, stand_ins.RegisterEventHandler)]
    (started,) = (h for h in handlers if isinstance(h, stand_ins.OnProcessStart))
    (changed,) = (h for h in handlers if isinstance(h, stand_ins.OnStateTransition))
    assert started.target_action is node
    (configure,) = (action.event for action in started.on_start)
    assert configure.transition_id == Transition.TRANSITION_CONFIGURE
    assert configure.lifecycle_node_matcher(node)
    assert changed.target is node
    # Not after deactivate, which ends in inactive as well.
    assert (changed.start_state, changed.goal_state) == ("configuring", "inactive")
    (activate,) = (action.event for action in changed.entities)
    assert activate.transition_id == Transition.TRANSITION_ACTIVATE


@pytest.mark.parametrize("autostart", ["false", "False"])
def test_without_autostart_the_node_waits(run, autostart):
    entities, _ = run(autostart=autostart)
    assert not any(isinstance(e, stand_ins.RegisterEventHandler) for e in entities)
    assert the_node(entities)


def test_launch_ends_with_the_node_but_not_twice(run):
    entities, context = run()
    node = the_node(entities)
    (action,) = node.on_exit(None, context)
    assert isinstance(action, stand_ins.Shutdown)
    context.is_shutdown = True
    assert not node.on_exit(None, context)
