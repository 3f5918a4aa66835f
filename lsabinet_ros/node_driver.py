"""A ROS node that drives the lifecycle of a segmentation node and follows its state."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import parameter_value_to_python
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from std_msgs.msg import String

from lsabinet_core.errors import LsabinetError
from lsabinet_core.labels import LabelSet
from lsabinet_ros import transport
from lsabinet_ros.outputs import LATCHED

NODE = "/segmentation"
ANSWER_S = 10.0
"""How long the node may take to answer."""
REPEAT_S = 2.0
"""A request that changes nothing is repeated if it is not answered within this time."""
Driver = TypeVar("Driver", bound="NodeDriver")


@dataclass
class NodeState:
    """What a segmentation node has reported.

    Attributes:
        counts: its frame counters, ``frames_received`` and so on, in its latest diagnostics.
        weights: name or path of its weights.
        backend: inference engine.
        precision: precision of the engine.
        label_set: its classes; None until it has published them, and with ``label_remap``.
    """

    counts: dict[str, int] = field(default_factory=dict)
    weights: str = ""
    backend: str = ""
    precision: str = ""
    label_set: LabelSet | None = None


class NodeDriver:
    """Context manager with its own node in its own ROS context.

    Args:
        name: name of this node.

    Attributes:
        state: what the segmentation node has reported.
        watch: called again and again while waiting; it may raise LsabinetError.
    """

    def __init__(self, name: str):
        self.state = NodeState()
        self.watch: Callable[[], None] = lambda: None
        self._reports = 0
        self._health: str | None = None
        self._label_problem = ""
        transport.prepare()
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(name, context=self._context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.node.create_subscription(String, f"{NODE}/output/label_map", self._on_label_map, LATCHED)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._change_state = self.node.create_client(ChangeState, f"{NODE}/change_state")
        self._get_state = self.node.create_client(GetState, f"{NODE}/get_state")

    def __enter__(self: Driver) -> Driver:
        return self

    def __exit__(self, *error: Any) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def configure(self, start_timeout_s: float, configure_timeout_s: float) -> None:
        """Configure and activate the node. Raises LsabinetError if it does not appear or a transition fails."""
        self.spin_until(self._change_state.service_is_ready, start_timeout_s, "the node did not appear on the graph")
        # The middleware drops the answer to a client that the node has not discovered yet. A request for the state can
        # be repeated, a transition cannot. The clients are discovered in the order of their creation: when the second
        # one receives an answer, the first one is known.
        self.ask(self._get_state, GetState.Request(), start_timeout_s)
        for transition, wanted in (
            (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
            (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
        ):
            request = ChangeState.Request(transition=Transition(id=transition))
            self.call(self._change_state, request, configure_timeout_s)
            state = self.ask(self._get_state, GetState.Request(), start_timeout_s).current_state
            if state.id != wanted:
                raise LsabinetError(f"the node stays {state.label}: {self._reason()}")

    def wait_for_label_set(self, timeout_s: float) -> None:
        """Wait for the node's classes.

        Raises:
            LsabinetError: they do not come in time, or are not those of the network (``label_remap``).
        """
        self.spin_until(
            lambda: self.state.label_set is not None or bool(self._label_problem),
            timeout_s,
            "the node did not publish its label map",
        )
        if self._label_problem:
            raise LsabinetError(self._label_problem)

    def parameters(self, names: Sequence[str]) -> dict[str, Any]:
        """The node's values of these parameters. Raises LsabinetError if it does not answer."""
        client = self.node.create_client(GetParameters, f"{NODE}/get_parameters")
        self.spin_until(client.service_is_ready, ANSWER_S, "the node does not offer its parameters")
        values = self.ask(client, GetParameters.Request(names=list(names)), ANSWER_S).values
        self.node.destroy_client(client)
        return {name: parameter_value_to_python(value) for name, value in zip(names, values, strict=True)}

    def _reason(self) -> str:
        """The message of the node's health after the last transition."""
        self._health = None
        self.spin_until(lambda: self._health is not None, 5.0, "the node did not publish diagnostics")
        return self._health or ""

    def stop_input(self) -> None:
        """Deactivate the node while its camera keeps publishing; the node finishes the frame in flight first."""
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
        self.call(self._change_state, request, 10.0)

    def end_of_input(self) -> None:
        """Note that no more frames will arrive: ``is_idle`` only counts diagnostics from now on."""
        self._reports = 0

    def is_idle(self) -> bool:
        """Whether the node has reported, since ``end_of_input``, that no frame is in flight or waiting."""
        # The first report may have been sent before the last frame arrived.
        counts = self.state.counts
        return self._reports >= 2 and not counts.get("frames_in_flight", 1) and not counts.get("frames_waiting", 1)

    def spin_until(self, condition: Callable[[], bool], timeout_s: float, problem: str) -> None:
        """Process callbacks until ``condition`` is true. Raises LsabinetError with ``problem`` after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.watch()
            if time.monotonic() > deadline:
                raise LsabinetError(f"{problem} within {timeout_s:g} s")
            self._executor.spin_once(timeout_sec=0.05)

    def spin_for(self, seconds: float) -> None:
        """Process callbacks for some seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.watch()
            self._executor.spin_once(timeout_sec=0.05)

    def call(self, client: Client, request: Any, timeout_s: float) -> Any:
        """The answer of a service. Raises LsabinetError if it does not come in time."""
        future = client.call_async(request)
        self.spin_until(future.done, timeout_s, f"no answer from {client.srv_name}")
        return future.result()

    def ask(self, client: Client, request: Any, timeout_s: float) -> Any:
        """The answer of a service that changes nothing: the request is repeated until one answer arrives.

        Raises:
            LsabinetError: no answer comes in time.
        """
        futures: list[Future] = []
        sent_s = -math.inf

        def answered() -> bool:
            nonlocal sent_s
            if time.monotonic() - sent_s > REPEAT_S:
                futures.append(client.call_async(request))
                sent_s = time.monotonic()
            return any(future.done() for future in futures)

        self.spin_until(answered, timeout_s, f"no answer from {client.srv_name}")
        for future in futures:
            if not future.done():
                client.remove_pending_request(future)
        return next(future.result() for future in futures if future.done())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if not status.name.startswith(f"{NODE.lstrip('/')}:"):
                continue
            self._health = status.message
            values = {item.key: item.value for item in status.values}
            if "frames_received" in values:
                self._reports += 1
                self.state.counts = {key: int(text) for key, text in values.items() if key.startswith("frames_")}
                self.state.weights = values["weights"]
                self.state.backend, self.state.precision = values["backend"], values["precision"]

    def _on_label_map(self, message: String) -> None:
        document = json.loads(message.data)
        classes = sorted(document["classes"], key=lambda entry: entry["id"])
        if [entry["id"] for entry in classes] != list(range(len(classes))):
            published = ", ".join(f"{entry['id']} {entry['name']}" for entry in classes)
            self._label_problem = (
                f"expected masks with the ids of the network's classes, but the node publishes {published}: leave the "
                "parameter label_remap empty"
            )
            return
        self.state.label_set = LabelSet(
            document["label_set"],
            tuple(entry["name"] for entry in classes),
            tuple(tuple(entry["color"]) for entry in classes),
        )
