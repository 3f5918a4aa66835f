"""What engines share: choosing device and precision, and one engine per shape of input."""

import contextlib
import logging
import platform
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.deploy import DeployedNetwork
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.threads import limit_threads

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PRECISIONS = (*DTYPES, "int8")
CLOSED = "expected a loaded network, got none: the backend is closed"

MOST_SHAPES = 16
"""Most shapes of input that stay built at a time, enough for one to eight images of two sizes; the one used longest ago
goes first."""

Run = Callable[[np.ndarray | torch.Tensor], torch.Tensor]
"""uint8 (N, H, W, 3), BGR, of one shape to logits (N, C, h, w)."""


class NotExportedError(BackendError):
    """``lsabinet export`` has to make the engine for that size first."""


def _fill_up(images: np.ndarray | torch.Tensor, count: int) -> np.ndarray | torch.Tensor:
    """As many images as ``count``, the last one repeated."""
    indices = np.minimum(np.arange(count), len(images) - 1)
    return images if len(images) == count else images[indices]


def choose_device(name: str) -> torch.device:
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N`` as a device. Raises BackendError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and (kind == "cpu" or not index.isdecimal())):
        raise BackendError(f"expected device to be auto, cpu, cuda or cuda:N, got {name!r}")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise BackendError(f"device {name!r}: PyTorch finds no CUDA GPU here; use device cpu or auto")
        if index and int(index) >= torch.cuda.device_count():
            raise BackendError(f"device {name!r}: expected an index below {torch.cuda.device_count()}, the GPUs here")
    return torch.device(name)


def choose_cpu(name: str, engine: str) -> torch.device:
    """The device of an engine that runs on the CPU only. Raises BackendError."""
    if name not in ("auto", "cpu"):
        choose_device(name)
        raise BackendError(f"backend {engine!r} runs on the CPU: expected device auto or cpu, got {name!r}")
    return torch.device("cpu")


def choose_cuda(name: str, engine: str) -> torch.device:
    """The device of an engine that runs on CUDA GPUs only. Raises BackendError."""
    device = choose_device(name)
    if device.type != "cuda":
        raise BackendError(f"backend {engine!r} needs a CUDA GPU, which PyTorch does not find here; use backend torch")
    return device


def choose_precision(name: str, device: torch.device, engine: str, offered: Sequence[str]) -> str:
    """``auto`` (fp32 on the CPU, fp16 on a GPU) or one of ``offered``. Raises BackendError."""
    if name == "auto":
        return "fp32" if device.type == "cpu" else "fp16"
    if name not in PRECISIONS:
        raise BackendError(f"expected precision to be auto, {', '.join(PRECISIONS)}, got {name!r}")
    if name not in offered:
        where = "the CPU" if device.type == "cpu" else "a GPU"
        raise BackendError(
            f"expected precision to be auto, {', '.join(offered)} for backend {engine!r} on {where}, got {name!r}"
        )
    return name


def device_name(device: torch.device) -> str:
    """The model of a GPU, or of this machine's processor as far as the system tells."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _processor()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "CPU"


class ShapedBackend(ABC):
    """Base of engines that are built for one shape of input, (N, H, W), at a time.

    A subclass sets ``name`` and gives ``_build``; where that takes long it sets ``slow``, and shapes that come without
    ``prepare`` after the first are run by ``_fallback`` instead of stopping the frames. After ``prepare_later`` PyTorch
    runs a shape until a thread has built it.
    """

    name: str
    slow = False
    builds_itself = True
    """Whether ``prepare`` builds what is not there yet, instead of ``lsabinet export``."""

    def __init__(self, device: torch.device, precision: str, threads: int, offered: Sequence[str]):
        self.device = device
        self.precision = choose_precision(precision, device, self.name, offered)
        self.threads = threads
        self._asked_precision = precision
        self.source: Network | Artefact | None = None
        self._runs: OrderedDict[tuple[int, int, int], Run] = OrderedDict()
        self._builder: ThreadPoolExecutor | None = None
        self._building: dict[tuple[int, int, int], Future[Run]] = {}
        self._plain = None

    def load(self, source: Network | Artefact) -> None:
        if isinstance(source, Artefact):
            self._check_artefact(source)
            self.precision = source.info.precision
        self.close()
        self.source = source

    def builds_quickly(self, size: tuple[int, int]) -> bool:
        """Whether ``prepare`` takes seconds at most, because the engine is like that or was built before."""
        return not self.slow

    def is_built(self, shape: tuple[int, int, int]) -> bool:
        """Whether images of that shape, (N, H, W), need not wait for more than what a frame may wait for."""
        return shape in self._runs or self.builds_quickly(shape[1:])

    def holds(self, shape: tuple[int, int, int]) -> bool:
        """Whether images of that shape, (N, H, W), were prepared, be it in a thread that has not finished."""
        built = self._built_shape(shape)
        return built in self._runs or built in self._building

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise BackendError, which says what to do, where nothing can be built for images of that (H, W)."""
        if isinstance(self.source, Artefact) and tuple(size) != self.source.info.size:
            height, width = self.source.info.size
            raise BackendError(
                f"{self.source.path.name} was exported for {height}x{width}, got {size[0]}x{size[1]}: export it again "
                "with that --size"
            )

    def exported_sizes(self) -> list[tuple[int, int]]:
        """Every (H, W) that can run because ``lsabinet export`` was there before; empty where that is not needed."""
        return []

    def prepare(self, size: tuple[int, int], batch: int = 1) -> None:
        shape = self._built_shape((batch, *size))
        if shape in self._building:
            self._keep_built(shape)
        self._run_for(shape)

    def prepare_later(self, size: tuple[int, int], batch: int = 1) -> None:
        """As ``prepare``, in a thread where it takes long: PyTorch runs images of that shape meanwhile."""
        shape = self._built_shape((batch, *size))
        if isinstance(self.source, Artefact) or self.is_built(shape):
            self.prepare(size, batch)
        elif shape not in self._building:
            if self._builder is None:
                # One after the other: frames want the cores, too.
                self._builder = ThreadPoolExecutor(1, "engine_builder")
            log.info("backend %s is being built for %d x %dx%d, PyTorch runs until then", self.name, *shape)
            self._building[shape] = self._builder.submit(self._build_beside, shape)

    def _build_beside(self, shape: tuple[int, int, int]) -> Run:
        limit_threads(self.threads)
        return self.build(shape)

    def _keep_built(self, shape: tuple[int, int, int]) -> None:
        """Take over what the thread makes, waiting for it."""
        self.keep(shape, self._building.pop(shape).result())
        log.info("backend %s runs %d x %dx%d from now on", self.name, *shape)

    def infer(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        count = images.shape[0]
        batch = self._built_batch(images.shape[:3])
        if batch == count:
            return self._infer(images)
        # A fixed number of images at a time: the last ones are filled up.
        parts = []
        for start in range(0, count, batch):
            part = images[start : start + batch]
            parts.append(self._infer(_fill_up(part, batch))[: len(part)].clone())
        return torch.cat(parts)

    def network_alone(self, shape: tuple[int, int, int]) -> Callable[[], object] | None:
        """Queues the network once more on the images of that shape that are on the GPU already, to be timed without
        their upload; None where the engine has no such call."""
        return getattr(self._runs.get(shape), "network_alone", None)

    def _infer(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        shape = images.shape[:3]
        if (building := self._building.get(shape)) is not None:
            if not building.done():
                return self.infer_plain(images)
            self._keep_built(shape)
        if self.slow and self._runs and shape not in self._runs:
            log.warning(
                "backend %s is not built for %d x %dx%d: a slower engine runs it; call warm_up with that size first",
                self.name, *shape
            )  # fmt: skip
            self.keep(shape, self._fallback(shape))
        return self._run_for(shape)(images)

    @property
    def ran_plain(self) -> bool:
        """Whether PyTorch has run images since ``load``."""
        return self._plain is not None

    def infer_plain(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """As ``infer``, by PyTorch; in fp32 where that has no such precision on the device."""
        if self._plain is None:
            from .torch_ import TorchBackend

            if self.source is None:
                raise BackendError(CLOSED)
            has_precision = self.precision in ("fp32", "bf16") or (self.device.type, self.precision) == ("cuda", "fp16")
            plain = TorchBackend(str(self.device), self.precision if has_precision else "fp32", search=False)
            plain.load(self.source)
            self._plain = plain
        return self._plain.infer(images)

    def _run_for(self, shape: tuple[int, int, int]) -> Run:
        if self.source is None:
            raise BackendError(CLOSED)
        if shape not in self._runs:
            self.keep(shape, self.build(shape))
        self._runs.move_to_end(shape)
        return self._runs[shape]

    def build(self, shape: tuple[int, int, int]) -> Run:
        """What runs images of that shape, not kept yet; another thread may run images of other shapes meanwhile."""
        self.check_size(shape[1:])
        return self._build(shape)

    def keep(self, shape: tuple[int, int, int], run: Run) -> None:
        self._runs[shape] = run
        while len(self._runs) > MOST_SHAPES:
            self._runs.popitem(last=False)

    @abstractmethod
    def _build(self, shape: tuple[int, int, int]) -> Run:
        """Make what runs images of that shape."""

    def _fallback(self, shape: tuple[int, int, int]) -> Run:
        return self._build(shape)

    def _built_batch(self, shape: tuple[int, int, int]) -> int:
        """How many images go through together where (N, H, W) are asked for."""
        if isinstance(self.source, Artefact) and self.source.info.batch is not None:
            return self.source.info.batch
        return shape[0]

    def _built_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return (self._built_batch(shape), *shape[1:])

    def _check_artefact(self, artefact: Artefact) -> None:
        from . import ENGINES_OF_FORMAT

        if self.name not in ENGINES_OF_FORMAT[artefact.format]:
            raise BackendError(f"backend {self.name!r} does not run {artefact.format} exports such as {artefact.path}")
        if self._asked_precision not in ("auto", artefact.info.precision):
            raise BackendError(
                f"{artefact.path.name} was exported in {artefact.info.precision}, got precision "
                f"{self._asked_precision!r}: leave it at auto, or export again"
            )

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def describe(self) -> dict[str, str]:
        return {
            "backend": self.name,
            "engine": self._engine(),
            "device": str(self.device),
            "device_name": device_name(self.device),
            "precision": self.precision,
        }

    def _engine(self) -> str:
        return f"PyTorch {torch.__version__}"

    def close(self) -> None:
        if self._builder is not None:
            # What is being built cannot be interrupted, and needs the network until then.
            self._builder.shutdown(cancel_futures=True)
            self._builder = None
        self._building.clear()
        self._plain = None
        self.source = None
        self._runs.clear()


class DeployedBackend(ShapedBackend):
    """Base of engines that are made from the deployed network as a PyTorch module, ``network`` while loaded."""

    network: DeployedNetwork | None = None

    def load(self, source: Network | Artefact) -> None:
        super().load(source)
        self.network = deploy(source, self.device, DTYPES[self.precision])

    def close(self) -> None:
        super().close()
        self.network = None


def output_of(source: Network | Artefact) -> tuple[str, torch.dtype]:
    """Name and type of what an engine gives: an export may have been made to give masks."""
    name = source.info.output if isinstance(source, Artefact) else "logits"
    return name, torch.float32 if name == "logits" else torch.uint8


class _CudnnFlags:
    """cuDNN's flags belong to the process, and frames and builders have threads of their own: the first to come notes
    what was set, the last to go puts it back."""

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = self._searching = 0
        self._before = (False, True)

    @contextlib.contextmanager
    def plain_float32(self, *, search: bool = True) -> Iterator[None]:
        """A context in which fp32 on a GPU is fp32, not TF32 as by default.

        Args:
            search: whether cuDNN looks for its fastest kernels, which takes up to seconds for new shapes.
        """
        cudnn = torch.backends.cudnn
        with self._lock:
            if not self._inside:
                self._before = (cudnn.benchmark, cudnn.allow_tf32)
            self._inside += 1
            self._searching += search
            # A builder's wish outlasts the frames that come and go beside it: what it captures stays.
            cudnn.benchmark, cudnn.allow_tf32 = self._searching > 0, False
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                self._searching -= search
                if self._inside:
                    cudnn.benchmark = self._searching > 0
                else:
                    cudnn.benchmark, cudnn.allow_tf32 = self._before


plain_float32 = _CudnnFlags().plain_float32


def deploy(source: Network, device: torch.device, dtype: torch.dtype) -> DeployedNetwork:
    """The deployed network on a device, in evaluation mode and channels-last layout."""
    network = DeployedNetwork(source.model, source.metadata, dtype=dtype).eval()
    return network.to(device=device, memory_format=torch.channels_last)
