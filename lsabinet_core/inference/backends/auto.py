"""The fastest installed engine whose logits agree with PyTorch's."""

import contextlib
import logging
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.threads import limit_threads

from .base import CLOSED, Backend, NotExportedError
from .choices import Choice, ChoiceFile
from .choose import PRECISIONS, choose_device, choose_precision, computes_in_bf16
from .engines import ENGINES, PLAIN, candidates, export_command
from .memory import is_out_of_memory
from .shapes import Shape, Shapes, Size, shape_of
from .trial import Trial, first_line

log = logging.getLogger(__name__)

PATIENCE = 30
"""Number of calls with a new shape that PyTorch runs before the engine is built for it in the background."""

Result = TypeVar("Result")


class AutoBackend(Backend):
    """Chooses an engine when a network is loaded, and runs it.

    The engines are compared at the network's own size, or, if an engine was only exported for other sizes, at one of
    those. Each must agree with PyTorch in fp32, and the fastest is chosen. If the precision is ``auto`` and the
    processor has instructions for bf16, OpenVINO, or else PyTorch, is also tried in bf16, which is chosen if it is
    faster and its masks of street scenes agree with those of fp32. An engine whose build takes long is considered only
    if it was built before: by ``lsabinet export``, or by a warm-up with that engine named. The choice is kept on disk
    for the same weights, size, precision, threads, machine and versions, unless an engine failed for a reason that may
    be gone at the next start.

    If an engine fails, then or later, a warning is logged, and the next engine takes over that is already built and
    agrees with PyTorch. Running out of memory does not count as a failure of the engine: the images are run in smaller
    batches, or by PyTorch.

    No image waits for an engine to be built: PyTorch runs shapes that were not prepared. After ``PATIENCE`` calls, or
    after ``prepare_later``, the engine is built for them in the background.

    Attributes:
        compare: False lets ``load`` take PyTorch, if it offers the precision, instead of comparing the engines.
        undecided: whether ``load`` has done so, because there was no cached choice.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp16 on a GPU; on the CPU fp32, or bf16 as above), ``fp32``, ``fp16``, ``bf16`` or
            ``int8``.
        threads: maximum number of CPU threads; 0 leaves the engines' choice.

    Raises:
        BackendError: the device or precision is unknown, or no engine supports it here.
    """

    name = "auto"

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        chosen = choose_device(device)
        super().__init__(chosen, choose_precision(precision, chosen, "auto", PRECISIONS))
        # The precision in which the engines are compared; ``precision`` is that of the chosen engine.
        self._base = self.precision
        self._requested_precision = precision
        self._tries_bf16 = precision == "auto" and chosen.type == "cpu" and computes_in_bf16(chosen)
        self._threads = threads
        self._open_trial: Trial | None = None
        self._file: ChoiceFile | None = None
        self._backend: Backend | None = None
        self._failed: set[str] = set()
        self._unsure = False
        self._out_of_memory = 0
        self.choice: Choice | None = None
        self.compare = True
        self.undecided = False

    @property
    def shapes(self) -> Shapes:
        """The shape record of the chosen engine."""
        return self._chosen.shapes

    @property
    def _chosen(self) -> Backend:
        if self._backend is None:
            raise BackendError(CLOSED)
        return self._backend

    @property
    def _trial(self) -> Trial:
        if self._open_trial is None:
            raise BackendError(CLOSED)
        return self._open_trial

    def load(self, source: Network | Artefact) -> None:
        if isinstance(source, Artefact):
            raise BackendError(f"backend 'auto' runs weights files, not exported models such as {source.path}")
        self.close()
        self._open_trial = Trial(source, self.device, self._base, self._threads)
        known = candidates(self.device.type)
        notes = {name: "not installed" for name in known if not ENGINES[name].is_installed}
        present = [name for name in known if name not in notes]
        self._file = ChoiceFile(source, self.device, self._requested_precision, self._threads, known)
        if (choice := self._file.read()) is not None:
            try:
                # Not built yet: it may run at another size than the one it was compared at.
                self._take(self._trial.start(choice.backend, choice.precision), choice)
                log.info("backend auto: %s in %s, as remembered: %s", choice.backend, choice.precision, choice.reason)
                return
            except Exception as error:  # noqa: BLE001 - the next engine takes over
                self._give_up(choice.backend, error)
        if not self.compare:
            # PyTorch may lack the precision.
            with contextlib.suppress(BackendError):
                self._take(
                    self._trial.start(PLAIN), Choice(PLAIN, self._base, "the engines have not been compared yet", {})
                )
                self.undecided = True
                return
        self._decide(present, notes)

    def _take(self, backend: Backend, choice: Choice) -> None:
        if self._backend is not None:
            self._backend.close()
        self._backend, self.choice, self.precision = backend, choice, choice.precision
        self.name = backend.name

    def _give_up(self, name: str, error: Exception) -> None:
        if name not in self._failed:
            log.warning("backend auto: %s failed (%s); trying the next engine", name, first_line(error))
        self._failed.add(name)
        # Other errors than BackendError may be temporary: a full disk, for example, or lack of memory.
        self._unsure |= not isinstance(error, BackendError)
        if self._file is not None and not is_out_of_memory(error):
            self._file.forget()

    def _no_engine(self, notes: dict[str, str]) -> BackendError:
        reasons = "; ".join(f"{name}: {note}" for name, note in notes.items())
        return BackendError(f"backend 'auto' finds no engine for {self._base} on {self.device} ({reasons})")

    def _decide(self, present: list[str], notes: dict[str, str]) -> None:
        """Compare the installed engines, choose the fastest and cache the choice."""
        limit_threads(self._threads)
        notes |= {name: "failed" for name in present if name in self._failed}
        started, failures = self._trial.start_all([name for name in present if name not in notes], notes)
        for name, error in failures.items():
            self._give_up(name, error)
        if not started:
            raise self._no_engine(notes)
        if self._tries_bf16:
            started |= self._started_in_bf16(started, notes)
        milliseconds = self._trial.measure(started) if len(started) > 1 else {}
        milliseconds = {name: milliseconds[name] for name in sorted(milliseconds, key=milliseconds.__getitem__)}
        best = self._trial.fastest(milliseconds, started) if milliseconds else next(iter(started))
        for name, backend in started.items():
            if name != best:
                backend.close()
        height, width = self._trial.size
        chosen = started[best]
        figures = [f"{name} {figure:.1f} ms" for name, figure in milliseconds.items()] or ["the only engine"]
        figures += [f"{name}: {note}" for name, note in notes.items()]
        reason = f"at {height}x{width} in {chosen.precision}: {', '.join(figures)}"
        rounded = {name: round(figure, 2) for name, figure in milliseconds.items()}
        choice = Choice(chosen.name, chosen.precision, reason, rounded)
        self._take(chosen, choice)
        if self._file is not None and not self._unsure:
            self._file.write(choice)
        log.info("backend auto: %s, %s", chosen.name, reason)

    def _started_in_bf16(self, plain: dict[str, Backend], notes: dict[str, str]) -> dict[str, Backend]:
        started, failures = self._trial.start_bf16(plain, notes)
        for error in failures.values():
            self._unsure |= not isinstance(error, BackendError)
        return started

    # Inference.

    def builds_quickly(self, size: Size) -> bool:
        return self._chosen.builds_quickly(size)

    def is_built(self, shape: Shape) -> bool:
        return self._chosen.is_built(shape)

    def holds(self, shape: Shape) -> bool:
        return self._chosen.holds(shape)

    def batch_for(self, shape: Shape) -> int:
        return self._chosen.batch_for(shape)

    def exported_sizes(self) -> list[Size]:
        return self._chosen.exported_sizes()

    def check_size(self, size: Size) -> None:
        self._chosen.check_size(size)

    def infer_plain(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        return self._chosen.infer_plain(images)

    @property
    def ran_plain(self) -> bool:
        return self._chosen.ran_plain

    def network_alone(self, shape: Shape) -> Callable[[], object] | None:
        return self._chosen.network_alone(shape)

    def prepare(self, size: Size, batch: int = 1) -> None:
        """Like ``Backend.prepare``; PyTorch runs sizes that the engine does not support in fp32, fp16 or bf16.

        Raises:
            BackendError: no engine supports that size in int8, which needs calibration first.
        """
        self.check_size(size)
        shape = (batch, *size)
        try:
            self._with_next_on_failure(lambda backend: backend.prepare(size, batch), shape, lambda backend: None)
        except NotExportedError as error:
            if self.precision == "int8":
                raise
            self._stay_plain(size, error)

    def prepare_later(self, size: Size, batch: int = 1) -> None:
        """Like ``Backend.prepare_later``; PyTorch keeps running these images if no engine can be built for them."""
        if not self._stays_plain(size):
            shape = (batch, *size)
            self._with_next_on_failure(lambda backend: backend.prepare_later(size, batch), shape, lambda backend: None)

    def infer(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        shape = shape_of(images)
        try:
            return self._with_next_on_failure(
                lambda backend: self._infer(backend, images), shape, lambda backend: backend.infer_plain(images)
            )
        except NotExportedError as error:
            self._stay_plain(shape[1:], error)
            return self.infer_plain(images)

    def _infer(self, backend: Backend, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Run the engine, or PyTorch while the engine is not built for images of that shape."""
        shape = batch, height, width = shape_of(images)
        if backend.holds(shape) or not self._must_wait(backend, shape):
            return backend.infer(images)
        calls = backend.shapes.defer(shape)
        if self._stays_plain((height, width)) or calls <= PATIENCE:
            return backend.infer_plain(images)
        export = export_command(backend.name, self.precision, shape)
        if not backend.builds_itself:
            self._stay_plain((height, width), NotExportedError(f"{export} builds {backend.name} for it"))
            return backend.infer_plain(images)
        log.warning(
            "backend auto: no %s engine for %d x %dx%d, which keeps arriving; building one in the background. To build "
            "it in advance, %scall warm_up with that size",
            backend.name, *shape, "" if export is None else f"run {export} or ",
        )  # fmt: skip
        backend.prepare_later((height, width), batch)
        return backend.infer(images)

    def _must_wait(self, backend: Backend, shape: Shape) -> bool:
        # Searching the disk for the engine takes a moment, so it is done once per shape.
        built = (backend.batch_for(shape), *shape[1:])
        return backend.shapes.is_deferred(shape) or not backend.is_built(built)

    def _stays_plain(self, size: Size) -> bool:
        """Whether PyTorch always runs images of that size; logs the reason once."""
        if (stays := self.shapes.stays_plain(size)) is not None:
            return stays
        # Searching the disk for a calibrated model takes a moment as well.
        try:
            self.check_size(size)
        except BackendError as error:
            self._stay_plain(size, error)
            return True
        self.shapes.note_plain(size, False)
        return False

    def _stay_plain(self, size: Size, error: BackendError) -> None:
        precision = "fp32" if self.precision == "int8" else self.precision
        log.warning("backend auto: PyTorch runs frames of that size in %s: %s", precision, error)
        self.shapes.note_plain((size[0], size[1]), True)

    # Engine failures.

    def _with_next_on_failure(
        self, use: Callable[[Backend], Result], shape: Shape, without_engine: Callable[[Backend], Result]
    ) -> Result:
        """Call ``use`` with the engine, with the next one if it fails, in smaller batches of ``shape`` if memory is
        full, or ``without_engine`` if even single images do not fit into memory."""
        while True:
            backend = self._chosen
            try:
                return use(backend)
            except NotExportedError:
                # The engine does not support this size, but runs others.
                raise
            except Exception as error:
                if not is_out_of_memory(error):
                    if not self._go_on(error):
                        raise
                    continue
                smaller = self._need_less_memory(backend, shape, error)
                if not smaller and backend.name == PLAIN:
                    raise
            # Outside the except block, in which the error would keep the tensors of the failed call alive.
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if not smaller:
                return without_engine(backend)

    def _need_less_memory(self, backend: Backend, shape: Shape, error: Exception) -> bool:
        """Halve the engine's batch size for images of that shape; returns False if it already ran single images."""
        self._out_of_memory += 1
        batch = backend.batch_for(shape)
        backend.shapes.drop((batch, *shape[1:]))
        if batch > 1:
            backend.shapes.set_limit(shape, (batch + 1) // 2)
            then = f"images of that shape run in batches of {(batch + 1) // 2} from now on"
        else:
            backend.shapes.defer(shape, again=True)
            then = f"PyTorch runs the next {PATIENCE}"
        if self._out_of_memory == 1:
            log.warning(
                "backend auto: %s ran out of memory for %d x %dx%d (%s); %s. Further cases are only counted",
                backend.name, *shape, first_line(error), then,
            )  # fmt: skip
        return batch > 1

    def _go_on(self, cause: Exception) -> bool:
        """Take the next engine that is built and agrees with PyTorch, without timing it, because frames are waiting.

        Returns:
            False if there is none.
        """
        self._give_up(self.name, cause)
        measured = {} if self.choice is None else self.choice.milliseconds
        names = [
            name for name in candidates(self.device.type) if name not in self._failed and ENGINES[name].is_installed
        ]
        with contextlib.ExitStack() as closing:
            reference = None
            for name in sorted(names, key=lambda name: measured.get(name, float("inf"))):
                if ENGINES[name].distributions and name not in measured:
                    continue
                try:
                    if name == PLAIN and self._base == "fp32":
                        backend = self._trial.start(name)
                    else:
                        if reference is None:
                            reference = closing.enter_context(contextlib.closing(self._trial.start(PLAIN, "fp32")))
                        backend = self._trial.start_usable(name, reference)
                except Exception as error:  # noqa: BLE001 - the next engine takes over
                    self._give_up(name, error)
                    continue
                if backend is not None:
                    self._take(backend, Choice(name, self._base, "the engine before it failed", measured))
                    log.warning("backend auto: %s runs from now on", name)
                    return True
        return False

    def synchronize(self) -> None:
        if self._backend is not None:
            self._backend.synchronize()

    def describe(self) -> dict[str, str]:
        """Like ``Backend.describe``, plus ``chosen``, the reason of the choice."""
        description = self._chosen.describe()
        reason = "auto" if self.choice is None else f"auto: {self.choice.reason}"
        if self.ran_plain:
            reason += "; PyTorch for sizes that came without being prepared"
        if self._out_of_memory:
            reason += f"; out of memory {self._out_of_memory} times"
        return {**description, "chosen": reason}

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()
        self._backend = self._open_trial = None
        self.name = "auto"
