"""Base classes of engines that are built for each input shape."""

import copy
import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.deploy import DeployedNetwork
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.threads import limit_threads

from .base import CLOSED, Backend, in_parts
from .builder import Builder
from .choose import DTYPES, choose_precision
from .engines import ENGINES
from .shapes import Run, Shape, Size, shape_of
from .torch_ import TorchBackend, deploy

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 0.5
"""How long ``close`` waits for a running build; less than the node allows for a transition."""


class ShapedBackend(Backend):
    """Base of engines that are built for one input shape, (N, H, W), at a time.

    A subclass defines ``name`` and ``_build``. If a build takes long, it also sets ``slow``: ``_fallback`` then runs
    unprepared shapes, except for the first one, so that no frame waits for the build. After ``prepare_later``, PyTorch
    runs a shape until it has been built in the background.

    Args:
        device: device of the engine.
        precision: precision as given by the user.
        threads: maximum number of CPU threads; 0 leaves the choice to the engine.
        offered: precisions that the engine supports on this device.

    Raises:
        BackendError: the precision is unknown or not supported.
    """

    slow = False

    def __init__(self, device: torch.device, precision: str, threads: int, offered: Sequence[str]):
        super().__init__(device, choose_precision(precision, device, self.name, offered))
        self.threads = threads
        self._requested_precision = precision
        self.source: Network | Artefact | None = None
        self._builder = Builder()
        self._plain: TorchBackend | None = None

    @property
    def loaded(self) -> Network | Artefact:
        """The loaded network or exported model. Raises BackendError: the engine is closed."""
        if self.source is None:
            raise BackendError(CLOSED)
        return self.source

    @property
    def loaded_network(self) -> Network:
        """The loaded network in memory. Raises BackendError: the engine is closed, or runs an exported model."""
        return _in_memory(self.name, self.loaded)

    @abstractmethod
    def _build(self, shape: Shape) -> Run:
        """Build the engine for images of that shape. Background builds call this on a shallow copy, so that ``load``
        and ``close`` can be called meanwhile: it must not assign attributes that others read."""

    def _fallback(self, shape: Shape) -> Run:
        """A faster build that runs images of that shape in place of a slow one."""
        return self._build(shape)

    def load(self, source: Network | Artefact) -> None:
        if isinstance(source, Artefact):
            self._check_artefact(source)
            self.precision = source.info.precision
        self.close()
        self.source = source

    def builds_quickly(self, size: Size) -> bool:
        return not self.slow

    def is_built(self, shape: Shape) -> bool:
        return self.shapes.is_built(shape) or self.builds_quickly(shape[1:])

    def holds(self, shape: Shape) -> bool:
        built = self._built_shape(shape)
        return self.shapes.is_built(built) or self.shapes.is_building(built)

    def batch_for(self, shape: Shape) -> int:
        if isinstance(self.source, Artefact) and self.source.info.batch is not None:
            return self.source.info.batch
        return super().batch_for(shape)

    def check_size(self, size: Size) -> None:
        if isinstance(self.source, Artefact) and (exported := self.source.info.size) not in (None, (size[0], size[1])):
            height, width = exported
            raise BackendError(
                f"{self.source.path.name} was exported for {height}x{width}, got {size[0]}x{size[1]}: export it "
                "with that --size"
            )

    def prepare(self, size: Size, batch: int = 1) -> None:
        shape = self._built_shape((batch, *size))
        if self.shapes.is_building(shape):
            self._keep_built(shape)
        self._run_for(shape)

    def prepare_later(self, size: Size, batch: int = 1) -> None:
        shape = self._built_shape((batch, *size))
        if isinstance(self.source, Artefact) or self.is_built(shape):
            self.prepare(size, batch)
        elif not self.shapes.is_building(shape):
            log.info("building backend %s for %d x %dx%d in the background; PyTorch runs until then", self.name, *shape)
            # A copy, because close() and load() modify this object, and a build cannot be interrupted.
            owner = copy.copy(self)
            self.shapes.start_build(shape, self._builder.submit(lambda: owner._build_in_background(shape)))

    def _build_in_background(self, shape: Shape) -> Run:
        limit_threads(self.threads)
        return self.build(shape)

    def _keep_built(self, shape: Shape) -> None:
        """Wait for a background build and keep its result."""
        self.shapes.keep(shape, self.shapes.end_build(shape))
        log.info("backend %s runs %d x %dx%d from now on", self.name, *shape)

    def infer(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        return in_parts(images, self.batch_for(shape_of(images)), self._infer, filled=True)

    def _infer(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        shape = shape_of(images)
        if (build := self.shapes.build(shape)) is not None:
            if not build.done():
                return self.infer_plain(images)
            self._keep_built(shape)
        if self.slow and self.shapes.built and not self.shapes.is_built(shape):
            log.warning(
                "backend %s is not built for %d x %dx%d: a slower engine runs it; call warm_up with that size first",
                self.name, *shape
            )  # fmt: skip
            self.shapes.keep(shape, self._fallback(shape))
        return self._run_for(shape).infer(images)

    def _run_for(self, shape: Shape) -> Run:
        if self.source is None:
            raise BackendError(CLOSED)
        if (run := self.shapes.run(shape)) is None:
            run = self.build(shape)
            self.shapes.keep(shape, run)
        return run

    def build(self, shape: Shape) -> Run:
        """Build without keeping the result. Another thread may run images of other shapes meanwhile."""
        self.check_size(shape[1:])
        return self._build(shape)

    def _built_shape(self, shape: Shape) -> Shape:
        return (self.batch_for(shape), *shape[1:])

    @property
    def ran_plain(self) -> bool:
        return self._plain is not None

    def infer_plain(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        if self._plain is None:
            has_precision = self.precision in ("fp32", "bf16") or (self.device.type, self.precision) == ("cuda", "fp16")
            plain = TorchBackend(str(self.device), self.precision if has_precision else "fp32", search=False)
            plain.load(self.loaded)
            self._plain = plain
        return in_parts(images, self.shapes.limit(shape_of(images)), self._plain.infer)

    def network_alone(self, shape: Shape) -> Callable[[], object] | None:
        run = self.shapes.run(shape)
        return None if run is None else run.network_alone

    def _check_artefact(self, artefact: Artefact) -> None:
        if not ENGINES[self.name].reads(artefact.format):
            raise BackendError(f"backend {self.name!r} does not run {artefact.format} files such as {artefact.path}")
        if self._requested_precision not in ("auto", artefact.info.precision):
            raise BackendError(
                f"{artefact.path.name} was exported in {artefact.info.precision}, got precision "
                f"{self._requested_precision!r}: leave it at auto, or export again"
            )

    def close(self) -> None:
        """Free the network; a build still running after ``CLOSE_TIMEOUT_S`` frees its own result when it ends."""
        self.shapes.clear()
        self.source = None
        self._plain = None
        if not self._builder.close(CLOSE_TIMEOUT_S):
            log.info("backend %s closed while an engine is being built; the build's memory is freed later", self.name)


class DeployedBackend(ShapedBackend):
    """Base of engines that are made from the deployed network as a PyTorch module: ``deployed``."""

    network: DeployedNetwork | None = None

    def load(self, source: Network | Artefact) -> None:
        super().load(source)
        self.network = deploy(_in_memory(self.name, source), self.device, DTYPES[self.precision])

    @property
    def deployed(self) -> DeployedNetwork:
        """The deployed network. Raises BackendError: the engine is closed."""
        if self.network is None:
            raise BackendError(CLOSED)
        return self.network

    def close(self) -> None:
        super().close()
        self.network = None


def _in_memory(name: str, source: Network | Artefact) -> Network:
    if isinstance(source, Artefact):
        raise BackendError(f"backend {name!r} runs weights files, not exports such as {source.path}")
    return source


def output_of(source: Network | Artefact) -> tuple[str, torch.dtype]:
    """Name and dtype of the engine's output: an exported model may output masks instead of logits."""
    name = source.info.output if isinstance(source, Artefact) else "logits"
    return name, torch.float32 if name == "logits" else torch.uint8
