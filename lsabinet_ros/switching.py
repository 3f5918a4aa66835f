"""A segmenter that starts at once with PyTorch and switches to a faster engine, which is built in the background."""

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, overload

from lsabinet_core.errors import one_line
from lsabinet_ros.build_engines import BuildProcess, BuildRequest

if TYPE_CHECKING:
    import numpy as np

    from lsabinet_core.inference.segmenter import Segmentation, Segmenter
    from lsabinet_core.labels import LabelSet

log = logging.getLogger("lsabinet_core.engines")
"""Under the core's logger, because that is the one which the node forwards to its log."""


class SwitchingSegmenter:
    """Has the methods of a Segmenter that the node calls; one thread calls them.

    If the engines have not been compared for these weights, or the chosen one is not built for a size, PyTorch runs the
    frames. Meanwhile, a ``BuildProcess`` does the missing work. When it has ended, a new Segmenter is created, which
    finds everything in the cache and takes over between two frames.

    Args:
        request: weights and options, with backend ``auto``; the batches are those that are known in advance.
    """

    def __init__(self, request: BuildRequest):
        self._lock = threading.Lock()
        self._request = request
        self._segmenter = request.open(compare=False)
        self._next: Segmenter | None = None
        self._process: BuildProcess | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._failed = False
        try:
            for height, width, frames in request.batches:
                self._prepare((height, width), frames)
            trained = self._segmenter.metadata.input_size
            # Otherwise it is better to wait for the first frame, which reveals the size.
            if not request.batches and (self._segmenter.undecided or self._segmenter.is_built(trained)):
                self._prepare(trained, 1)
        except BaseException:
            self.close()
            raise

    # The interface of a Segmenter.

    @property
    def label_set(self) -> "LabelSet":
        return self._segmenter.label_set

    @property
    def device(self) -> str:
        return self._segmenter.device

    @property
    def preferred_batch(self) -> int:
        return self._segmenter.preferred_batch

    @property
    def metadata(self):
        return self._segmenter.metadata

    def network_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        return self._segmenter.network_size(frame_size)

    def describe(self) -> dict:
        """As ``Segmenter.describe``, and ``engine_state``: ``plain`` (PyTorch runs, and nothing else is being built),
        ``building`` or ``ready``."""
        idle = "plain" if self._failed else "ready"
        state = idle if self._thread is None else "building"
        return {**self._segmenter.describe(), "engine_state": state}

    @overload
    def segment(self, frames: "np.ndarray", *, confidence: bool = True) -> "Segmentation": ...

    @overload
    def segment(self, frames: "list[np.ndarray]", *, confidence: bool = True) -> "list[Segmentation]": ...

    def segment(
        self, frames: "np.ndarray | list[np.ndarray]", *, confidence: bool = True
    ) -> "Segmentation | list[Segmentation]":
        self._switch()
        return self._segmenter.segment(frames, confidence=confidence)

    def overlay(
        self, frame: "np.ndarray", mask: "np.ndarray", alpha: float, label_set: "LabelSet | None" = None
    ) -> "np.ndarray":
        return self._segmenter.overlay(frame, mask, alpha, label_set)

    def warm_up(self, frame_size: tuple[int, int], *, frames: int = 1, wait: bool = False) -> None:
        """Get ready for frames of that size, which are already waiting; missing engines are built in the background."""
        self._switch()
        with self._lock:
            known = (*frame_size, frames) in self._request.batches
            if not known:
                self._request = replace(self._request, batches=(*self._request.batches, (*frame_size, frames)))
        if not known:
            self._prepare(frame_size, frames, wait=False)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.end()
            segmenters = [s for s in (self._segmenter, self._next) if s is not None]
        for segmenter in segmenters:
            segmenter.close()

    # Getting ready.

    def _prepare(self, frame_size: tuple[int, int], frames: int, wait: bool = True) -> None:
        """Load the engine for a size if that is quick; otherwise let PyTorch run it and start building."""
        built = self._segmenter.is_built(frame_size, frames=frames)
        if built:
            self._segmenter.warm_up(frame_size, frames=frames, wait=wait)
        else:
            self._segmenter.stay_plain(frame_size)
        if self._segmenter.undecided or not built:
            self._build()

    def _build(self) -> None:
        with self._lock:
            if self._thread is None and not self._failed:
                self._thread = threading.Thread(target=self._build_all, name="engine_builder", daemon=True)
                self._thread.start()

    def _build_all(self) -> None:
        built: BuildRequest | None = None
        while (request := self._request_after(built)) is not None:
            try:
                problem = self._build_once(request)
            except Exception as error:  # noqa: BLE001 PyTorch continues
                problem = one_line(error)
            if problem is not None:
                with self._lock:
                    self._thread, self._failed = None, True
                    if not self._closed:
                        log.warning("no engine could be built in the background, PyTorch runs the frames: %s", problem)
                return
            built = request

    def _request_after(self, built: BuildRequest | None) -> BuildRequest | None:
        """The request to build now; None if everything is built, or if this segmenter is closed."""
        with self._lock:
            if self._closed or self._request == built:
                # Under the same lock as the decision, so that a later request starts another thread.
                self._thread = None
                return None
            return self._request

    def _build_once(self, request: BuildRequest) -> str | None:
        """Build the engines of a request in another process, and load them; returns why that failed."""
        sizes = ", ".join(f"{frames} x {height}x{width}" for height, width, frames in request.batches)
        log.info("building the engine in the background for frames of %s; PyTorch runs until then", sizes or "any size")
        with self._lock:
            if self._closed:
                return None
            self._process = BuildProcess(request)
        problem = self._process.wait()
        with self._lock:
            self._process = None
            if self._closed or problem is not None:
                return problem
        segmenter = request.build()
        with self._lock:
            if self._closed:
                obsolete = segmenter
            else:
                obsolete, self._next = self._next, segmenter
        if obsolete is not None:
            obsolete.close()
        return None

    def _switch(self) -> None:
        """Switch to the Segmenter that was created in the background, if there is one."""
        if self._next is None:
            return
        with self._lock:
            old, self._segmenter, self._next = self._segmenter, self._next, None
            batches = self._request.batches
        for height, width, frames in batches:
            # A size that came while the engine was being built for others is built next.
            if not self._segmenter.is_built((height, width), frames=frames):
                self._segmenter.stay_plain((height, width))
        engine = self._segmenter.describe()
        log.info("backend %s runs from now on", engine["backend"])
        # Closing may wait for a moment, and a frame is waiting.
        threading.Thread(target=old.close, name="segmenter_closer", daemon=True).start()
