"""All cameras of the node: one worker, one network, and what waits at the same moment in one batch."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

import numpy as np
from rclpy.lifecycle import LifecycleNode

from lsabinet_ros.camera import Camera, DecodedFrame, ReceivedFrame, one_line
from lsabinet_ros.mailbox import Outcome
from lsabinet_ros.worker import WorkerThread, serve

if TYPE_CHECKING:
    from lsabinet_core.inference.segmenter import Segmentation, Segmenter


class Cameras(Sequence[Camera]):
    """The cameras that share a Segmenter. Made at configure, started at activate, stopped at deactivate.

    Args:
        node: whose topics, clock, logger and parameter ``overlay_alpha`` are used.
        segmenter: used in the worker's thread only.
        names: of the cameras, whose topics are under ``~/NAME``; none for the one camera under ``~``.
        compressed: subscribe to CompressedImage instead of Image.
    """

    def __init__(self, node: LifecycleNode, segmenter: "Segmenter", names: Sequence[str], *, compressed: bool):
        self._node = node
        self._segmenter = segmenter
        self._cameras: list[Camera] = []
        self._serving: Future | None = None
        self._stopped = False
        try:
            for name in names or [""]:
                self._cameras.append(Camera(node, segmenter, compressed=compressed, name=name))
        except Exception:
            self.destroy()
            raise

    def __getitem__(self, index):
        return self._cameras[index]

    def __len__(self) -> int:
        return len(self._cameras)

    def start(self, worker: WorkerThread) -> None:
        """Start every camera, and serve their frames in ``worker``; the node's publishers are active already."""
        self._stopped = False
        changed = threading.Condition()
        mailboxes = [camera.start(changed) for camera in self]
        self._serving = worker.submit(
            lambda: serve(mailboxes, self._process, lambda index, error: self[index].log_error(error))
        )

    def stop(self, timeout_s: float) -> bool:
        """Unsubscribe and let the frames in work finish.

        Returns:
            False when they still are in work after ``timeout_s``; their results will not be published.
        """
        for camera in self:
            camera.unsubscribe()
        try:
            if self._serving is not None:
                # A second call does not wait again for a device that hangs.
                self._serving.result(0.0 if self._stopped else timeout_s)
        except FutureTimeoutError:
            return False
        finally:
            self._stopped = True
            for camera in self:
                camera.discard()
        return True

    def destroy(self) -> None:
        """Destroy the publishers; the cameras were stopped."""
        for camera in self:
            camera.destroy()

    def _process(self, received: dict[int, ReceivedFrame]) -> Iterator[tuple[int, Outcome | Exception]]:
        """Segment one frame each of some cameras and publish; yields each one's outcome as ``worker.serve`` wants it.

        Runs in the worker's thread.
        """
        for index in received:
            self[index].watchdog.frame_started()
        decoded: dict[int, DecodedFrame] = {}
        for index, frame in received.items():
            try:
                result = self[index].decode(frame)
                if result is not None:
                    self._warm_up(self[index], result.pixels.shape[:2])
            except Exception as error:
                yield index, error
                continue
            if result is None:
                yield index, Outcome.UNWANTED
            else:
                decoded[index] = result
        if not decoded:
            return
        confidence = any(frame.wanted.confidence for frame in decoded.values())
        results = self._segment([frame.pixels for frame in decoded.values()], confidence)
        for (index, frame), result in zip(decoded.items(), results):
            outcome = result
            if not isinstance(result, Exception):
                try:
                    outcome = self[index].publish(frame, result)
                except Exception as error:
                    outcome = error
            yield index, outcome

    def _warm_up(self, camera: Camera, size: tuple[int, int]) -> None:
        """At a camera's first frame, which alone tells its size: build the engine for it, beside the frames.

        Frames of all cameras whose first has come may go through together, or any part of them: each such number of
        frames is warmed up when the camera comes with which it becomes possible.
        """
        if camera.size is not None:
            return
        seen = [other.size for other in self if other.size is not None]
        if len(self) > 1:
            network_size = self._segmenter.network_size(size)
            seen = [other for other in seen if self._segmenter.network_size(other) == network_size]
        self._segmenter.warm_up(size, frames=1 + len(seen), wait=False)
        camera.size = size

    def _segment(self, frames: list[np.ndarray], confidence: bool) -> "list[Segmentation | Exception]":
        if len(frames) > 1:
            try:
                return self._segmenter.segment(frames, confidence=confidence)
            except Exception as error:
                # Not every camera need suffer: alone, each frame shows whether it is to blame.
                if not self._stopped and self._node.context.ok():
                    self._node.get_logger().warning(
                        f"{len(frames)} frames failed together and are segmented one by one: {one_line(error)}",
                        throttle_duration_sec=30.0,
                    )
        results = []
        for frame in frames:
            try:
                results.append(self._segmenter.segment(frame, confidence=confidence))
            except Exception as error:
                results.append(error)
        return results
