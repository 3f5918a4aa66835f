"""Candidates that are loaded and warmed up: one turn measures the network alone and the whole Segmenter."""

import copy
import time
from typing import Any, Protocol

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference import Segmenter
from lsabinet_core.inference.backends.base import CLOSED
from lsabinet_core.inference.backends.choose import choose_device, device_name
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.parity import make_picture
from lsabinet_core.inference.segmenter import MAX_BATCH
from lsabinet_core.inference.threads import limit_threads
from lsabinet_core.models.blocks import SegmentationNetwork, move

from .candidates import EAGER, Candidate
from .interleaved import synchronize


class Subject(Protocol):
    """A measured candidate, interleaved with others."""

    def turn(self) -> dict[str, float]:
        """Milliseconds of one call with ``batch`` images: ``network``, ``cpu`` and, if there is a Segmenter, its
        ``segment``, ``preprocess``, ``inference`` and ``postprocess``."""
        ...

    def describe(self) -> dict[str, str]:
        """Like ``Backend.describe``."""
        ...

    def close(self) -> None:
        """Release all resources."""


class EngineSubject:
    """A Segmenter on one of its engines.

    Args:
        network: the network to run.
        candidate: engine, precision, size and number of images.
        device: see ``Segmenter``.
        threads: see ``Segmenter``.
        frame: (H, W) of the frames for the whole Segmenter; None: the network's size.
        confidence: whether the whole Segmenter also computes the confidence.
        cameras: frames per call of the Segmenter; None: the candidate's number of images.

    Raises:
        LsabinetError: the engine, device, precision, size or number of images is not available here.
    """

    def __init__(
        self,
        network: Network,
        candidate: Candidate,
        *,
        device: str,
        threads: int,
        frame: tuple[int, int] | None = None,
        confidence: bool = False,
        cameras: int | None = None,
    ):
        if candidate.batch > MAX_BATCH:
            # The Segmenter splits larger batches, so engines are not built for them.
            raise BackendError(f"expected a batch of at most {MAX_BATCH} images, got {candidate.batch}")
        self._confidence = confidence
        self._size = candidate.size
        self._images = _pictures(self._size, candidate.batch)
        self._frames = _pictures(frame or self._size, cameras or candidate.batch)
        self._segmenter = Segmenter(
            network.model,
            network.metadata,
            device=device,
            precision=candidate.precision,
            backend=candidate.backend,
            input_size=self._size,
            threads=threads,
        )
        try:
            for frames in {candidate.batch, len(self._frames)}:
                self._segmenter.warm_up(self._frames[0].shape[:2], frames=frames)
        except BaseException:
            self._segmenter.close()
            raise

    def turn(self) -> dict[str, float]:
        # Run once unmeasured: the previous subject has filled the caches, and its threads may still be spinning.
        self._segmenter.logits(self._images, self._size)
        cpu = time.process_time()
        _, _, network_ms = self._segmenter.logits(self._images, self._size)
        cpu_ms = 1e3 * (time.process_time() - cpu)
        return {"network": network_ms, "cpu": cpu_ms, **self._segment()}

    def _segment(self) -> dict[str, float]:
        started = time.perf_counter()
        results = self._segmenter.segment(self._frames, confidence=self._confidence)
        spent = {"segment": 1e3 * (time.perf_counter() - started)}
        for stage in ("preprocess", "inference", "postprocess"):
            # Each frame reports its share of the batch's time.
            spent[stage] = sum(getattr(result.timings, f"{stage}_ms") for result in results)
        return spent

    def describe(self) -> dict[str, str]:
        return self._segmenter.describe()

    def close(self) -> None:
        self._segmenter.close()


class EagerSubject:
    """The unmodified network in PyTorch: ``model(image)`` in fp32, NCHW, with logits of the full size.

    The image is normalised and on the device before the timing starts.

    Args:
        network: the network to run.
        candidate: size and number of images.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: maximum number of CPU threads; 0 leaves the choice to PyTorch.

    Raises:
        BackendError: the device is not available, or the precision is not fp32.
    """

    def __init__(self, network: Network, candidate: Candidate, *, device: str, threads: int):
        if candidate.precision not in ("auto", "fp32"):
            raise BackendError(f"backend {EAGER!r} is the baseline in fp32, got precision {candidate.precision!r}")
        self._device = choose_device(device)
        self._threads = threads
        # .to() would move the caller's network.
        self._model: SegmentationNetwork | None = copy.deepcopy(network.model).eval()
        move(self._model, self._device, torch.contiguous_format)
        images = np.stack(_pictures(candidate.size, candidate.batch))
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (network.metadata.mean, network.metadata.std))
        image = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
        self._image = ((image - mean) / std).contiguous().to(self._device)
        self._run()

    @torch.inference_mode()
    def _run(self) -> torch.Tensor:
        limit_threads(self._threads)
        if self._model is None:
            raise BackendError(CLOSED)
        logits = self._model(self._image)
        synchronize(self._device)
        return logits

    def turn(self) -> dict[str, float]:
        self._run()
        cpu, started = time.process_time(), time.perf_counter()
        self._run()
        return {"network": 1e3 * (time.perf_counter() - started), "cpu": 1e3 * (time.process_time() - cpu)}

    def describe(self) -> dict[str, str]:
        return {
            "backend": EAGER,
            "engine": f"PyTorch {torch.__version__}, NCHW",
            "device": str(self._device),
            "device_name": device_name(self._device),
            "precision": "fp32",
        }

    def close(self) -> None:
        self._model = self._image = None


def start(network: Network, candidate: Candidate, *, device: str, threads: int, **whole: Any) -> Subject:
    """Load and warm up the candidate. Arguments and errors as ``EngineSubject``."""
    if candidate.backend == EAGER:
        return EagerSubject(network, candidate, device=device, threads=threads)
    return EngineSubject(network, candidate, device=device, threads=threads, **whole)


def _pictures(size: tuple[int, int], count: int) -> list[np.ndarray]:
    return [make_picture(size, seed) for seed in range(count)]
