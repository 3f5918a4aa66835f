"""The Segmenter: takes a frame and returns a mask of the frame's size."""

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch

from lsabinet_core.cores import at_most_cores
from lsabinet_core.errors import BackendError, FrameError, ModelError
from lsabinet_core.inference.artefact import Artefact, is_artefact, open_artefact
from lsabinet_core.inference.backends import DEFAULT_BACKEND, create_backend, engine_for
from lsabinet_core.inference.backends.auto import AutoBackend
from lsabinet_core.inference.backends.shapes import Shape
from lsabinet_core.inference.device_frames import DeviceFrames
from lsabinet_core.inference.device_overlay import DeviceOverlay
from lsabinet_core.inference.forks import MEND, claim_process, is_copied
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.overlay import blend
from lsabinet_core.inference.postprocess import masks_from_logits
from lsabinet_core.inference.preprocess import ORDERS, check_frame, network_size, stack_frames
from lsabinet_core.inference.stage_timer import StageTimer
from lsabinet_core.inference.threads import limit_threads
from lsabinet_core.labels import LabelSet
from lsabinet_core.models.blocks import SegmentationNetwork
from lsabinet_core.models.limits import SMALLEST_INPUT
from lsabinet_core.models.weights import WeightsMetadata, load_weights

MAX_BATCH = 8
"""Maximum number of frames that go through the network together; longer lists are split to bound memory."""


@dataclass(frozen=True)
class Timings:
    """Wall-clock milliseconds per frame, including the wait for the device; for a batch, its total divided by the
    number of frames."""

    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float

    @property
    def total_ms(self) -> float:
        return self.preprocess_ms + self.inference_ms + self.postprocess_ms


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The result for one frame.

    Attributes:
        mask: uint8 (H, W), class ids at the frame's size.
        confidence: uint8 (H, W), ``round(255 * softmax probability of the mask's class)``; None if not requested.
        timings: duration of each stage.
    """

    mask: np.ndarray
    confidence: np.ndarray | None
    timings: Timings


class Segmenter:
    """Segments camera frames of any size.

    A frame is resized to the network's input and normalised, and the logits are upsampled to the frame's size before
    the best class is taken.

    Threads may share an instance. Their calls are serialised, because engines write every result to the same memory,
    and each call returns new arrays; create two instances to segment two frames at the same time. ``close`` waits for
    the running call, and later calls raise BackendError.

    Processes cannot share an instance. After a fork without exec (the default of ``multiprocessing`` on Linux before
    Python 3.14) the engines' threads are missing in the child, so using the parent's instance there, or creating one,
    raises BackendError. Start processes with "spawn" or "forkserver".

    Some engines are built for each input size: ``warm_up`` builds them. Without it, the first frame of a new size waits
    if the engine was selected by name; ``auto`` runs PyTorch until the engine is built.

    Args:
        model: a network of ``lsabinet_core.models``; it is copied, so later changes to it have no effect. Or an
            exported model (``lsabinet_core.inference.artefact.open_artefact``).
        metadata: classes, training size and normalisation; not needed for an exported model.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``, if the engine offers it; or ``auto``: fp16 on a GPU, fp32
            on the CPU, but with backend ``auto`` bf16 if the processor has instructions for it, it is faster, and its
            masks of street scenes agree with those of fp32. An exported model has a fixed precision.
        backend: engine, one of ``lsabinet_core.inference.backends.list_backends()``; ``auto`` takes the fastest here:
            it compares them once per machine and weights, which takes seconds, and caches the result. An exported
            model is run by the default engine of its format, unless another one that reads it is named.
        input_size: (H, W) of the network's input; None takes the trained pixel count at each frame's aspect ratio. An
            exported model has a fixed size, unless it was exported for any.
        threads: maximum number of CPU threads, for the whole process; 0 leaves the libraries' choice.
        compare: False lets ``auto`` run PyTorch instead of comparing the engines, if they were not compared before
            (``undecided``).

    Raises:
        BackendError: an engine, device or precision is not available here, or the process was forked from one that has
            run a network.
        ModelError: an input size that the network cannot take, or a network without metadata.
    """

    def __init__(
        self,
        model: SegmentationNetwork | Artefact,
        metadata: WeightsMetadata | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = DEFAULT_BACKEND,
        input_size: tuple[int, int] | None = None,
        threads: int = 0,
        compare: bool = True,
    ):
        if input_size is not None and min(input_size) < SMALLEST_INPUT:
            raise ModelError(f"expected an input size of at least {SMALLEST_INPUT}x{SMALLEST_INPUT}, got {input_size}")
        if threads < 0:
            raise ModelError(f"expected threads to be 0 (no limit) or more, got {threads}")
        self.input_size = None if input_size is None else (int(input_size[0]), int(input_size[1]))
        self._claim = claim_process()
        # Reentrant, because warm_up calls segment.
        self._turn = threading.RLock()
        self._closed = False
        self._threads = at_most_cores(threads)
        self._weights = "in memory"
        if isinstance(model, Artefact):
            self.metadata = model.info.metadata
            self.input_size = _exported_size(model, self.input_size)
            backend = engine_for(model, backend)
            source = model
        else:
            if metadata is None:
                raise ModelError("expected the metadata of the network, got none")
            self.metadata = metadata
            source = Network(model, metadata, self.input_size or metadata.input_size, any_size=self.input_size is None)
        self._backend = create_backend(backend, device=device, precision=precision, threads=self._threads)
        if isinstance(self._backend, AutoBackend):
            self._backend.compare = compare
        self._backend.load(source)
        runs_on = self._backend.device
        self._stack, self._blend = stack_frames, blend
        if runs_on.type != "cpu":
            self._stack, self._blend = DeviceFrames(runs_on), DeviceOverlay(runs_on, self.label_set)

    @classmethod
    def from_pretrained(cls, weights: str | os.PathLike[str], **options: Any) -> "Segmenter":
        """Create a Segmenter from a weights file, the name of shipped weights, or an exported model.

        Options are those of the constructor.

        Raises:
            WeightsError: the weights do not exist, or the file is damaged or has another format.
            BackendError, ModelError: as the constructor.
        """
        claim_process()
        model, metadata = (open_artefact(weights), None) if is_artefact(weights) else load_weights(weights)
        segmenter = cls(model, metadata, **options)
        segmenter._weights = os.fspath(weights)
        return segmenter

    @property
    def label_set(self) -> LabelSet:
        return self.metadata.label_set

    @property
    def device(self) -> str:
        return str(self._backend.device)

    @property
    def preferred_batch(self) -> int:
        """Number of frames worth segmenting in one call. On a CPU it is 1: a batch saves no time, delays the first
        result, and each batch size needs additional memory."""
        return 1 if self._backend.device.type == "cpu" else MAX_BATCH

    @property
    def precision(self) -> str:
        return self._backend.precision

    @property
    def backend(self) -> str:
        return self._backend.name

    @property
    def undecided(self) -> bool:
        """Whether PyTorch runs because the engines have not been compared yet (``compare=False``)."""
        return isinstance(self._backend, AutoBackend) and self._backend.undecided

    def network_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of the network's input for frames of ``frame_size``."""
        return self.input_size or network_size(frame_size, self.metadata.input_size)

    def describe(self) -> dict:
        """Weights, network and engine as JSON values, for reports."""
        return {
            "weights": self._weights,
            "architecture": self.metadata.architecture,
            "trained_on": self.metadata.dataset,
            **self._backend.describe(),
            "threads": self._threads or at_most_cores(torch.get_num_threads()),
        }

    @overload
    def segment(self, frames: np.ndarray, *, order: str = "bgr", confidence: bool = True) -> Segmentation: ...

    @overload
    def segment(
        self, frames: list[np.ndarray] | tuple[np.ndarray, ...], *, order: str = "bgr", confidence: bool = True
    ) -> list[Segmentation]: ...

    def segment(
        self,
        frames: np.ndarray | list[np.ndarray] | tuple[np.ndarray, ...],
        *,
        order: str = "bgr",
        confidence: bool = True,
    ) -> Segmentation | list[Segmentation]:
        """Segment one frame, or a list of frames of any sizes: those with the same network size form batches.

        Args:
            frames: uint8 (H, W, 3), or a list of such arrays.
            order: ``"bgr"`` as OpenCV reads, or ``"rgb"``.
            confidence: False skips the softmax and leaves ``Segmentation.confidence`` None.

        Returns:
            A Segmentation for a frame; for a list, a list of them in the same order.

        Raises:
            FrameError: a frame is not a uint8 colour image; the message gives the reason and the index in the list.
            BackendError: the Segmenter is closed, or used in a forked copy of its process.
        """
        if order not in ORDERS:
            raise FrameError(f"expected order to be one of {', '.join(ORDERS)}, got {order!r}")
        if not isinstance(frames, (list, tuple)):
            check_frame(frames)
            return self._segment_batch([frames], order, confidence)[0]
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, frame in enumerate(frames):
            try:
                check_frame(frame)
            except FrameError as error:
                raise FrameError(f"frame {index} of {len(frames)}: {error}") from None
            by_size.setdefault(self.network_size(frame.shape[:2]), []).append(index)
        results: dict[int, Segmentation] = {}
        for indices in by_size.values():
            for start in range(0, len(indices), MAX_BATCH):
                chunk = indices[start : start + MAX_BATCH]
                segmented = self._segment_batch([frames[i] for i in chunk], order, confidence)
                results.update(zip(chunk, segmented, strict=True))
        return [results[index] for index in range(len(frames))]

    @torch.inference_mode()
    def logits(
        self, frames: Sequence[np.ndarray], size: tuple[int, int], *, order: str = "bgr"
    ) -> tuple[torch.Tensor, float, float]:
        """The logits at a given input size, for test-time augmentation.

        Args:
            frames: uint8 (h, w, 3) each, already checked; at most ``MAX_BATCH``.
            size: (H, W) of the network's input.
            order: see ``segment``.

        Returns:
            Float (N, C, h, w) on the device, before upsampling; and the milliseconds of preprocessing and of the
            network for the whole batch.

        Raises:
            BackendError: see ``segment``.
        """
        with self._in_turn():
            logits, timer = self._infer(frames, size, order)
            preprocess_ms, inference_ms = timer.milliseconds()
            return logits.clone(), preprocess_ms, inference_ms

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Serialise threads; checks that the Segmenter is open and was created in this process."""
        self._check_process()
        with self._turn:
            if self._closed:
                raise BackendError("expected a Segmenter that is open, got one that was closed: create a new one")
            yield

    def _check_process(self) -> None:
        # A lock that another thread held during the fork would never be released here.
        if is_copied(self._claim):
            raise BackendError(
                f"expected the process that created the Segmenter, got a forked copy, which would hang: {MEND}"
            )

    def _infer(
        self, frames: Sequence[np.ndarray], size: tuple[int, int], order: str
    ) -> tuple[torch.Tensor, StageTimer]:
        """The logits, which a GPU may still be computing, and the timer with the marks of preprocessing and network."""
        limit_threads(self._threads)
        timer = StageTimer(self._backend.device)
        images = self._stack(frames, size, order)
        timer.mark()
        logits = self._backend.infer(images)
        timer.mark()
        return logits, timer

    @torch.inference_mode()
    def _segment_batch(self, frames: list[np.ndarray], order: str, confidence: bool) -> list[Segmentation]:
        with self._in_turn():
            logits, timer = self._infer(frames, self.network_size(frames[0].shape[:2]), order)
            masks, confidences = [], []
            for size, group in itertools.groupby(range(len(frames)), lambda index: frames[index].shape[:2]):
                group = list(group)
                found, certain = masks_from_logits(logits[group[0] : group[-1] + 1], size, confidence=confidence)
                masks.extend(found)
                confidences.extend([None] * len(group) if certain is None else certain)
            timer.mark()
            timings = Timings(*(spent / len(frames) for spent in timer.milliseconds()))
        return [Segmentation(*planes, timings) for planes in zip(masks, confidences, strict=True)]

    def overlay(
        self, frame: np.ndarray, mask: np.ndarray, alpha: float = 0.5, label_set: LabelSet | None = None
    ) -> np.ndarray:
        """Blend the class colours into a frame, on the device on which the network runs.

        Args:
            frame: BGR uint8 (H, W, 3); not changed.
            mask: class ids, uint8 (H, W).
            alpha: weight of the colours, 0 (frame only) to 1 (colours only).
            label_set: provides the colours; None takes those of the network's classes.

        Returns:
            BGR uint8 (H, W, 3).

        Raises:
            FrameError: frame or mask has a wrong type or shape, or their sizes differ.
        """
        self._check_process()
        return self._blend(frame, mask, alpha=alpha, label_set=label_set or self.label_set)

    def warm_up(self, frame_size: tuple[int, int] | None = None, *, frames: int = 1, wait: bool = True) -> None:
        """Build the engine and run blank frames, so that the first real frame is as fast as the others.

        Sizes that are already warm are skipped.

        Args:
            frame_size: (H, W) of the expected frames; None takes the trained size, or an exported size if the engine
                supports no others.
            frames: number of frames per call, for example the number of cameras.
            wait: False if frames are already waiting: slow builds then run in the background, and PyTorch runs the
                frames until they finish.

        Raises:
            BackendError: like ``segment``, or the engine cannot be built.
        """
        with self._in_turn():
            self._warm_up(frame_size, frames, wait)

    def _warm_up(self, frame_size: tuple[int, int] | None, frames: int, wait: bool) -> None:
        frame_size = frame_size or self._usual_size()
        limit_threads(self._threads)
        blank = np.zeros((*frame_size, 3), dtype=np.uint8)
        for shape in self._shapes(frame_size, frames):
            batch, network_size = shape[0], shape[1:]
            if self._backend.is_warm(shape):
                continue
            if not wait:
                self._backend.prepare_later(network_size, batch)
                continue
            self._backend.prepare(network_size, batch)
            for _ in range(2):
                self.segment([blank] * batch)
            self._backend.shapes.note_warm(shape)

    def is_built(self, frame_size: tuple[int, int], *, frames: int = 1) -> bool:
        """Whether ``frames`` frames of that size in one call need no build: the engine, if any, is built or on disk."""
        with self._in_turn():
            return all(self._backend.is_built(shape) for shape in self._shapes(frame_size, frames))

    def stay_plain(self, frame_size: tuple[int, int]) -> None:
        """Let PyTorch run frames of that size that come without a warm-up, even if they keep coming."""
        with self._in_turn():
            self._backend.shapes.note_plain(self.network_size(frame_size), True)

    def _shapes(self, frame_size: tuple[int, int], frames: int) -> list[Shape]:
        """The shapes in which a list of frames goes through the network."""
        # A list that is too long for one batch ends with a smaller one.
        batches = {min(frames, MAX_BATCH), frames % MAX_BATCH} - {0}
        return [(batch, *self.network_size(frame_size)) for batch in sorted(batches)]

    def _usual_size(self) -> tuple[int, int]:
        trained = self.metadata.input_size
        exported = self._backend.exported_sizes()
        fitting = [size for size in exported if self.network_size(size) == size]
        return fitting[0] if fitting and self.network_size(trained) not in fitting else trained

    def close(self) -> None:
        """Free the network after the running call; later calls raise BackendError.

        A background build is waited for at most half a second; its memory is freed when it ends. In a forked copy of
        the process nothing is done, because the threads to wait for do not exist there.
        """
        if is_copied(self._claim):
            return
        with self._turn:
            self._closed = True
            self._backend.close()

    def __reduce__(self):
        # Called for copies, and for the arguments of a new process.
        raise BackendError(
            "a Segmenter cannot be copied or pickled, because its engine belongs to this process: create one in each "
            "process with Segmenter.from_pretrained"
        )

    def __enter__(self) -> "Segmenter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _exported_size(artefact: Artefact, asked: tuple[int, int] | None) -> tuple[int, int] | None:
    size = artefact.info.size
    if artefact.info.output != "logits":
        raise ModelError(
            f"{artefact.path.name} gives {artefact.info.output}s, for other programs: expected an export with logits, "
            "which are enlarged to each frame's size; export again with --output logits"
        )
    if size is None:
        return asked
    if asked not in (None, size):
        raise ModelError(
            f"{artefact.path.name} was exported for {size[0]}x{size[1]}, got an input size of {asked[0]}x{asked[1]}: "
            "leave it out, or export again"
        )
    return size
