"""The node in a separate process or in the test's, and a client that drives it over DDS."""

import contextlib
import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from shared_memory import remove_abandoned, segments_of
from std_msgs.msg import Float64, String

from lsabinet_ros.latency import header_stamp_ns
from lsabinet_ros.node import SegmentationNode

DEADLINE_S = 60.0
# No time limits, because a busy machine would exceed them.
UNLIMITED = {"input_timeout_s": 0.0, "max_processing_time_ms": 0.0, "max_image_age_ms": 0.0}

CONFIGURE = Transition.TRANSITION_CONFIGURE
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
CLEANUP = Transition.TRANSITION_CLEANUP
UNCONFIGURED = State.PRIMARY_STATE_UNCONFIGURED
INACTIVE = State.PRIMARY_STATE_INACTIVE
ACTIVE = State.PRIMARY_STATE_ACTIVE


def wait_until(condition: Callable[[], object], what: str, step: Callable[[], None], deadline_s: float = DEADLINE_S):
    """Call ``step`` until ``condition()`` is true, and return its value."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"no {what} within {deadline_s:g} s"
        step()
    return value


@contextlib.contextmanager
def node_here(domain: int, parameters: dict, before_release: Callable[[], None]) -> Iterator[rclpy.Context]:
    """The node in this process, spun by a thread; yields its context, which its clients share.

    Two contexts are two DDS participants, and under load, two participants of one process sometimes fail to discover
    each other for a minute. Users do not run two contexts in one process, so tests must not depend on it.

    Args:
        domain: ROS domain of the node.
        parameters: parameter overrides by name.
        before_release: called at the end, before the node is released.
    """
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = SegmentationNode(context=context, parameter_overrides=overrides)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    ended = threading.Event()

    def spin():
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    yield context
    ended.set()
    thread.join(10)
    before_release()
    node.release()
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)
    # Reference cycles keep the node in the graph, where the next test's node of the same name would see it.
    del node
    gc.collect()


class NodeProcess:
    """``python -m lsabinet_ros.segmentation_node`` with further ROS arguments and with parameters.

    Args:
        arguments: further ROS arguments.
        program: arguments of ``python`` that run something else instead.
        parameters: parameter overrides by name.
    """

    def __init__(self, *arguments: str, program=("-m", "lsabinet_ros.segmentation_node"), **parameters):
        overrides = [item for name, value in parameters.items() for item in ("-p", f"{name}:={value}")]
        self.process = subprocess.Popen(
            [sys.executable, *program, "--ros-args", *arguments, *overrides],
            cwd="/",
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout))
        self._reader.start()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def end(self, number: int = signal.SIGINT, times: int = 1) -> int:
        """Send a signal, wait for the end of the process, and return its exit status."""
        for _ in range(times):
            self.process.send_signal(number)
        return self._wait()

    def kill(self) -> int:
        """Send SIGKILL and remove the shared memory that the process leaves behind."""
        segments = segments_of(self.process.pid)
        self.process.kill()
        status = self._wait()
        remove_abandoned(segments)
        return status

    def _wait(self) -> int:
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(10)
            self.process.stdout.close()


class Client:
    """Plays the camera, the planner and the operator of the node.

    Args:
        where: a ROS domain, for a context of its own; or the context of ``node_here``.
        compressed: publish CompressedImage.
        name: name of the camera, if the node has several.
        beside: another client, whose ROS node this client shares; closing that client closes both.
    """

    def __init__(
        self,
        where: int | rclpy.Context,
        compressed: bool = False,
        name: str = "",
        beside: "Client | None" = None,
    ):
        self._name = name
        root = f"/segmentation/{name}" if name else "/segmentation"
        if beside is not None:
            self.context, self.node, self.executor = beside.context, beside.node, beside.executor
            self._ending = beside._ending
        else:
            self._ending = contextlib.ExitStack()
            if isinstance(where, rclpy.Context):
                self.context = where
            else:
                self.context = rclpy.Context()
                rclpy.init(context=self.context, domain_id=where)
                self._ending.callback(rclpy.shutdown, context=self.context)
            self.node = rclpy.create_node("test_client", context=self.context)
            self._ending.callback(self.node.destroy_node)
            self.executor = SingleThreadedExecutor(context=self.context)
            self._ending.callback(self.executor.shutdown)
            self.executor.add_node(self.node)
        self.masks: list[Image] = []
        self.latencies: list[DiagnosticArray] = []
        self.diagnostics: list[DiagnosticArray] = []
        self.processing: list[float] = []
        self.pipeline: list[float] = []
        self.subscribe(DiagnosticArray, "/diagnostics", self.diagnostics.append)
        self.subscribe(Image, f"{root}/output/mask", self.masks.append)
        self.subscribe(DiagnosticArray, f"{root}/debug/latency", self.latencies.append)
        self.subscribe(Float64, f"{root}/debug/processing_time_ms", lambda m: self.processing.append(m.data))
        self.subscribe(Float64, f"{root}/debug/pipeline_latency_ms", lambda m: self.pipeline.append(m.data))
        kind, topic = (CompressedImage, "/compressed") if compressed else (Image, "")
        self.camera = self.node.create_publisher(
            kind, f"{root}/input/image{topic}", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )
        self._change = self.node.create_client(ChangeState, "/segmentation/change_state")
        self._get = self.node.create_client(GetState, "/segmentation/get_state")
        self._set = self.node.create_client(SetParameters, "/segmentation/set_parameters")
        self._stamp_s = 1_000

    def close(self) -> None:
        """End the client; a second call does nothing."""
        self._ending.close()

    def step(self) -> None:
        self.executor.spin_once(timeout_sec=0.05)

    def until(self, condition, what: str, deadline_s: float = DEADLINE_S):
        return wait_until(condition, what, self.step, deadline_s)

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()

    def subscribe(self, kind, topic: str, callback, latched: bool = False):
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        return self.node.create_subscription(kind, topic, callback, QoSProfile(depth=50, durability=durability))

    def _call(self, client, request, resend_s: float = DEADLINE_S):
        self.until(client.service_is_ready, f"service {client.srv_name}")
        futures, sent_s = [], -math.inf

        def answer():
            nonlocal sent_s
            if time.monotonic() - sent_s > resend_s:
                futures.append(client.call_async(request))
                sent_s = time.monotonic()
            return next((future.result() for future in futures if future.done()), None)

        return self.until(answer, f"answer of {client.srv_name}")

    def change(self, transition: int) -> bool:
        # A service drops the answer to a client that it has not discovered yet. The state can be requested repeatedly
        # until both have discovered each other; a transition cannot.
        self.state()
        request = ChangeState.Request()
        request.transition.id = transition
        return self._call(self._change, request).success

    def state(self) -> int:
        return self._call(self._get, GetState.Request(), resend_s=3.0).current_state.id

    def set(self, **values) -> list[str]:
        """Set parameters one by one, and return the reasons of the rejected ones."""
        request = SetParameters.Request()
        request.parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        results = self._call(self._set, request, resend_s=3.0).results
        assert len(results) == len(values)
        return [result.reason for result in results if not result.successful]

    def bring_up(self, size: tuple[int, int] = (64, 96)) -> None:
        """Bring the node from any state to active, with every topic matched by a frame of that size."""
        if self.state() == UNCONFIGURED:
            assert self.change(CONFIGURE)
        if self.state() == INACTIVE:
            assert self.change(ACTIVATE)
        self.until(self.camera.get_subscription_count, "subscription to the camera")
        for subscription in self.node.subscriptions:
            topic = subscription.topic_name
            if topic.startswith("/segmentation/output/label"):
                continue
            self.until(lambda: self.node.count_publishers(topic), f"publisher of {topic}")
        # The node discovers its subscribers independently: the outputs of one frame show that it knows all of them.
        self.until(lambda: self._all_outputs_arrive(size), "all outputs of one frame")

    def _all_outputs_arrive(self, size: tuple[int, int]) -> bool:
        if isinstance(self.camera.msg_type(), CompressedImage):
            return True
        outputs = (self.masks, self.latencies, self.processing, self.pipeline)
        before = [len(messages) for messages in outputs]
        message = self.image(np.zeros((*size, 3), np.uint8))
        message.header.stamp = self.node.get_clock().now().to_msg()
        self.camera.publish(message)
        end = time.monotonic() + 3
        while not (arrived := all(len(new) > old for new, old in zip(outputs, before))) and time.monotonic() < end:
            self.step()
        return arrived

    def image(self, pixels: np.ndarray, encoding: str = "bgr8", frame_id: str = "front") -> Image:
        """A message with a unique stamp, built without the conversion under test."""
        message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
        message.step = pixels.strides[0]
        message.data.frombytes(pixels.tobytes())
        self._stamp_s += 1
        message.header.stamp.sec = self._stamp_s
        message.header.frame_id = frame_id
        return message

    def mask_of(self, message) -> Image:
        """Publish the message until its mask arrives, because best effort may lose it."""
        published_s = [0.0]

        def find():
            found = [mask for mask in self.masks if mask.header == message.header]
            if not found and time.monotonic() - published_s[0] > 3.0:
                self.camera.publish(message)
                published_s[0] = time.monotonic()
            return found

        return self.until(find, "mask")[0]

    def status(self) -> dict[str, str]:
        """Level, message and values of a report that was published after this call."""
        # Older reports, possibly of an earlier state, may still be waiting.
        now_ns = self.node.get_clock().now().nanoseconds

        def fresh():
            new = [message for message in self.diagnostics if header_stamp_ns(message.header) > now_ns]
            return new[-1] if new else None

        self.diagnostics.clear()
        return self.read_status(self.until(fresh, "diagnostics"))

    def read_status(self, message: DiagnosticArray) -> dict[str, str]:
        """The status of this camera; without a name, it must be the only one."""
        (status,) = [status for status in message.status if status.name.endswith(self._name)]
        values = {item.key: item.value for item in status.values}
        return {**values, "level": status.level[0], "message": status.message, "name": status.name}

    def frames(self) -> dict[str, int]:
        """The frame counters by name without prefix, once no frame is waiting or in flight."""

        def idle():
            values = {k[7:]: int(v) for k, v in self.status().items() if k.startswith("frames_")}
            return values if values["in_flight"] == values["waiting"] == 0 else None

        return self.until(idle, "idle worker")

    def latched(self, topic: str) -> str:
        """The text that a late subscriber of a latched topic receives."""
        received: list[String] = []
        subscription = self.subscribe(String, topic, received.append, latched=True)
        self.until(lambda: received, f"message on {topic}")
        self.node.destroy_subscription(subscription)
        return received[0].data
