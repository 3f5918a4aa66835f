"""The node: camera frames in, masks and per-frame latency out, with a managed lifecycle."""

import contextlib
import dataclasses
import gc
import math
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from lsabinet_core.errors import LsabinetError, ModelError, one_line
from lsabinet_ros import diagnostics, lifecycle_bond, misfits, parameters
from lsabinet_ros.build_engines import BuildRequest
from lsabinet_ros.camera import Camera, milliseconds
from lsabinet_ros.cameras import Cameras, CameraSettings
from lsabinet_ros.core_log import CoreLog
from lsabinet_ros.lifecycle_bond import LifecycleBond
from lsabinet_ros.messages import diagnostic_status
from lsabinet_ros.published_labels import PublishedLabels
from lsabinet_ros.snapshot_service import SnapshotService
from lsabinet_ros.switching import SwitchingSegmenter
from lsabinet_ros.turns import wait_in_turns
from lsabinet_ros.view import View
from lsabinet_ros.watchdog import Health, Level, Limits
from lsabinet_ros.worker import WorkerThread

if TYPE_CHECKING:
    from lsabinet_core.inference.segmenter import Segmenter

STOP_TIMEOUT_S = 5.0
"""How long deactivate waits for the frame in flight before it considers the device hung."""
CLOSE_TIMEOUT_S = 1.0
"""How long the release of the network may delay a transition or the end of the process."""
LOAD_CHECK_S = 0.1
"""How often configure checks whether the network is loaded."""
SIM_CLOCK_TIMEOUT_S = 5.0
"""How long simulated time may stay without its first tick before that is reported."""

COMMERCIAL_WEIGHTS = "lsabinet_synthetic"
"""Shipped weights without a non-commercial licence."""


class SegmentationNode(LifecycleNode):
    """Loads the network at configure and segments while active; docs/node.md lists topics and parameters."""

    def __init__(self, **options: Any):
        super().__init__("segmentation", **options)
        self._worker: WorkerThread | None = None
        self._core_log: CoreLog | None = None
        self._loading: Future | None = None
        self._load_deadline_s = math.inf
        self._segmenter: Segmenter | SwitchingSegmenter | None = None
        self._cameras: Cameras | None = None
        self._bond: LifecycleBond | None = None
        self._clockless_since_s: float | None = None
        self._namesakes = 0
        self._enabled = True
        self._configure_problem: str | None = None
        self._rejected = parameters.declare(self)
        self._rejected |= parameters.declare_for_cameras(self, parameters.camera_names(self._parameter("cameras")))
        for line in misfits.unknown_parameters(self._unused_overrides(), list(parameters.BY_NAME)):
            self.get_logger().warning(line)
        self._timer = None
        self.add_on_set_parameters_callback(self._on_set_parameters)
        # Not a lifecycle publisher: it reports in every state, above all after a failed configure.
        self._diagnostics = self.create_publisher(
            DiagnosticArray,
            "/diagnostics",
            10,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        # A steady clock, because the watchdog must not stop when simulated time does.
        self._timer = self.create_timer(
            self._parameter("diagnostics_period_s"), self._report, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self.create_service(SetBool, "~/enable", self._on_enable)
        # Not the node's default group, in which a transition that waits would block all other callbacks.
        self._turns = ReentrantCallbackGroup()
        self._snapshots = SnapshotService(self, self._turns, lambda: self._cameras)
        _guard_transitions(self, self._turns)

    # Transitions. rclpy swallows their exceptions, so each one catches and logs them and returns a result.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm up the network and create the publishers; on any error, stay unconfigured.

        Waits for the network; it is already loaded if ``loaded`` has been awaited.
        """
        try:
            loading = self._start_loading()
            # In steps, so that a signal ends the node at once, even while it loads.
            while not wait([loading], timeout=LOAD_CHECK_S).done:
                self._check_loading()
            self._configure()
        except Exception as error:  # noqa: BLE001 rclpy would swallow it
            self._configure_problem = self._log_problem("configure", error)
            self.release()
            return TransitionCallbackReturn.FAILURE
        self._configure_problem = None
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Enable the publishers, publish the labels and subscribe."""
        try:
            result = super().on_activate(state)
            cameras, worker = self._cameras, self._worker
            assert cameras is not None, "only a configured node is activated"
            assert worker is not None
            self._set_limits({})
            cameras.start(worker, enabled=self._enabled)
            if (period_s := self._parameter("bond_heartbeat_period")) > 0:
                self._bond = LifecycleBond(self, period_s)
        except Exception as error:  # noqa: BLE001 rclpy would swallow it
            self._log_problem("activate", error)
            return TransitionCallbackReturn.ERROR
        self._log_state(f"active: segmenting {', '.join(camera.topic for camera in cameras)}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and wait for the frame in flight; if it hangs, release the network."""
        try:
            self._end_bond()
            if self._cameras is not None and not self._cameras.stop(STOP_TIMEOUT_S):
                self.get_logger().error(
                    f"deactivate failed: a frame is still being processed after {STOP_TIMEOUT_S:g} s (device hung?); "
                    "the network is released, configure the node again"
                )
                return TransitionCallbackReturn.ERROR
            result = super().on_deactivate(state)
        except Exception as error:  # noqa: BLE001 rclpy would swallow it
            self._log_problem("deactivate", error)
            return TransitionCallbackReturn.ERROR
        self._log_state("inactive: not segmenting")
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the network and the device."""
        self.release()
        self._log_state("unconfigured: the network is released")
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release everything, in any state."""
        self.release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything after a failed transition; the node becomes unconfigured and can be configured again."""
        self.release()
        return super().on_error(state)

    async def loaded(self) -> None:
        """Load the network, so that ``on_configure`` need not wait for it; other callbacks run meanwhile.

        Raises the error that ``on_configure`` then reports as the reason of its failure.
        """
        loading = self._start_loading()

        def done() -> bool:
            if not loading.done():
                self._check_loading()
            return loading.done()

        await wait_in_turns(self, self._turns, done)

    def _start_loading(self) -> "Future[Segmenter | SwitchingSegmenter]":
        """Load the network in the worker's thread, if it is not being loaded yet."""
        if self._loading is not None:
            return self._loading
        values = self._checked_parameters()
        if values["bond_heartbeat_period"] > 0:
            lifecycle_bond.check_installed()
        self._worker = WorkerThread()
        self._core_log = CoreLog(self.get_logger(), self._worker.ident)
        self._configure_problem = None
        self._load_deadline_s = time.monotonic() + (values["configure_timeout_s"] or math.inf)
        self._loading = self._worker.submit(lambda: _load(values))
        return self._loading

    def build_engines(self) -> bool:
        """Build the engines of the current parameters and return when they are in the cache; needs no executor.

        Returns:
            False if that failed or a signal came; the log says why.
        """
        worker = WorkerThread()
        core_log = CoreLog(self.get_logger(), worker.ident)
        try:
            request = build_request(self._checked_parameters())
            building = worker.submit(lambda: request.build().close())
            while not wait([building], timeout=LOAD_CHECK_S).done:
                if not self.context.ok():
                    raise LsabinetError("interrupted")
            building.result()
        except Exception as error:  # noqa: BLE001 it becomes the exit status
            self._log_problem("build_only", error)
            return False
        finally:
            worker.end(0.0)
            core_log.close()
        self._log_state(f"the engines for {request.weights} are built")
        return True

    def _checked_parameters(self) -> dict[str, Any]:
        values = parameters.values(self)
        self._rejected |= parameters.declare_for_cameras(self, parameters.camera_names(values["cameras"]))
        if problems := [*self._rejected.values(), *parameters.size_problems(values)]:
            raise parameters.ParameterError("; ".join(problems))
        return values

    def _check_loading(self) -> None:
        """Raise if there is a reason not to wait for the network any longer."""
        if not self.context.ok():
            raise LsabinetError("interrupted")
        if time.monotonic() > self._load_deadline_s:
            raise LsabinetError(
                f"the network was not ready after {self._parameter('configure_timeout_s'):g} s: raise the parameter "
                "configure_timeout_s, or build the engine in advance"
            )

    def _configure(self) -> None:
        """Create the cameras; the network must be loaded."""
        values = parameters.values(self)
        self._segmenter, self._loading = self._start_loading().result(), None
        names = parameters.camera_names(values["cameras"])
        if names and (unused := self._remapped_single_input()) is not None:
            self.get_logger().warning(
                f"{unused} is not subscribed to: with the parameter cameras ({', '.join(names)}), each camera has a "
                "topic of its own, ~/NAME/input/image; remap these, or give the names to the launch file"
            )
        labels = PublishedLabels(self._segmenter.label_set, values["label_remap"], values["palette"])
        self._cameras = Cameras(
            self,
            self._segmenter,
            labels,
            {name: self._camera_settings(name) for name in names or [""]},
            lazy=values["lazy"],
        )
        engine = self._segmenter.describe()
        self.get_logger().info(
            f"configured: {values['weights']} ({engine['architecture']}, {len(self._segmenter.label_set)} classes) "
            f"with backend {engine['backend']} on {engine['device']} in {engine['precision']}"
        )
        if self._segmenter.metadata.is_non_commercial:
            self.get_logger().info(
                f"the weights {values['weights']} are not for commercial use ({self._segmenter.metadata.licence}): "
                f"for commercial use, set the parameter weights to {COMMERCIAL_WEIGHTS} (Apache-2.0)"
            )

    def _camera_settings(self, camera: str) -> CameraSettings:
        compressed, region, body_mask, info_topic, rectify = (
            self._parameter(parameters.name_for_camera(name, camera))
            for name in ("compressed", "region_of_interest", "body_mask", "camera_info_topic", "rectify")
        )
        prefix = parameters.name_for_camera("", camera)
        if rectify and not info_topic:
            raise parameters.ParameterError(
                f"{prefix}rectify: expected the topic of the calibration in {prefix}camera_info_topic, got none"
            )
        return CameraSettings(compressed, View(region, body_mask, prefix=prefix), info_topic, rectify)

    def release(self) -> None:
        """Stop the cameras and release the network; may be called in any state, and repeatedly.

        A frame that hangs or an engine build cannot be interrupted. After a few seconds it is left to the worker's
        thread, which releases the network when it gets there.
        """
        self._end_bond()
        cameras, self._cameras = self._cameras, None
        segmenter, self._segmenter = self._segmenter, None
        worker, self._worker = self._worker, None
        self._loading = None
        core_log, self._core_log = self._core_log, None
        idle = True
        if cameras is not None:
            # After a signal, the result of the frame in flight cannot be published any more.
            idle = cameras.stop(STOP_TIMEOUT_S if self.context.ok() else CLOSE_TIMEOUT_S)
            cameras.destroy()
        if worker is not None:
            if segmenter is not None:
                worker.submit(segmenter.close)
            if not worker.end(CLOSE_TIMEOUT_S if idle else 0.0) and self.context.ok():
                self.get_logger().warning("a frame or an engine build is still running; its memory is freed later")
        if core_log is not None:
            core_log.close()
        del cameras, segmenter, worker
        gc.collect()

    def _end_bond(self) -> None:
        bond, self._bond = self._bond, None
        if bond is not None:
            bond.end()

    def _log_state(self, text: str) -> None:
        if self.context.ok():
            self.get_logger().info(text)

    def _log_problem(self, transition: str, error: Exception) -> str:
        """Log why a transition failed, in one line, and return that reason."""
        reason = one_line(error)
        if not isinstance(error, LsabinetError):
            reason = f"{type(error).__name__}: {reason}"
            self.get_logger().debug(traceback.format_exc())
        if self.context.ok():
            self.get_logger().error(f"{transition} failed: {reason}")
        return reason

    # Parameters.

    def _unused_overrides(self) -> list[str]:
        """Names of the given parameters that are not declared; QoS overrides are declared with their topics."""
        given = self._parameter_overrides
        return [name for name in given if not name.startswith("qos_overrides.") and not self.has_parameter(name)]

    def _remapped_single_input(self) -> str | None:
        """The topic to which the input of a single camera is remapped, if it is."""
        for topic in ("~/input/image", "~/input/image/compressed"):
            if (full := self.resolve_topic_name(topic)) != topic.replace("~", self.get_fully_qualified_name()):
                return full
        return None

    def _parameter(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _set_limits(self, changes: Mapping[str, Any]) -> None:
        """Set the limits of every camera's watchdog to the current parameters with ``changes`` applied."""
        names = [field.name for field in dataclasses.fields(Limits)]
        limits = Limits(**{name: changes[name] if name in changes else self._parameter(name) for name in names})
        for camera in self._cameras or ():
            camera.watchdog.limits = limits

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        values: dict[str, Any] = {change.name: change.value for change in changes}
        if reason := parameters.reason_to_reject(values, unconfigured=self._worker is None):
            return SetParametersResult(successful=False, reason=reason)
        for name in values:
            self._rejected.pop(name, None)
        if self._cameras is not None:
            self._set_limits(values)
            # Not at other changes: a subscription declares parameters for its QoS, which are changes as well.
            running = any(camera.running for camera in self._cameras)
            if running and any(name.rpartition(".")[2] == "enabled" for name in values):
                self._cameras.enable(self._enabled, values)
        if "diagnostics_period_s" in values and self._timer is not None:
            self._timer.timer_period_ns = values["diagnostics_period_s"] * 1e9
            self._timer.reset()
        return SetParametersResult(successful=True)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Enable or disable segmentation; faster than a transition, and possible in any state."""
        if request.data != self._enabled:
            self._enabled = request.data
            if self._cameras is not None and any(camera.running for camera in self._cameras):
                self._cameras.enable(self._enabled)
            self._log_state("enabled by ~/enable" if self._enabled else "disabled by ~/enable: not segmenting")
        response.success = True
        response.message = "enabled" if self._enabled else "disabled"
        return response

    # Diagnostics are published in the executor's thread, so that they continue when inference hangs in the worker's.

    def _report(self) -> None:
        try:
            self._look_around()
            header = Header(stamp=self.get_clock().now().to_msg())
            if self._cameras is not None:
                statuses = [self._status(camera.name, camera) for camera in self._cameras]
            else:
                statuses = [self._status(name, None) for name in parameters.camera_names(self._parameter("cameras"))]
            self._diagnostics.publish(DiagnosticArray(header=header, status=statuses or [self._status("", None)]))
        except Exception as error:  # noqa: BLE001 a report that fails must not end the executor
            if self.context.ok():
                self.get_logger().error(f"diagnostics failed: {one_line(error)}", throttle_duration_sec=30.0)

    def _look_around(self) -> None:
        """Check for simulated time and for other nodes of the same name."""
        if self._parameter("use_sim_time") and self.get_clock().now().nanoseconds == 0:
            self._clockless_since_s = self._clockless_since_s or time.monotonic()
        else:
            self._clockless_since_s = None
        own = (self.get_name(), self.get_namespace())
        namesakes = self.get_node_names_and_namespaces().count(own) - 1
        if namesakes > self._namesakes:
            self.get_logger().warning(self._namesake_problem())
        self._namesakes = namesakes

    def _namesake_problem(self) -> str:
        return (
            f"another node is named {self.get_fully_qualified_name()} and answers the same services: start one of them "
            "in another namespace, or end it (after a crash, it disappears within 20 s)"
        )

    def _surroundings(self) -> list[Health]:
        """What is wrong outside the node."""
        findings = []
        if self._namesakes > 0:
            findings.append(Health(Level.WARN, self._namesake_problem()))
        if self._clockless_since_s is not None:
            waited_s = time.monotonic() - self._clockless_since_s
            if waited_s > SIM_CLOCK_TIMEOUT_S:
                findings.append(
                    Health(Level.WARN, f"use_sim_time is set, but nothing has arrived on /clock for {waited_s:.0f} s")
                )
        return findings

    def _status(self, name: str, camera: Camera | None) -> DiagnosticStatus:
        """The status of a camera, or of the whole node while it is unconfigured (``camera`` is None)."""
        # Of equally severe findings, the first one.
        health = max([self._health(camera), *self._surroundings()], key=lambda finding: finding.level)
        node_name = self.get_fully_qualified_name().lstrip("/")
        return diagnostic_status(
            name=f"{node_name}: health: {name}" if name else f"{node_name}: health",
            hardware_id="none" if self._segmenter is None else self._segmenter.device,
            level=health.level,
            message=health.message,
            values=self._status_values(camera),
        )

    def _health(self, camera: Camera | None) -> Health:
        if self._configure_problem is not None:
            return Health(Level.ERROR, f"configure failed: {self._configure_problem}")
        if camera is None:
            return Health(Level.OK, self._state_without_network())
        if not camera.running:
            return Health(Level.OK, "inactive")
        if not self._enabled:
            return Health(Level.OK, "disabled by ~/enable: not segmenting")
        if not camera.enabled:
            return Health(Level.OK, "disabled by the parameter enabled: not segmenting")
        if not camera.subscribed:
            return Health(Level.OK, "idle: no output has a subscriber")
        return camera.watchdog.check()

    def _state_without_network(self) -> str:
        return "unconfigured" if self._worker is None else "configuring"

    def _status_values(self, camera: Camera | None) -> dict[str, object]:
        values: dict[str, object] = {"weights": self._parameter("weights")}
        if camera is not None and self._segmenter is not None:
            counts = camera.counts
            input_hz, output_hz = camera.rates(counts)
            values |= {
                "state": "active" if camera.running else "inactive",
                **self._segmenter.describe(),
                "enabled": str(self._enabled and camera.enabled).lower(),
                "label_set": self._segmenter.label_set.name,
                "input_topic": camera.topic,
                **diagnostics.count_values(counts),
                **diagnostics.compression_values(output.mailbox.counts for output in camera.compressed_outputs),
                "stamps_in_future": camera.watchdog.stamps_in_future,
                "input_rate_hz": f"{input_hz:.1f}",
                "output_rate_hz": f"{output_hz:.1f}",
            }
            if (latency := camera.last_latency) is not None:
                values["last_processing_ms"] = milliseconds(latency.processing)
                values["last_pipeline_ms"] = milliseconds(latency.pipeline)
                values |= {name: milliseconds(ms) for name, ms in camera.latencies.percentiles().items()}
            if not math.isnan(confidence := camera.last_mean_confidence):
                values["last_mean_confidence"] = f"{confidence:.3f}"
            if (device_mib := diagnostics.device_memory_mib(self._segmenter.device)) is not None:
                values["device_memory_mib"] = f"{device_mib:.0f}"
        else:
            values["state"] = self._state_without_network()
        values["resident_memory_mib"] = f"{diagnostics.resident_memory_mib():.0f}"
        return values


def build_request(values: Mapping[str, Any]) -> BuildRequest:
    """The network and engine of these parameters; on a GPU for as many frames at once as there are cameras.

    Raises:
        BackendError: the device is unknown or missing.
    """
    from lsabinet_core.inference.backends.choose import choose_device

    options = {
        "device": values["device"],
        "precision": values["precision"],
        "backend": values["backend"],
        "input_size": (values["input_height"], values["input_width"]) if values["input_height"] else None,
        "threads": values["threads"],
    }
    on_gpu = choose_device(values["device"]).type != "cpu"
    most = max(1, len(parameters.camera_names(values["cameras"]))) if on_gpu else 1
    size = (values["warm_up_height"], values["warm_up_width"])
    batches = tuple((*size, frames) for frames in range(1, 1 + most)) if size[0] else ()
    return BuildRequest(values["weights"], options, batches)


def _load(values: Mapping[str, Any]) -> "Segmenter | SwitchingSegmenter":
    """Create a segmenter that is ready for its first frame; called in the worker's thread."""
    from lsabinet_core.inference.artefact import is_artefact

    request = build_request(values)
    # With an export or int8, there is no lengthy comparison of engines.
    if values["backend"] == "auto" and values["precision"] != "int8" and not is_artefact(values["weights"]):
        segmenter = SwitchingSegmenter(request)
    else:
        segmenter = request.build()
    try:
        if values["model"] not in ("auto", network := segmenter.metadata.architecture):
            raise ModelError(f"model: expected weights of {values['model']!r}, but {values['weights']} is {network!r}")
    except Exception:
        segmenter.close()
        raise
    return segmenter


def _guard_transitions(node: SegmentationNode, group: ReentrantCallbackGroup) -> None:
    """Let configure wait without blocking other callbacks, and answer invalid transitions with failure.

    rclpy's own callback returns when the transition has ended. If a transition that is invalid in the current state is
    requested by id, rclpy (Humble to Jazzy) raises from that callback: the exception ends the executor, and the caller
    waits forever.
    """
    # Its callback is set below, which rclpy's types do not provide for.
    service: Any = node._service_change_state
    machine = node._state_machine
    change_state = service.callback

    async def guarded(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        try:
            if not _asks_to_configure(request) or machine.current_state[0] != State.PRIMARY_STATE_UNCONFIGURED:
                return change_state(request, response)
            # As in rclpy, except for the wait.
            previous = LifecycleState(state_id=machine.current_state[0], label=machine.current_state[1])
            machine.trigger_transition_by_id(Transition.TRANSITION_CONFIGURE, True)
            with contextlib.suppress(Exception):  # on_configure meets the same error and reports it
                await node.loaded()
            result = node.on_configure(previous)
            machine.trigger_transition_by_label(result.to_label(), True)
            response.success = result == TransitionCallbackReturn.SUCCESS
            return response
        except rclpy_implementation.RCLError:
            # After a signal, the transition may have been valid, but rcl can no longer announce it.
            if node.context.ok():
                node.get_logger().warning(
                    f"transition {request.transition.id} ignored: it is not possible in the current state"
                )
            response.success = False
            return response

    service.callback = guarded
    service.callback_group = group
    group.add_entity(service)


def _asks_to_configure(request: ChangeState.Request) -> bool:
    if request.transition.label:
        return request.transition.label == "configure"
    return request.transition.id == Transition.TRANSITION_CONFIGURE
