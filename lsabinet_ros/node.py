"""The node: camera frames in, masks and per-frame latency out. A managed (lifecycle) node."""

import gc
import traceback
from concurrent.futures import wait

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header

from lsabinet_core.errors import LsabinetError, ModelError
from lsabinet_ros import diagnostics, parameters
from lsabinet_ros.camera import Camera, milliseconds, one_line
from lsabinet_ros.cameras import Cameras
from lsabinet_ros.core_log import CoreLog
from lsabinet_ros.messages import diagnostic_status
from lsabinet_ros.watchdog import Health, Level, Limits
from lsabinet_ros.worker import WorkerThread

STOP_TIMEOUT_S = 5.0
"""How long deactivate waits for the frame in work before it calls the device hung."""


class SegmentationNode(LifecycleNode):
    """Loads the network at configure, segments while active; topics, parameters and behaviour: the README."""

    def __init__(self, **options):
        super().__init__("segmentation", **options)
        self._worker: WorkerThread | None = None
        self._core_log: CoreLog | None = None
        self._segmenter = None
        self._cameras: Cameras | None = None
        self._configure_problem: str | None = None
        self._refused = parameters.declare(self)
        self._timer = None
        self.add_on_set_parameters_callback(self._on_set_parameters)
        # Not managed: it reports in every state, that of a failed configure above all.
        self._diagnostics = self.create_publisher(
            DiagnosticArray,
            "/diagnostics",
            10,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        # A steady clock: the watchdog must not stand still with a simulated one.
        self._timer = self.create_timer(
            self._parameter("diagnostics_period_s"), self._report, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        _answer_invalid_transitions(self)

    # Transitions. rclpy swallows their exceptions, so each is caught, logged and turned into a return value.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm up the network, create the publishers; on any error stay unconfigured."""
        try:
            self._configure()
        except Exception as error:
            self._configure_problem = self._log_problem("configure", error)
            self.release()
            return TransitionCallbackReturn.FAILURE
        self._configure_problem = None
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Enable the publishers, publish the labels, subscribe."""
        try:
            result = super().on_activate(state)
            self._set_limits({})
            self._cameras.start(self._worker)
        except Exception as error:
            self._log_problem("activate", error)
            return TransitionCallbackReturn.ERROR
        self.get_logger().info(f"active: segmenting {', '.join(camera.topic for camera in self._cameras)}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and let the frame in work finish; if it hangs, give up the network."""
        try:
            if not self._cameras.stop(STOP_TIMEOUT_S):
                self.get_logger().error(
                    f"deactivate failed: a frame is still in work after {STOP_TIMEOUT_S:g} s, the device hangs; "
                    "the network is given up: configure again"
                )
                return TransitionCallbackReturn.ERROR
            return super().on_deactivate(state)
        except Exception as error:
            self._log_problem("deactivate", error)
            return TransitionCallbackReturn.ERROR

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the network and the device."""
        self.release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything, from whatever state."""
        self.release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a failed transition: free everything; the node is unconfigured then and can be configured again."""
        self.release()
        return super().on_error(state)

    def _configure(self) -> None:
        values = parameters.values(self)
        if problems := [*self._refused.values(), *parameters.size_problems(values)]:
            raise parameters.ParameterError("; ".join(problems))
        self._worker = WorkerThread()
        self._core_log = CoreLog(self.get_logger(), self._worker.ident)
        loading = self._worker.submit(lambda: _load(values))
        # In steps, because a signal during a long load should end the node at once.
        while not wait([loading], timeout=0.1).done:
            if not self.context.ok():
                raise LsabinetError("interrupted")
        self._segmenter = loading.result()
        names = parameters.camera_names(values["cameras"])
        self._cameras = Cameras(self, self._segmenter, names, compressed=values["compressed"])
        self.get_logger().info(
            f"configured: {values['weights']} ({self._segmenter.metadata.architecture}, "
            f"{len(self._segmenter.label_set)} classes) on {self._segmenter.device}, {self._segmenter.precision}, "
            f"by {self._segmenter.backend}"
        )

    def release(self) -> bool:
        """Stop and give back whatever is held; works in every state, and twice.

        Returns:
            False when the worker is still busy and was left to itself, with the network that it uses.
        """
        cameras, self._cameras = self._cameras, None
        segmenter, self._segmenter = self._segmenter, None
        worker, self._worker = self._worker, None
        core_log, self._core_log = self._core_log, None
        idle = True
        if cameras is not None:
            idle = cameras.stop(STOP_TIMEOUT_S)
            cameras.destroy()
        if segmenter is not None and idle:
            segmenter.close()
        if worker is not None:
            # Busy without a segmenter: interrupted while it loads one.
            idle = worker.end(0.1 if segmenter is None or not idle else STOP_TIMEOUT_S)
        if core_log is not None:
            core_log.close()
        del cameras, segmenter
        gc.collect()
        return idle

    def _log_problem(self, transition: str, error: Exception) -> str:
        """Log a failed transition in one line, and return that line."""
        reason = one_line(error)
        if not isinstance(error, LsabinetError):
            reason = f"{type(error).__name__}: {reason}"
            self.get_logger().debug(traceback.format_exc())
        if self.context.ok():
            self.get_logger().error(f"{transition} failed: {reason}")
        return reason

    # Parameters.

    def _parameter(self, name: str) -> parameters.Value:
        return self.get_parameter(name).value

    def _set_limits(self, changes: dict[str, parameters.Value]) -> None:
        """Give every camera's watchdog the limits after ``changes`` to the present parameters."""
        names = Limits.__dataclass_fields__
        limits = Limits(**{name: changes[name] if name in changes else self._parameter(name) for name in names})
        for camera in self._cameras:
            camera.watchdog.limits = limits

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        values = {change.name: change.value for change in changes}
        if reason := parameters.refuse(values, unconfigured=self._segmenter is None):
            return SetParametersResult(successful=False, reason=reason)
        for name in values:
            self._refused.pop(name, None)
        if self._cameras is not None:
            self._set_limits(values)
        if "diagnostics_period_s" in values and self._timer is not None:
            self._timer.timer_period_ns = values["diagnostics_period_s"] * 1e9
            self._timer.reset()
        return SetParametersResult(successful=True)

    # Diagnostics: in the executor's thread, so that they also come when inference hangs in the worker's.

    def _report(self) -> None:
        try:
            header = Header(stamp=self.get_clock().now().to_msg())
            if self._cameras is not None:
                statuses = [self._status(camera.name, camera) for camera in self._cameras]
            else:
                statuses = [self._status(name, None) for name in parameters.camera_names(self._parameter("cameras"))]
            self._diagnostics.publish(DiagnosticArray(header=header, status=statuses or [self._status("", None)]))
        except Exception as error:
            if self.context.ok():
                self.get_logger().error(f"diagnostics failed: {one_line(error)}", throttle_duration_sec=30.0)

    def _status(self, name: str, camera: Camera | None) -> DiagnosticStatus:
        """One camera's status, or the one in its place while there is none."""
        health = self._health(camera)
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
            return Health(Level.OK, "unconfigured")
        if not camera.running:
            return Health(Level.OK, "inactive")
        return camera.watchdog.check()

    def _status_values(self, camera: Camera | None) -> dict[str, object]:
        values: dict[str, object] = {"weights": self._parameter("weights")}
        if camera is not None:
            counts = camera.counts
            input_hz, output_hz = camera.rates(counts)
            values |= {
                "state": "active" if camera.running else "inactive",
                "architecture": self._segmenter.metadata.architecture,
                "label_set": self._segmenter.label_set.name,
                "device": self._segmenter.device,
                "precision": self._segmenter.precision,
                "backend": self._segmenter.backend,
                "input_topic": camera.topic,
                **diagnostics.count_values(counts),
                "input_rate_hz": f"{input_hz:.1f}",
                "output_rate_hz": f"{output_hz:.1f}",
            }
            if (latency := camera.last_latency) is not None:
                values["last_processing_ms"] = milliseconds(latency.processing)
                values["last_pipeline_ms"] = milliseconds(latency.pipeline)
            if (device_mib := diagnostics.device_memory_mib(self._segmenter.device)) is not None:
                values["device_memory_mib"] = f"{device_mib:.0f}"
        else:
            values["state"] = "unconfigured"
        values["resident_memory_mib"] = f"{diagnostics.resident_memory_mib():.0f}"
        return values


def _load(values: dict[str, parameters.Value]):
    """A warmed-up Segmenter; called in the worker's thread."""
    # Here, because torch takes seconds to import and the node should answer before.
    from lsabinet_core.inference.segmenter import Segmenter

    segmenter = Segmenter.from_pretrained(
        values["weights"],
        device=values["device"],
        precision=values["precision"],
        backend=values["backend"],
        input_size=(values["input_height"], values["input_width"]) if values["input_height"] else None,
        threads=values["threads"],
    )
    try:
        if values["model"] not in ("auto", network := segmenter.metadata.architecture):
            raise ModelError(f"{values['weights']} is of the network {network}, expected model {values['model']!r}")
        if values["warm_up_height"]:
            # Any number of the cameras may have a frame at the same moment.
            for frames in range(1, 1 + max(1, len(parameters.camera_names(values["cameras"])))):
                segmenter.warm_up((values["warm_up_height"], values["warm_up_width"]), frames=frames)
        else:
            segmenter.warm_up()
    except Exception:
        segmenter.close()
        raise
    return segmenter


def _answer_invalid_transitions(node: LifecycleNode) -> None:
    """Answer a transition that is invalid in the present state with failure.

    rclpy (Humble to Jazzy) raises from the service's callback instead when it is asked for by id: the executor ends
    with the exception and the caller waits for ever.
    """
    service = node._service_change_state
    change_state = service.callback

    def guarded(request, response):
        try:
            return change_state(request, response)
        except rclpy_implementation.RCLError:
            # After a signal the transition was valid, but rcl cannot announce it any more.
            if node.context.ok():
                node.get_logger().warning(
                    f"transition {request.transition.id} is not possible in the present state: ignored"
                )
            response.success = False
            return response

    service.callback = guarded
