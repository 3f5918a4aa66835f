"""The fastest engine that is installed here and says what PyTorch says."""

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import shutil
import statistics
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.files import write_text
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.cache import cache_directory
from lsabinet_core.inference.deploy import FORM
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.parity import compare, make_picture
from lsabinet_core.inference.threads import limit_threads

from .common import CLOSED, PRECISIONS, ShapedBackend, choose_device, choose_precision, device_name

log = logging.getLogger(__name__)

# Engines by kind of device, the one that is fastest on most machines first; PyTorch last, as it always works.
CANDIDATES = {
    "cpu": ("openvino", "onnxruntime", "torch"),
    "cuda": ("tensorrt", "cuda-graph", "onnxruntime", "torch"),
}
# The package without which an engine is not there at all.
PACKAGES = {"openvino": "openvino", "onnxruntime": "onnxruntime", "tensorrt": "tensorrt"}

# Largest error of a logit, as a share of the logits' range, that rounding explains. Shares of pixels would not do here:
# on a picture that is no street, many pixels lie between two classes.
TOLERANCE = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.1}
WARM_UP_RUNS = 2
ROUNDS = 5


@dataclass(frozen=True)
class Choice:
    """An engine and why it was taken; ``milliseconds`` per image of every engine that was tried."""

    backend: str
    reason: str
    milliseconds: dict[str, float]


class AutoBackend:
    """Chooses an engine when a network is loaded, and runs it.

    The engines are compared at the network's own size: each must agree with PyTorch in fp32, and the fastest is taken.
    An engine whose build would take long is considered only if it was built before (``lsabinet export``). The choice is
    kept on disk for the same weights, size, precision, threads, machine and versions. An engine that fails, then or
    later, is left for the next one, with a warning.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp32 on the CPU, fp16 on a GPU), ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        threads: most CPU threads; 0 leaves the engines' choice.

    Raises:
        BackendError: an unknown device or precision, or no engine that offers them here.
    """

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device, "auto", PRECISIONS)
        self._threads = threads
        self._source: Network | None = None
        self._backend = None
        self._failed: set[str] = set()
        self.choice: Choice | None = None

    @property
    def name(self) -> str:
        return "auto" if self._backend is None else self._backend.name

    def load(self, source: Network | Artefact) -> None:
        if isinstance(source, Artefact):
            raise BackendError(f"backend 'auto' chooses for weights files, not for exports such as {source.path}")
        self.close()
        self._source = source
        if (choice := self._remembered()) is not None:
            try:
                self._backend = self._start(choice.backend)
                self.choice = choice
                log.info("backend auto: %s, as remembered: %s", choice.backend, choice.reason)
                return
            except Exception as error:
                self._give_up(choice.backend, error)
        self._decide()

    def _start(self, name: str):
        from . import create_backend

        backend = create_backend(name, device=str(self.device), precision=self.precision, threads=self._threads)
        try:
            backend.load(self._source)
            backend.prepare(self._source.size)
        except BaseException:
            backend.close()
            raise
        return backend

    def _give_up(self, name: str, error: Exception) -> None:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        log.warning("backend auto: %s does not work here (%s): the next engine is tried", name, reason[0])
        self._failed.add(name)
        self._choice_file().unlink(missing_ok=True)

    def _decide(self) -> None:
        """Compare all engines that are here, take the fastest and remember it."""
        started, notes = self._start_candidates()
        if not started:
            said = "; ".join(f"{name}: {note}" for name, note in notes.items())
            raise BackendError(f"backend 'auto' finds no engine for {self.precision} on {self.device} ({said})")
        milliseconds = {}
        if len(started) > 1:
            milliseconds = self._measure(started)
            milliseconds = {name: milliseconds[name] for name in sorted(milliseconds, key=milliseconds.get)}
        best = next(iter(milliseconds or started))
        for name, backend in started.items():
            if name != best:
                backend.close()
        height, width = self._source.size
        figures = [f"{name} {figure:.1f} ms" for name, figure in milliseconds.items()]
        figures += [f"{name}: {note}" for name, note in notes.items()]
        reason = f"at {height}x{width} in {self.precision}: {', '.join(figures) or 'the only engine'}"
        self._backend = started[best]
        self.choice = Choice(best, reason, {name: round(figure, 2) for name, figure in milliseconds.items()})
        self._remember()
        log.info("backend auto: %s, %s", best, reason)

    def _start_candidates(self) -> tuple[dict, dict[str, str]]:
        """The engines that work here, started; and of the others why not."""
        from . import create_backend

        limit_threads(self._threads)
        started, notes = {}, {}
        reference = create_backend("torch", device=str(self.device), precision="fp32")
        reference.load(self._source)
        for name in CANDIDATES[self.device.type]:
            if name in self._failed:
                notes[name] = "failed"
                continue
            if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
                notes[name] = "not installed"
                continue
            try:
                backend = create_backend(name, device=str(self.device), precision=self.precision, threads=self._threads)
            except BackendError as error:
                # Installed, but not for this device or precision.
                notes[name] = str(error)
                continue
            try:
                if self._is_usable(backend, reference):
                    started[name] = backend
                else:
                    notes[name] = "not built yet, see `lsabinet export`"
            except Exception as error:
                notes[name] = "failed"
                self._give_up(name, error)
            finally:
                if name not in started:
                    backend.close()
        reference.close()
        return started, notes

    def _is_usable(self, backend, reference) -> bool:
        """Build the engine, unless that takes long, and raise BackendError where its answers are wrong."""
        backend.load(self._source)
        if isinstance(backend, ShapedBackend) and not backend.builds_quickly(self._source.size):
            return False
        backend.prepare(self._source.size)
        if self.precision in TOLERANCE:
            parity = compare(reference.infer, backend.infer, [make_picture(self._source.size)])
            if not parity.relative_error <= TOLERANCE[self.precision]:
                raise BackendError(
                    f"its logits differ from PyTorch's by up to {parity.max_error:.3g}, in a range of "
                    f"{parity.logit_range:.3g}"
                )
        return True

    def _measure(self, backends: dict) -> dict[str, float]:
        """Median milliseconds per image, in turns, so that a busy moment hits all alike."""
        images = make_picture(self._source.size)[None]
        spent: dict[str, list[float]] = {name: [] for name in backends}
        for turn in range(WARM_UP_RUNS + ROUNDS):
            for name, backend in backends.items():
                backend.synchronize()
                start = time.perf_counter()
                backend.infer(images)
                backend.synchronize()
                if turn >= WARM_UP_RUNS:
                    spent[name].append(1e3 * (time.perf_counter() - start))
        return {name: statistics.median(figures) for name, figures in spent.items()}

    def prepare(self, size: tuple[int, int], batch: int = 1) -> None:
        self._with_next_on_failure(lambda backend: backend.prepare(size, batch))

    def infer(self, images: np.ndarray) -> torch.Tensor:
        return self._with_next_on_failure(lambda backend: backend.infer(images))

    def _with_next_on_failure(self, use):
        if self._backend is None:
            raise BackendError(CLOSED)
        while True:
            try:
                return use(self._backend)
            except Exception as error:
                failed = self._backend.name
                remaining = [name for name in CANDIDATES[self.device.type] if name not in self._failed | {failed}]
                if not remaining:
                    raise
                self._give_up(failed, error)
                self._backend.close()
                self._take_next(remaining, error)

    def _take_next(self, names: list[str], cause: Exception) -> None:
        """The first engine that starts, without comparing: frames are waiting."""
        measured = self.choice.milliseconds if self.choice else {}
        for name in sorted(names, key=lambda name: measured.get(name, float("inf"))):
            if name in PACKAGES and name not in measured:
                continue
            try:
                self._backend = self._start(name)
                self.choice = Choice(name, "the engine before it failed", measured)
                log.warning("backend auto: %s runs from now on", name)
                return
            except Exception as error:
                self._give_up(name, error)
        raise BackendError(f"backend 'auto': no engine is left ({cause})") from cause

    # What was decided is kept in a small file per question.

    def _question(self) -> dict:
        versions = {"form": FORM, "torch": torch.__version__}
        for package in ("openvino", "onnxruntime", "onnxruntime-gpu", "tensorrt"):
            try:
                versions[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                continue
        return {
            "weights": self._source.fingerprint,
            "size": list(self._source.size),
            "precision": self.precision,
            "threads": self._threads,
            "device": f"{self.device} {device_name(self.device)}",
            "versions": versions,
        }

    def _choice_file(self):
        digest = hashlib.sha256(json.dumps(self._question(), sort_keys=True).encode()).hexdigest()
        return _choices_directory() / f"{digest[:24]}.json"

    def _remember(self) -> None:
        document = {"question": self._question(), "choice": asdict(self.choice)}
        try:
            write_text(self._choice_file(), json.dumps(document, indent=1) + "\n")
        except OSError as error:
            log.warning("the choice of an engine cannot be remembered (%s): the next start compares again", error)

    def _remembered(self) -> Choice | None:
        path = self._choice_file()
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            choice = Choice(**document["choice"])
            known = choice.backend in CANDIDATES[self.device.type] and document["question"] == self._question()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the remembered choice of an engine %s is damaged (%s): they are compared again", path, error)
            return None
        return choice if known else None

    def synchronize(self) -> None:
        if self._backend is not None:
            self._backend.synchronize()

    def describe(self) -> dict[str, str]:
        if self._backend is None:
            raise BackendError(CLOSED)
        return {**self._backend.describe(), "chosen": f"auto: {self.choice.reason}"}

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()
        self._backend = None
        self._source = None


def _choices_directory():
    return cache_directory() / "choices"


def forget_choices() -> None:
    """Let every choice be made anew, because an engine was built that was not there before."""
    shutil.rmtree(_choices_directory(), ignore_errors=True)
