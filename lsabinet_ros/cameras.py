"""All cameras of the node: they share one worker and one network, on a GPU in batches."""

import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleNode

from lsabinet_core.errors import one_line
from lsabinet_ros.camera import Camera, DecodedFrame, ReceivedFrame
from lsabinet_ros.compressed_outputs import Compressor
from lsabinet_ros.mailbox import Mailbox, take_waiting
from lsabinet_ros.parameters import name_for_camera
from lsabinet_ros.published_labels import PublishedLabels
from lsabinet_ros.view import View
from lsabinet_ros.worker import WorkerThread

if TYPE_CHECKING:
    from lsabinet_core.inference.segmenter import Segmentation, Segmenter
    from lsabinet_ros.switching import SwitchingSegmenter


COMPRESSION_TIMEOUT_S = 1.0
"""How long stopping waits for the image that is being compressed."""


@dataclass(frozen=True)
class CameraSettings:
    """How the frames of one camera arrive, and which part of them is segmented.

    Attributes:
        compressed: subscribe to CompressedImage instead of Image.
        view: the part of each frame that is segmented.
        camera_info_topic: topic of the calibration; empty if there is none.
        rectify: whether the frames are rectified by the calibration.
    """

    compressed: bool
    view: View
    camera_info_topic: str = ""
    rectify: bool = False


class Cameras:
    """The cameras that share a Segmenter. Created at configure, started at activate, stopped at deactivate.

    Iteration yields the cameras in the order of their names.

    Args:
        node: provides topics, clock, logger and the parameters that apply to each frame.
        segmenter: used in the worker's thread only.
        labels: the published classes.
        settings: settings by name of the camera, whose topics are under ``~/NAME``. The empty name stands for a single
            camera, whose topics are under ``~``.
        lazy: receive the images of a camera only while one of its outputs has a subscriber.
    """

    def __init__(
        self,
        node: LifecycleNode,
        segmenter: "Segmenter | SwitchingSegmenter",
        labels: PublishedLabels,
        settings: Mapping[str, CameraSettings],
        *,
        lazy: bool = False,
    ):
        self._node = node
        self._enabled = False
        self._segmenter = segmenter
        self._cameras: list[Camera] = []
        self._serving: Future | None = None
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        try:
            for name, own in settings.items():
                self._cameras.append(
                    Camera(
                        node,
                        segmenter,
                        labels,
                        own.view,
                        changed=self._changed,
                        stopped=self._stopped,
                        compressed=own.compressed,
                        camera_info_topic=own.camera_info_topic,
                        rectify=own.rectify,
                        on_matched=self.refresh if lazy else None,
                        name=name,
                    )
                )
        except Exception:
            self.destroy()
            raise
        outputs = [output for camera in self for output in camera.compressed_outputs]
        self._compressor = Compressor(outputs, self._log_compression)

    def __iter__(self) -> Iterator[Camera]:
        return iter(self._cameras)

    def start(self, worker: WorkerThread, *, enabled: bool = True) -> None:
        """Start every camera and process their frames in ``worker``; the node's publishers must be active."""
        self._stopped.clear()
        for camera in self:
            camera.start()
        self.enable(enabled)
        self._compressor.start()
        self._serving = worker.submit(self._serve)

    def enable(self, enabled: bool, changes: Mapping[str, Any] | None = None) -> None:
        """Subscribe to the images, or stop receiving them; the cameras must be started.

        Args:
            enabled: False for all cameras; True for those whose parameter ``enabled`` is.
            changes: values of parameters, by name, that are about to be set.
        """
        self._enabled = enabled
        for camera in self:
            wanted = (changes or {}).get(name_for_camera("enabled", camera.name), camera.enabled)
            if enabled and wanted and camera.needed:
                camera.subscribe()
            else:
                camera.unsubscribe()

    def refresh(self) -> None:
        """Subscribe to the images that are needed now, and to no others, unless the cameras are stopped."""
        if all(camera.running for camera in self):
            self.enable(self._enabled)

    def stop(self, timeout_s: float) -> bool:
        """Unsubscribe, and wait for the frames in flight.

        Returns:
            False if they are still in flight after ``timeout_s``; their results will not be published.
        """
        for camera in self:
            camera.stop()
        try:
            if self._serving is not None:
                # A second call does not wait again for a device that hangs.
                self._serving.result(0.0 if self._stopped.is_set() else timeout_s)
        except FutureTimeoutError:
            return False
        finally:
            self._stopped.set()
            self._compressor.stop(COMPRESSION_TIMEOUT_S)
        return True

    def destroy(self) -> None:
        """Destroy the publishers; the cameras must be stopped."""
        for camera in self:
            camera.destroy()

    def _log_compression(self, error: Exception) -> None:
        """Log, in the compressor's thread, that an image could not be compressed or published."""
        if not self._stopped.is_set() and self._node.context.ok():
            self._node.get_logger().error(
                f"an image could not be compressed: {one_line(error)}", throttle_duration_sec=30.0
            )

    # What follows runs in the worker's thread.

    def _serve(self) -> None:
        """Process the newest frames until the mailboxes are closed; an error costs only the frames that it concerns."""
        mailboxes = {camera: camera.mailbox for camera in self}
        awaited = set(mailboxes)
        while frames := self._take(mailboxes, awaited):
            # A camera that was waited for in vain no longer delays the others, until it sends again.
            awaited = {camera for camera in awaited if camera.counts.waiting} | set(frames)
            # These cameras go to the end of the line, so that a fast camera does not delay the others.
            for camera in frames:
                mailboxes[camera] = mailboxes.pop(camera)
            try:
                self._process(frames)
            except Exception as error:  # noqa: BLE001 a bug must cost these frames, not all that follow
                for camera in frames:
                    if camera.counts.in_flight:
                        camera.fail(error)
            # Do not keep the frames in memory until the next ones arrive.
            del frames

    def _take(
        self, mailboxes: Mapping[Camera, Mailbox[ReceivedFrame]], awaited: Collection[Camera]
    ) -> dict[Camera, ReceivedFrame]:
        """The frames that are waiting, as many as one batch may have; empty when the mailboxes are closed."""
        most = self._segmenter.preferred_batch
        wait_ms: Any = self._node.get_parameter("batch_wait_ms").value
        return take_waiting(mailboxes, most=most, gather_s=wait_ms / 1e3 if most > 1 else 0.0, awaited=awaited)

    def _process(self, received: dict[Camera, ReceivedFrame]) -> None:
        """Segment one frame of each of these cameras, publish the results and finish every frame."""
        for camera in received:
            camera.watchdog.frame_started()
        decoded: dict[Camera, DecodedFrame] = {}
        for camera, frame in received.items():
            with camera.failing():
                if (pixels := camera.decode(frame)) is not None:
                    self._warm_up(camera, pixels.size)
                    decoded[camera] = pixels
        for camera, result in self._segment(decoded).items():
            with camera.failing():
                camera.publish(decoded[camera], result)

    def _warm_up(self, camera: Camera, size: tuple[int, int]) -> None:
        """At the first frame of a camera, which reveals its size, build the engine for it in the background.

        Frames of any of the cameras seen so far may form a batch together, up to the preferred size. Each camera adds
        one possible batch size, which is warmed up when its first frame arrives.
        """
        if camera.size is not None:
            return
        seen = [other.size for other in self if other.size is not None]
        if len(self._cameras) > 1:
            network_size = self._segmenter.network_size(size)
            seen = [other for other in seen if self._segmenter.network_size(other) == network_size]
        batch = min(1 + len(seen), self._segmenter.preferred_batch)
        self._segmenter.warm_up(size, frames=batch, wait=False)
        camera.size = size

    def _segment(self, frames: dict[Camera, DecodedFrame]) -> "dict[Camera, Segmentation]":
        """Segment all frames in one batch, or one by one if the batch fails; a frame that then fails is finished."""
        confidence = any(frame.needs_confidence for frame in frames.values())
        if len(frames) > 1:
            try:
                results = self._segmenter.segment([frame.pixels for frame in frames.values()], confidence=confidence)
                return dict(zip(frames, results, strict=True))
            except Exception as error:  # noqa: BLE001 one bad frame must not cost the other cameras theirs
                if not self._stopped.is_set() and self._node.context.ok():
                    self._node.get_logger().warning(
                        f"a batch of {len(frames)} frames failed, segmenting them one by one: {one_line(error)}",
                        throttle_duration_sec=30.0,
                    )
        results = {}
        for camera, frame in frames.items():
            with camera.failing():
                results[camera] = self._segmenter.segment(frame.pixels, confidence=confidence)
        return results
