"""The fastest engine that is installed here and says what PyTorch says."""

import contextlib
import logging
import statistics
import time

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.parity import compare, make_picture
from lsabinet_core.inference.threads import limit_threads

from .candidates import CANDIDATES, PACKAGES, PLAIN, export_command, is_installed
from .choices import Choice, ChoiceFile
from .common import CLOSED, PRECISIONS, NotExportedError, ShapedBackend, choose_device, choose_precision

log = logging.getLogger(__name__)

# Root mean square error of the logits, as a share of their range, that rounding explains. Shares of pixels would not do
# here: on a picture that is no street, many pixels lie between two classes.
TOLERANCE = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.1, "int8": 0.1}

WARM_UP_RUNS = 1
ROUNDS = 5
MOST_SECONDS = 10.0
"""No further round is begun after so much measuring."""

PATIENCE = 30
"""So many times images of a shape go through PyTorch before the engine is built for it in the background."""


class AutoBackend:
    """Chooses an engine when a network is loaded, and runs it.

    The engines are compared at the network's own size, or at one that an engine was exported for where that engine was
    exported for others only: each must agree with PyTorch in fp32, and the fastest is taken.
    An engine whose build would take long is considered only if it was built before: by ``lsabinet export``, or by a
    warm-up with that engine named. The choice is kept on disk for the same weights, size, precision, threads, machine
    and versions, unless an engine failed for a reason that may have gone by the next start. An engine that fails, then
    or later, is left for the next one, with a warning.

    No image waits for an engine to be built: those of a shape that was not prepared go through PyTorch, and once they
    have come ``PATIENCE`` times, or after ``prepare_later``, the engine is built for them in a thread of its own.

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
        self._size: tuple[int, int] | None = None
        self._file: ChoiceFile | None = None
        self._backend = None
        self._plain: dict[tuple[int, int], bool] = {}
        self._seen: dict[tuple[int, int, int], int] = {}
        self._failed: set[str] = set()
        self._unsure = False
        self.choice: Choice | None = None

    @property
    def name(self) -> str:
        return "auto" if self._backend is None else self._backend.name

    def load(self, source: Network | Artefact) -> None:
        if isinstance(source, Artefact):
            raise BackendError(f"backend 'auto' chooses for weights files, not for exports such as {source.path}")
        self.close()
        self._source, self._size = source, source.size
        known = CANDIDATES[self.device.type]
        notes = {name: "not installed" for name in known if not is_installed(name)}
        present = [name for name in known if name not in notes]
        self._file = ChoiceFile(source, self.device, self.precision, self._threads, known)
        if (choice := self._file.read()) is not None:
            try:
                # What it was compared at need not be what it will run at: it is built when that is known.
                self._take(self._start(choice.backend), choice)
                log.info("backend auto: %s, as remembered: %s", choice.backend, choice.reason)
                return
            except Exception as error:
                self._give_up(choice.backend, error)
        self._decide(present, notes)

    def _take(self, backend, choice: Choice) -> None:
        if self._backend is not None:
            self._backend.close()
        self._backend, self.choice = backend, choice
        self._plain.clear()
        self._seen.clear()

    def _create(self, name: str, precision: str | None = None):
        from . import create_backend

        return create_backend(
            name, device=str(self.device), precision=precision or self.precision, threads=self._threads
        )

    def _start(self, name: str):
        backend = self._create(name)
        try:
            backend.load(self._source)
        except BaseException:
            backend.close()
            raise
        return backend

    def _start_at_once(self, name: str):
        """Started, and built unless that takes long."""
        backend = self._start(name)
        if not self._must_wait(backend, (1, *self._size)):
            try:
                backend.prepare(self._size)
            except BaseException:
                backend.close()
                raise
        return backend

    def _give_up(self, name: str, error: Exception) -> None:
        if name not in self._failed:
            log.warning("backend auto: %s does not work here (%s): the next engine is tried", name, _first_line(error))
        self._failed.add(name)
        # Anything else may be over at the next start: a full disk, say, or too little memory.
        self._unsure |= not isinstance(error, BackendError)
        if self._file is not None:
            self._file.forget()

    def _no_engine(self, notes: dict[str, str]) -> BackendError:
        said = "; ".join(f"{name}: {note}" for name, note in notes.items())
        return BackendError(f"backend 'auto' finds no engine for {self.precision} on {self.device} ({said})")

    # Comparing.

    def _decide(self, present: list[str], notes: dict[str, str]) -> None:
        """Compare the engines that are here, take the fastest and remember it."""
        limit_threads(self._threads)
        self._size = self._size_to_compare_at(present)
        started = self._start_all(present, notes)
        if not started:
            raise self._no_engine(notes)
        milliseconds = self._measure(started) if len(started) > 1 else {}
        milliseconds = {name: milliseconds[name] for name in sorted(milliseconds, key=milliseconds.get)}
        best = next(iter(milliseconds or started))
        for name, backend in started.items():
            if name != best:
                backend.close()
        height, width = self._size
        figures = [f"{name} {figure:.1f} ms" for name, figure in milliseconds.items()] or ["the only engine"]
        figures += [f"{name}: {note}" for name, note in notes.items()]
        reason = f"at {height}x{width} in {self.precision}: {', '.join(figures)}"
        rounded = {name: round(figure, 2) for name, figure in milliseconds.items()}
        self._take(started[best], Choice(best, reason, rounded))
        if not self._unsure:
            self._file.write(self.choice)
        log.info("backend auto: %s, %s", best, reason)

    def _size_to_compare_at(self, present: list[str]) -> tuple[int, int]:
        if not self._source.any_size:
            return self._source.size
        for name in present:
            if name != "tensorrt" and self.precision != "int8":
                # It builds what is not there.
                continue
            # What is wrong with an engine is said where it is tried.
            with contextlib.suppress(Exception):
                backend = self._start(name)
                exported = getattr(backend, "exported_sizes", list)()
                backend.close()
                if exported and self._source.size not in exported:
                    return exported[0]
        return self._source.size

    def _start_all(self, present: list[str], notes: dict[str, str]) -> dict:
        """The engines that work here, started; why the others do not goes into ``notes``."""
        reference = self._create(PLAIN, "fp32")
        reference.load(self._source)
        started = {}
        for name in present:
            if name in self._failed:
                notes[name] = "failed"
                continue
            if name == PLAIN and self.precision == "fp32":
                started[name] = reference
                continue
            try:
                backend = self._create(name)
            except BackendError as error:
                # Installed, but not for this device or precision.
                notes[name] = str(error)
                continue
            except Exception as error:
                notes[name] = f"failed, {_first_line(error)}"
                self._give_up(name, error)
                continue
            try:
                if self._is_usable(backend, reference):
                    started[name] = backend
                else:
                    by = f"a start with backend {name}"
                    if not backend.builds_itself:
                        by = export_command(name, self.precision, (1, *self._size))
                    notes[name] = f"not built yet, {by} builds it"
            except Exception as error:
                notes[name] = f"failed, {_first_line(error)}"
                self._give_up(name, error)
            finally:
                if name not in started:
                    backend.close()
        if started.get(PLAIN) is not reference:
            reference.close()
        return started

    def _is_usable(self, backend, reference) -> bool:
        """Build the engine, unless that takes long, and raise BackendError where its answers are wrong."""
        backend.load(self._source)
        if isinstance(backend, ShapedBackend) and not backend.builds_quickly(self._size):
            return False
        backend.prepare(self._size)
        parity = compare(reference.infer, backend.infer, [make_picture(self._size)])
        if not parity.relative_rms_error <= TOLERANCE[self.precision]:
            raise BackendError(
                f"its logits differ from PyTorch's by up to {parity.max_error:.3g}, in a range of "
                f"{parity.logit_range:.3g}"
            )
        return True

    def _measure(self, backends: dict) -> dict[str, float]:
        """Median milliseconds per image, in turns, so that a busy moment hits all alike."""
        images = make_picture(self._size)[None]
        spent: dict[str, list[float]] = {name: [] for name in backends}
        begun = time.perf_counter()
        for turn in range(WARM_UP_RUNS + ROUNDS):
            if turn > WARM_UP_RUNS and time.perf_counter() - begun > MOST_SECONDS:
                break
            for name, backend in backends.items():
                backend.synchronize()
                start = time.perf_counter()
                backend.infer(images)
                backend.synchronize()
                if turn >= WARM_UP_RUNS:
                    spent[name].append(1e3 * (time.perf_counter() - start))
        return {name: statistics.median(figures) for name, figures in spent.items()}

    # Running.

    def holds(self, shape: tuple[int, int, int]) -> bool:
        """Whether images of that shape, (N, H, W), were prepared, and their engine is still there."""
        return getattr(self._backend, "holds", lambda shape: True)(shape)

    def exported_sizes(self) -> list[tuple[int, int]]:
        """Every (H, W) that the engine was exported for, where it has to be."""
        return getattr(self._backend, "exported_sizes", list)()

    def prepare(self, size: tuple[int, int], batch: int = 1) -> None:
        """Build the engine for images of that (H, W).

        Raises:
            BackendError: there is none for that size in int8: it would have to be calibrated first.
        """
        getattr(self._backend, "check_size", lambda size: None)(size)
        try:
            self._with_next_on_failure(lambda backend: backend.prepare(size, batch))
        except NotExportedError as error:
            if self.precision == "int8":
                raise
            self._stay_plain(size, error)

    def infer(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        try:
            return self._with_next_on_failure(lambda backend: self._infer(backend, images))
        except NotExportedError as error:
            self._stay_plain(images.shape[1:3], error)
            return self._backend.infer_plain(images)

    def prepare_later(self, size: tuple[int, int], batch: int = 1) -> None:
        """As ``prepare``, in the background: images of that shape go through PyTorch meanwhile, or for good where no
        engine can be built for them."""
        if not self._stays_plain(size):
            self._with_next_on_failure(lambda backend: getattr(backend, "prepare_later", backend.prepare)(size, batch))

    def _infer(self, backend, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """By the engine, or by PyTorch while there is none for images of that shape."""
        shape = batch, height, width = images.shape[:3]
        if self.holds(shape) or not self._must_wait(backend, shape):
            return backend.infer(images)
        self._seen[shape] = self._seen.get(shape, 0) + 1
        if self._stays_plain((height, width)) or self._seen[shape] <= PATIENCE:
            return backend.infer_plain(images)
        export = export_command(backend.name, self.precision, shape)
        if not backend.builds_itself:
            self._stay_plain((height, width), NotExportedError(f"{export} builds {backend.name} for it"))
            return backend.infer_plain(images)
        log.warning(
            "backend auto: no %s for %d x %dx%d, which keep coming: it is built beside them; %sa warm-up at that size "
            "builds it beforehand",
            backend.name, *shape, "" if export is None else f"{export} or ",
        )  # fmt: skip
        backend.prepare_later((height, width), batch)
        return backend.infer(images)

    def _stays_plain(self, size: tuple[int, int]) -> bool:
        """Whether images of that (H, W) go through PyTorch for good; the first time a warning says why."""
        # Looking for what was calibrated takes a moment, too.
        if size not in self._plain:
            try:
                getattr(self._backend, "check_size", lambda size: None)(size)
            except BackendError as error:
                self._stay_plain(size, error)
        return self._plain.setdefault(size, False)

    def _stay_plain(self, size: tuple[int, int], error: BackendError) -> None:
        precision = "fp32" if self.precision == "int8" else self.precision
        log.warning("backend auto: PyTorch runs frames of that size in %s: %s", precision, error)
        self._plain[tuple(size)] = True

    def _must_wait(self, backend, shape: tuple[int, int, int]) -> bool:
        # Looking for it on disk takes a moment, so that it is done once.
        return isinstance(backend, ShapedBackend) and (shape in self._seen or not backend.is_built(shape))

    def _with_next_on_failure(self, use):
        if self._backend is None:
            raise BackendError(CLOSED)
        while True:
            try:
                return use(self._backend)
            except NotExportedError:
                # It runs other sizes.
                raise
            except Exception as error:
                if not self._go_on(error):
                    raise

    def _go_on(self, cause: Exception) -> bool:
        """Take the next engine that starts, without comparing: frames are waiting. False where there is none."""
        self._give_up(self._backend.name, cause)
        measured = self.choice.milliseconds
        names = [name for name in CANDIDATES[self.device.type] if name not in self._failed and is_installed(name)]
        for name in sorted(names, key=lambda name: measured.get(name, float("inf"))):
            if name in PACKAGES and name not in measured:
                continue
            try:
                self._take(self._start_at_once(name), Choice(name, "the engine before it failed", measured))
            except Exception as error:
                self._give_up(name, error)
                continue
            log.warning("backend auto: %s runs from now on", name)
            return True
        return False

    def synchronize(self) -> None:
        if self._backend is not None:
            self._backend.synchronize()

    def describe(self) -> dict[str, str]:
        if self._backend is None:
            raise BackendError(CLOSED)
        reason = f"auto: {self.choice.reason}"
        if getattr(self._backend, "ran_plain", False):
            reason += "; PyTorch for sizes that came without being prepared"
        return {**self._backend.describe(), "chosen": reason}

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()
        self._backend = self._source = None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
