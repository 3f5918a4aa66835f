"""The Segmenter: a frame in, a mask at the frame's size out."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from lsabinet_core.cores import at_most_cores
from lsabinet_core.errors import FrameError, ModelError
from lsabinet_core.inference.artefact import Artefact, is_artefact, open_artefact
from lsabinet_core.inference.backends import DEFAULT_BACKEND, create_backend, engine_for
from lsabinet_core.inference.device_frames import DeviceFrames
from lsabinet_core.inference.device_overlay import DeviceOverlay
from lsabinet_core.inference.laps import Laps
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.overlay import blend
from lsabinet_core.inference.postprocess import masks_from_logits
from lsabinet_core.inference.preprocess import ORDERS, check_frame, network_size, stack_frames
from lsabinet_core.inference.threads import limit_threads
from lsabinet_core.labels import LabelSet
from lsabinet_core.models.blocks import SMALLEST_INPUT
from lsabinet_core.models.weights import WeightsMetadata, load_weights

MAX_BATCH = 8
"""Most frames that go through the network together; longer lists are cut, so that memory stays bounded."""


@dataclass(frozen=True)
class Timings:
    """Wall-clock milliseconds per frame, the device waited for; in a batch, the batch's time divided by its frames."""

    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float

    @property
    def total_ms(self) -> float:
        return self.preprocess_ms + self.inference_ms + self.postprocess_ms


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What the network says about one frame.

    Attributes:
        mask: uint8 (H, W), class ids at the frame's size.
        confidence: uint8 (H, W), ``round(255 * softmax probability of the mask's class)``; None if not asked for.
        timings: how long the steps took.
    """

    mask: np.ndarray
    confidence: np.ndarray | None
    timings: Timings


class Segmenter:
    """Segments camera frames of any size.

    A frame is resized to the network's input, normalised, run, and the logits are enlarged to the frame's size before
    the best class is taken. One instance serves one thread at a time; it may be handed from thread to thread.

    Some engines are built for the size of their input: ``warm_up`` builds them. Without it the first frame of a size
    waits for an engine that was named; ``auto`` runs PyTorch until it is built.

    Args:
        model: a network of ``lsabinet_core.models``; it is copied, so later changes to it have no effect here. Or an
            exported network (``lsabinet_core.inference.artefact.open_artefact``).
        metadata: its classes, training size and normalisation; not needed for an exported network.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp32 on the CPU, fp16 on a GPU), ``fp32``, ``bf16``, ``fp16`` or ``int8``, as far as the
            engine offers it. An exported network has its own.
        backend: engine, one of ``lsabinet_core.inference.backends.list_backends()``; ``auto`` takes the fastest here:
            it compares them once per machine and weights, which takes seconds, and remembers. An exported network is
            run by its format's engine, unless another that reads it is named.
        input_size: (H, W) of the network's input; None takes the trained pixel count at each frame's aspect ratio. An
            exported network has its own.
        threads: most CPU threads to compute with (it holds for the whole process); 0 leaves the libraries' choice.

    Raises:
        BackendError: an engine, device or precision that is not available here.
        ModelError: an input size that the network cannot take.
    """

    def __init__(
        self,
        model: nn.Module | Artefact,
        metadata: WeightsMetadata | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = DEFAULT_BACKEND,
        input_size: tuple[int, int] | None = None,
        threads: int = 0,
    ):
        if input_size is not None and min(input_size) < SMALLEST_INPUT:
            raise ModelError(f"expected an input size of at least {SMALLEST_INPUT}x{SMALLEST_INPUT}, got {input_size}")
        if threads < 0:
            raise ModelError(f"expected threads to be 0 (no limit) or more, got {threads}")
        self.input_size = None if input_size is None else (int(input_size[0]), int(input_size[1]))
        self._threads = at_most_cores(threads)
        self._warm: set[tuple[int, int, int]] = set()
        self._weights = "in memory"
        if isinstance(model, Artefact):
            self.metadata = model.info.metadata
            self.input_size = _exported_size(model, self.input_size)
            backend = engine_for(model, backend)
            source = model
        else:
            self.metadata = metadata
            source = Network(model, metadata, self.input_size or metadata.input_size, any_size=self.input_size is None)
        self._backend = create_backend(backend, device=device, precision=precision, threads=self._threads)
        self._backend.load(source)
        device = self._backend.device
        self._stack, self._blend = stack_frames, partial(blend, label_set=self.label_set)
        if device.type != "cpu":
            self._stack, self._blend = DeviceFrames(device), DeviceOverlay(device, self.label_set)

    @classmethod
    def from_pretrained(cls, weights: str | os.PathLike, **options) -> "Segmenter":
        """A Segmenter from a weights file, the name of shipped weights, or a network that ``lsabinet export`` wrote.

        Options are the constructor's.

        Raises:
            WeightsError: no such weights, or a file that is not what it should be.
        """
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
    def precision(self) -> str:
        return self._backend.precision

    @property
    def backend(self) -> str:
        return self._backend.name

    def network_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) at which frames of ``frame_size`` go through the network."""
        return self.input_size or network_size(frame_size, self.metadata.input_size)

    def describe(self) -> dict:
        """Weights, network and engine as JSON values, for reports."""
        return {
            "weights": self._weights,
            "architecture": self.metadata.architecture,
            "trained_on": self.metadata.dataset,
            **self._backend.describe(),
            "threads": self._threads or torch.get_num_threads(),
        }

    def segment(
        self, frames: np.ndarray | Sequence[np.ndarray], *, order: str = "bgr", confidence: bool = True
    ) -> Segmentation | list[Segmentation]:
        """Segment one frame, or a list of frames of any sizes: those of the same network size go through together.

        Args:
            frames: uint8 (H, W, 3), or a list of such.
            order: ``"bgr"`` as OpenCV reads, or ``"rgb"``.
            confidence: False saves the softmax and leaves ``Segmentation.confidence`` None.

        Returns:
            A Segmentation for a frame, a list of them, in the same order, for a list.

        Raises:
            FrameError: not a colour frame of uint8; says what came, and which of the list.
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
        """What the network says at an input size of the caller's choice, for those who merge several of its answers.

        Args:
            frames: uint8 (h, w, 3) each, checked; at most ``MAX_BATCH``.
            size: (H, W) of the network's input.
            order: as ``segment``.

        Returns:
            Float (N, C, h, w) on the device, before any enlargement, which the next call may overwrite; and the
            milliseconds that the whole batch spent in preprocessing and in the network.
        """
        logits, laps = self._infer(frames, size, order)
        return logits, *laps.milliseconds()

    def _infer(self, frames: Sequence[np.ndarray], size: tuple[int, int], order: str) -> tuple[torch.Tensor, Laps]:
        """The logits, which a GPU may still be working on, and the laps of preprocessing and network."""
        limit_threads(self._threads)
        laps = Laps(self._backend.device)
        images = self._stack(frames, size, order)
        laps.mark()
        logits = self._backend.infer(images)
        laps.mark()
        return logits, laps

    @torch.inference_mode()
    def _segment_batch(self, frames: list[np.ndarray], order: str, confidence: bool) -> list[Segmentation]:
        logits, laps = self._infer(frames, self.network_size(frames[0].shape[:2]), order)
        masks, confidences = [], []
        for size, group in itertools.groupby(range(len(frames)), lambda index: frames[index].shape[:2]):
            group = list(group)
            found, certain = masks_from_logits(logits[group[0] : group[-1] + 1], size, confidence=confidence)
            masks.extend(found)
            confidences.extend([None] * len(group) if certain is None else certain)
        laps.mark()
        timings = Timings(*(spent / len(frames) for spent in laps.milliseconds()))
        return [Segmentation(*planes, timings) for planes in zip(masks, confidences, strict=True)]

    def overlay(self, frame: np.ndarray, mask: np.ndarray, alpha: float = 0.5) -> np.ndarray:
        """Lay the class colours over a frame, where the network runs.

        Args:
            frame: BGR uint8 (H, W, 3); not changed.
            mask: class ids, uint8 (H, W).
            alpha: weight of the colours, 0 (frame only) to 1 (colours only).

        Returns:
            BGR uint8 (H, W, 3).
        """
        return self._blend(frame, mask, alpha=alpha)

    def warm_up(self, frame_size: tuple[int, int] | None = None, *, frames: int = 1, wait: bool = True) -> None:
        """Build what the engine needs and run blank frames, so that the first real one is as fast as the others.

        What is warm already is not done again.

        Args:
            frame_size: (H, W) of the frames to come; None takes the trained size, or what the engine was exported for
                where it runs nothing else.
            frames: how many will come in one call, for a list of cameras.
            wait: False for when frames wait already: what takes seconds is then built in the background, and the frames
                go through PyTorch meanwhile.
        """
        frame_size = frame_size or self._usual_size()
        network_size = self.network_size(frame_size)
        # A list that is too long for one batch leaves a smaller one.
        batches = {min(frames, MAX_BATCH), frames % MAX_BATCH} - {0}
        limit_threads(self._threads)
        blank = np.zeros((*frame_size, 3), dtype=np.uint8)
        for batch in sorted(batches):
            shape = (batch, *network_size)
            # The engine may have given it up for others since.
            if shape in self._warm and getattr(self._backend, "holds", lambda shape: True)(shape):
                continue
            if not wait:
                getattr(self._backend, "prepare_later", self._backend.prepare)(network_size, batch)
                continue
            self._backend.prepare(network_size, batch)
            for _ in range(2):
                self.segment([blank] * batch)
            self._warm.add(shape)

    def _usual_size(self) -> tuple[int, int]:
        trained = self.metadata.input_size
        exported = getattr(self._backend, "exported_sizes", list)()
        fitting = [size for size in exported if self.network_size(size) == size]
        return fitting[0] if fitting and self.network_size(trained) not in fitting else trained

    def close(self) -> None:
        """Free the network; the Segmenter cannot be used afterwards."""
        self._backend.close()

    def __enter__(self) -> "Segmenter":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _exported_size(artefact: Artefact, asked: tuple[int, int] | None) -> tuple[int, int]:
    size = artefact.info.size
    if artefact.info.output != "logits":
        raise ModelError(
            f"{artefact.path.name} gives {artefact.info.output}s, for other programs: expected an export with logits, "
            "which are enlarged to each frame's size; export again with --output logits"
        )
    if asked not in (None, size):
        raise ModelError(
            f"{artefact.path.name} was exported for {size[0]}x{size[1]}, got an input size of {asked[0]}x{asked[1]}: "
            "leave it out, or export again"
        )
    return size
