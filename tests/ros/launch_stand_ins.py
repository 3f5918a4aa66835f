"""Recording stand-ins for the parts of launch and launch_ros that the launch file uses.

The real packages are not on PyPI. The signatures are those that Humble and Jazzy share, so that a keyword unknown to
one of them raises TypeError here as well.
"""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace


class LaunchDescription:
    def __init__(self, initial_entities=None):
        self.entities = list(initial_entities or [])


class DeclareLaunchArgument:
    def __init__(self, name, *, default_value=None, description=None, choices=None, condition=None):
        if choices is not None and not choices:
            raise ValueError("provided choices arg is empty")
        if choices is not None and default_value is not None and default_value not in choices:
            raise ValueError(f"default value {default_value!r} is not among {choices}")
        self.name, self.default_value, self.description, self.choices = name, default_value, description, choices


class EmitEvent:
    def __init__(self, *, event, condition=None):
        self.event = event


class OpaqueFunction:
    def __init__(self, *, function, args=None, kwargs=None, condition=None):
        self.function, self.args, self.kwargs = function, args or [], kwargs or {}

    def execute(self, context):
        return self.function(context, *self.args, **self.kwargs)


class RegisterEventHandler:
    def __init__(self, event_handler, *, condition=None):
        self.event_handler = event_handler


class Shutdown:
    def __init__(self, *, reason="reason not given", condition=None):
        self.reason = reason


class TimerAction:
    def __init__(self, *, period, actions, cancel_on_shutdown=True):
        self.period, self.actions = period, actions


class OnProcessStart:
    def __init__(self, *, target_action=None, on_start, handle_once=False):
        self.target_action, self.on_start = target_action, on_start


def matches_action(target_action):
    return lambda action: action is target_action


class LaunchConfiguration:
    def __init__(self, variable_name, *, default=None):
        self.variable_name, self.default = variable_name, default

    def perform(self, context):
        if self.variable_name in context.launch_configurations:
            return context.launch_configurations[self.variable_name]
        if self.default is None:
            raise RuntimeError(f"launch configuration {self.variable_name!r} does not exist")
        return self.default


class PythonLaunchDescriptionSource:
    def __init__(self, launch_file_path):
        self.launch_file_path = launch_file_path


class IncludeLaunchDescription:
    def __init__(self, launch_description_source, *, launch_arguments=None, condition=None):
        self.source, self.launch_arguments = launch_description_source, list(launch_arguments or [])


class ExecuteProcess:
    def __init__(self, *, cmd, name=None, output="log", on_exit=None, additional_env=None, condition=None):
        if not all(isinstance(word, str) for word in cmd):
            raise TypeError("cmd: expected strings")
        self.cmd, self.name, self.output, self.on_exit = cmd, name, output, on_exit


class Node:
    def __init__(
        self,
        *,
        executable,
        package=None,
        name=None,
        namespace=None,
        parameters=None,
        remappings=None,
        arguments=None,
        output="log",
        condition=None,
    ):
        if parameters is not None and not isinstance(parameters, list):
            raise TypeError("parameters: expected a list")
        self.package, self.executable, self.name, self.namespace = package, executable, name, namespace
        self.parameters, self.remappings = parameters or [], list(remappings or [])
        self.arguments = list(arguments or [])


class LifecycleNode:
    def __init__(
        self,
        *,
        name,
        namespace,
        executable,
        package=None,
        exec_name=None,
        parameters=None,
        remappings=None,
        ros_arguments=None,
        arguments=None,
        prefix=None,
        cwd=None,
        env=None,
        additional_env=None,
        shell=False,
        sigterm_timeout=5,
        sigkill_timeout=5,
        emulate_tty=False,
        output="log",
        output_format=None,
        cached_output=False,
        log_cmd=False,
        on_exit=None,
        respawn=False,
        respawn_delay=None,
        condition=None,
    ):
        if parameters is not None and not isinstance(parameters, list):
            raise TypeError("parameters: expected a list")
        self.name, self.namespace = name, namespace
        self.package, self.executable = package, executable
        self.parameters = parameters or []
        self.remappings = list(remappings or [])
        self.ros_arguments = list(ros_arguments or [])
        self.output, self.on_exit = output, on_exit
        self.respawn, self.respawn_delay = respawn, respawn_delay


class OnStateTransition:
    def __init__(
        self,
        *,
        entities,
        target_lifecycle_node=None,
        transition=None,
        start_state=None,
        goal_state=None,
        matcher=None,
        handle_once=False,
    ):
        if not isinstance(target_lifecycle_node, (LifecycleNode, type(None))):
            raise RuntimeError("OnStateTransition requires a 'LifecycleNode' action as the target")
        self.target, self.entities = target_lifecycle_node, entities
        self.transition, self.start_state, self.goal_state = transition, start_state, goal_state


class ChangeState:
    def __init__(self, *, lifecycle_node_matcher, transition_id):
        self.lifecycle_node_matcher, self.transition_id = lifecycle_node_matcher, transition_id


class ParameterValue:
    def __init__(self, value, *, value_type=None):
        self.value, self.value_type = value, value_type


MODULES = {
    "launch": {"LaunchDescription": LaunchDescription},
    "launch.actions": {
        entity.__name__: entity
        for entity in (
            DeclareLaunchArgument,
            EmitEvent,
            ExecuteProcess,
            IncludeLaunchDescription,
            OpaqueFunction,
            RegisterEventHandler,
            Shutdown,
            TimerAction,
        )
    },
    "launch.launch_description_sources": {"PythonLaunchDescriptionSource": PythonLaunchDescriptionSource},
    "launch.event_handlers": {"OnProcessStart": OnProcessStart},
    "launch.events": {"matches_action": matches_action},
    "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
    "launch_ros": {},
    "launch_ros.actions": {"LifecycleNode": LifecycleNode, "Node": Node},
    "launch_ros.event_handlers": {"OnStateTransition": OnStateTransition},
    "launch_ros.events": {},
    "launch_ros.events.lifecycle": {"ChangeState": ChangeState},
    "launch_ros.parameter_descriptions": {"ParameterValue": ParameterValue},
}


def install(monkeypatch) -> None:
    """Replace the real modules by the stand-ins for the duration of a test."""
    for name, members in MODULES.items():
        module = ModuleType(name)
        module.__path__ = []
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)


def load(path):
    """The module of a launch file."""
    spec = importlib.util.spec_from_file_location("launch_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(description: LaunchDescription, **arguments: str):
    """What `ros2 launch` would start from the description with these arguments (name:=value), and the context."""
    context = SimpleNamespace(launch_configurations=dict(arguments), is_shutdown=False)
    declared = set()
    entities = _visit(description, context, declared)
    assert set(arguments) <= declared, f"undeclared launch arguments {set(arguments) - declared}"
    return entities, context


def _visit(description: LaunchDescription, context, declared: set[str]) -> list:
    entities = []
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            _declare(entity, context.launch_configurations)
            declared.add(entity.name)
            entities.append(entity)
        elif isinstance(entity, IncludeLaunchDescription):
            context.launch_configurations.update(entity.launch_arguments)
            included = load(entity.source.launch_file_path)
            entities += _visit(included.generate_launch_description(), context, declared)
        else:
            entities += entity.execute(context) if isinstance(entity, OpaqueFunction) else [entity]
    return entities


def _declare(argument: DeclareLaunchArgument, configurations: dict[str, str]) -> None:
    value = configurations.setdefault(argument.name, argument.default_value)
    if value is None:
        raise RuntimeError(f"required launch argument {argument.name!r} was not provided")
    if argument.choices is not None and value not in argument.choices:
        raise RuntimeError(f"{argument.name}: {value!r} is not among {argument.choices}")
