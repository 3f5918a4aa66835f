"""The launch file on recording stand-ins: arguments, remappings, parameters, autostart, shutdown."""

from pathlib import Path
from types import SimpleNamespace

import launch_stand_ins as stand_ins
import pytest
from lifecycle_msgs.msg import Transition

from lsabinet_ros.parameters import BY_NAME

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "image_topic",
    "cameras",
    "cameras_file",
    "weights",
    "device",
    "precision",
    "backend",
    "warm_up_height",
    "warm_up_width",
    "build_only",
    "params_file",
    "remap",
    "namespace",
    "autostart",
    "required",
    "respawn",
    "respawn_delay",
    "compressed",
    "use_sim_time",
    "log_level",
)


@pytest.fixture
def launch_file(monkeypatch):
    stand_ins.install(monkeypatch)
    return stand_ins.load(ROOT / "launch" / "segment.launch.py")


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


def test_by_default_the_node_gets_only_the_parameter_file(run):
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
    # Otherwise, launch_ros would turn 123 into a number.
    assert node.parameters[-1]["weights"].value_type is str
    assert set(overrides(node)) - {"use_sim_time"} <= set(BY_NAME)
    assert node.remappings[0] == ("~/input/image", "/front/image")
    assert node.remappings[1] == ("~/input/image/compressed", "/front/image/compressed")
    assert node.ros_arguments == ["--log-level", "debug"]


def test_each_of_several_cameras_has_its_own_topic(run):
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


def test_outputs_have_other_names_also_when_compressed(run):
    node = the_node(run(remap="~/output/mask:=/perception/mask  ~/front/output/overlay/compressed:=view/jpeg")[0])
    assert node.remappings == [
        ("~/output/mask", "/perception/mask"),
        ("~/output/mask/compressed", "/perception/mask/compressed"),
        ("~/front/output/overlay/compressed", "view/jpeg"),
        ("~/input/image", "image_raw"),
        ("~/input/image/compressed", "image_raw/compressed"),
    ]


@pytest.mark.parametrize(
    "rule",
    ["mask", "~/output/mask:=", ":=/mask", "__node:=other", "__ns:=/front", "~/a:=b:=c", "~/a:=/1b", "~/a:=b,c:=d"],
)
def test_remappings_are_checked(run, rule):
    with pytest.raises(RuntimeError, match=rf"^remap: .*{rule}"):
        run(remap=f"~/output/confidence:=confidence {rule}")


def test_several_cameras_cannot_share_a_topic(run):
    with pytest.raises(RuntimeError, match=r"^image_topic: .*/camera/image"):
        run(cameras="front,rear", image_topic="/camera/image")


@pytest.mark.parametrize("cameras", ["front,", "front,,rear", "a/b", "a b"])
def test_camera_names_are_checked(run, cameras):
    with pytest.raises(RuntimeError, match=f"^cameras: .*{cameras}"):
        run(cameras=cameras)


@pytest.mark.parametrize(
    "name", ["autostart", "required", "respawn", "build_only", "compressed", "use_sim_time", "log_level"]
)
def test_choices_are_checked(run, name):
    with pytest.raises(RuntimeError, match=name):
        run(**{name: "__import__('os')"})


def test_missing_parameter_file_is_an_error(run):
    with pytest.raises(RuntimeError, match=r"^params_file: .*nowhere"):
        run(params_file="/nowhere.yaml")


class Started:
    """The entities of a launch, and what its handlers return."""

    def __init__(self, run, **arguments):
        self.entities, self.context = run(**arguments)
        self.node = the_node(self.entities)
        self.handlers = [e.event_handler for e in self.entities if isinstance(e, stand_ins.RegisterEventHandler)]

    def on_start(self, pid: int) -> list:
        (handler,) = (h for h in self.handlers if isinstance(h, stand_ins.OnProcessStart))
        assert handler.target_action is self.node
        return handler.on_start(SimpleNamespace(pid=pid), self.context)

    def on_transition(self, start: str, goal: str) -> list:
        """The actions that follow a transition, without those that only note it."""
        (handler,) = (h for h in self.handlers if getattr(h, "goal_state", None) == goal and h.start_state == start)
        assert handler.target is self.node
        return self.done(handler.entities)

    def done(self, entities: list) -> list:
        actions = []
        for entity in entities:
            actions += (
                (entity.execute(self.context) or []) if isinstance(entity, stand_ins.OpaqueFunction) else [entity]
            )
        return actions

    def transitions(self, actions: list) -> list[int]:
        events = [action.event for action in actions if isinstance(action, stand_ins.EmitEvent)]
        assert all(event.lifecycle_node_matcher(self.node) for event in events)
        return [event.transition_id for event in events]


CONFIGURE, ACTIVATE = [Transition.TRANSITION_CONFIGURE], [Transition.TRANSITION_ACTIVATE]


@pytest.mark.parametrize("autostart", ["true", "True"])
def test_autostart_configures_on_start_and_activates_when_configured(run, autostart):
    started = Started(run, autostart=autostart)
    # The handlers come first: an event without a handler would be lost.
    assert started.entities[-1] is started.node
    actions = started.on_start(pid=1)
    assert len(actions) == 1
    assert started.transitions(actions) == CONFIGURE
    # Not after deactivate, which also ends in the state inactive.
    assert started.transitions(started.on_transition("configuring", "inactive")) == ACTIVATE


@pytest.mark.parametrize("autostart", ["false", "False"])
def test_without_autostart_the_node_waits(run, autostart):
    entities, _ = run(autostart=autostart)
    assert not any(isinstance(e, stand_ins.RegisterEventHandler) for e in entities)
    assert the_node(entities)


@pytest.mark.parametrize("start", ["configuring", "errorprocessing"])
def test_a_failed_start_ends_the_launch_unless_it_is_not_required(run, start):
    with pytest.raises(RuntimeError, match="could not be configured"):
        Started(run).on_transition(start, "unconfigured")
    assert Started(run, required="false").on_transition(start, "unconfigured") == []
    stopped = Started(run)
    stopped.context.is_shutdown = True
    assert stopped.on_transition(start, "unconfigured") == []


def test_a_failed_start_is_tried_again_with_respawn(run):
    started = Started(run, respawn="true", respawn_delay="3.5")
    (timer,) = started.on_transition("configuring", "unconfigured")
    assert timer.period == 3.5
    assert started.transitions(timer.actions) == CONFIGURE


def test_the_end_of_the_node_ends_the_launch(run):
    node, context = Started(run).node, SimpleNamespace(is_shutdown=False)
    (action,) = node.on_exit(SimpleNamespace(returncode=0), context)
    assert isinstance(action, stand_ins.Shutdown)
    # A launch only has a non-zero exit status after an exception.
    with pytest.raises(RuntimeError, match="-9"):
        node.on_exit(SimpleNamespace(returncode=-9), context)
    context.is_shutdown = True
    assert not node.on_exit(SimpleNamespace(returncode=-9), context)
    node = Started(run, required="false").node
    assert not node.on_exit(SimpleNamespace(returncode=-9), SimpleNamespace(is_shutdown=False))


def test_respawn_starts_the_node_again_and_configures_it(run):
    assert not Started(run).node.respawn
    started = Started(run, respawn="true")
    assert started.node.respawn
    assert started.node.respawn_delay == 2.0
    assert not started.node.on_exit(SimpleNamespace(returncode=-9), started.context)
    assert started.transitions(started.on_start(pid=1)) == CONFIGURE
    started.on_transition("unconfigured", "configuring")
    # The request may be delivered to the node that crashed, so it is repeated until the new one configures.
    actions = started.on_start(pid=2)
    assert started.transitions(actions) == CONFIGURE
    for _ in range(2):
        (timer,) = (action for action in actions if isinstance(action, stand_ins.TimerAction))
        actions = started.done(timer.actions)
        assert started.transitions(actions) == CONFIGURE
    started.on_transition("unconfigured", "configuring")
    (timer,) = (action for action in actions if isinstance(action, stand_ins.TimerAction))
    assert started.done(timer.actions) == []


def test_build_only_ends_with_the_node_and_configures_nothing(run):
    started = Started(
        run, build_only="true", required="false", respawn="true", warm_up_height="720", warm_up_width="1280"
    )
    assert overrides(started.node)["build_only"] is True
    assert (overrides(started.node)["warm_up_height"], overrides(started.node)["warm_up_width"]) == (720, 1280)
    assert started.handlers == []
    assert not started.node.respawn
    (action,) = started.node.on_exit(SimpleNamespace(returncode=0), started.context)
    assert isinstance(action, stand_ins.Shutdown)
    with pytest.raises(RuntimeError, match="status 1"):
        started.node.on_exit(SimpleNamespace(returncode=1), started.context)
    with pytest.raises(RuntimeError, match=r"^warm_up_width: "):
        run(warm_up_width="wide")


@pytest.mark.parametrize("delay", ["soon", "-1", "nan", "inf", ""])
def test_the_delay_is_checked(run, delay):
    with pytest.raises(RuntimeError, match=r"^respawn_delay: "):
        run(respawn_delay=delay)
