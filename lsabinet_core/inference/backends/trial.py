"""The trial of the engines: start, comparison with PyTorch in fp32, and timing."""

import contextlib
import statistics
import time

import torch

from lsabinet_core.errors import BackendError, one_line
from lsabinet_core.inference import backends
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.parity import MIN_AGREEMENT, compare, make_picture

from .base import Backend
from .engines import PLAIN, export_command
from .shapes import Size

TOLERANCE = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.1, "int8": 0.1}
"""Maximum RMS error of the logits, relative to their range, attributable to rounding. Pixel agreement is unsuitable: on
a synthetic test image many pixels are almost ties between two classes."""

WARM_UP_RUNS = 1
ROUNDS = 5
MIN_GAIN = 1.1
"""How many times as fast as the fastest engine in fp32 another precision must be to take its place."""
STREETS = (0, 25, 50, 75)
"""Synthetic street scenes on which the masks of a precision that the user did not request must agree with those of
fp32. Pixel agreement is meaningful on them, because they have the areas and borders of a street."""
MAX_MEASURING_S = 10.0
"""No further round starts after this measuring time."""


class Trial:
    """Starts engines for one network, and finds out which ones work and how fast they are.

    Args:
        network: the network to run.
        device, precision, threads: as for ``create_backend``.

    Attributes:
        size: (H, W) at which the engines are compared; set by ``start_all``.
    """

    def __init__(self, network: Network, device: torch.device, precision: str, threads: int):
        self._network = network
        self._device = device
        self._precision = precision
        self._threads = threads
        self.size = network.size

    def start(self, name: str, precision: str | None = None) -> Backend:
        """Create an engine and load the network."""
        backend = self._create(name, precision)
        try:
            backend.load(self._network)
        except BaseException:
            backend.close()
            raise
        return backend

    def _create(self, name: str, precision: str | None = None) -> Backend:
        return backends.create_backend(
            name, device=str(self._device), precision=precision or self._precision, threads=self._threads
        )

    def start_usable(self, name: str, reference: Backend) -> Backend | None:
        """Create an engine and compare it with ``reference``; None if building it takes long.

        Raises:
            BackendError: the logits are wrong. Errors of the engine itself pass through.
        """
        backend = self._create(name)
        usable = False
        try:
            usable = self._is_usable(backend, reference, self._size_to_compare_at([name]))
        finally:
            if not usable:
                backend.close()
        return backend if usable else None

    def start_all(self, names: list[str], notes: dict[str, str]) -> tuple[dict[str, Backend], dict[str, Exception]]:
        """The engines that work here, built and compared, and the errors of those that were expected to work.

        The reasons for missing engines are added to ``notes``.
        """
        self.size = self._size_to_compare_at(names)
        reference = self.start(PLAIN, "fp32")
        started: dict[str, Backend] = {}
        failures: dict[str, Exception] = {}
        for name in names:
            if name == PLAIN and self._precision == "fp32":
                started[name] = reference
                continue
            try:
                backend = self._create(name)
            except BackendError as error:
                # Installed, but does not support this device or precision.
                notes[name] = str(error)
                continue
            except Exception as error:  # noqa: BLE001 - an engine that fails is not chosen
                failures[name] = error
                notes[name] = f"failed, {first_line(error)}"
                continue
            try:
                if self._is_usable(backend, reference, self.size):
                    started[name] = backend
                else:
                    by = f"a start with backend {name}"
                    if not backend.builds_itself:
                        by = export_command(name, self._precision, (1, *self.size))
                    notes[name] = f"not built yet, {by} builds it"
            except Exception as error:  # noqa: BLE001 - an engine that fails is not chosen
                failures[name] = error
                notes[name] = f"failed, {first_line(error)}"
            finally:
                if name not in started:
                    backend.close()
        if started.get(PLAIN) is not reference:
            reference.close()
        return started, failures

    def start_bf16(
        self, plain: dict[str, Backend], notes: dict[str, str]
    ) -> tuple[dict[str, Backend], dict[str, Exception]]:
        """Like ``start_all``, with keys from ``label``, for the first engine of ``plain`` that works in bf16.

        Later engines are slower on most machines, so they are not tried. The masks of the engine must also agree with
        those of PyTorch in fp32 on street scenes.
        """
        started: dict[str, Backend] = {}
        failures: dict[str, Exception] = {}
        if (reference := plain.get(PLAIN)) is None:
            # Without PyTorch, there is nothing to compare with.
            return started, failures
        for name in plain:
            key = label(name, "bf16")
            try:
                backend = self._create(name, "bf16")
            except BackendError:
                # The engine does not support bf16.
                continue
            try:
                if self._is_usable(backend, reference, self.size):
                    self._check_masks(backend, reference)
                    started[key] = backend
                    break
            except Exception as error:  # noqa: BLE001 - the engines in fp32 remain
                failures[key] = error
                notes[key] = first_line(error)
            finally:
                if key not in started:
                    backend.close()
        return started, failures

    def _check_masks(self, backend: Backend, reference: Backend) -> None:
        from lsabinet_core.data.synthetic import SyntheticDataset

        streets = SyntheticDataset("val", self.size)
        parity = compare(reference.infer, backend.infer, (streets.sample(index).image for index in STREETS))
        least = MIN_AGREEMENT[backend.precision]
        if not parity.agreement >= least:
            raise BackendError(
                f"on synthetic streets only {100 * parity.agreement:.2f} % of the pixels have the class of fp32, "
                f"expected {100 * least:g} %"
            )

    def fastest(self, milliseconds: dict[str, float], started: dict[str, Backend]) -> str:
        """The key of the engine to take: the fastest one, but in another precision only if it gains ``MIN_GAIN``."""
        plain = [key for key in milliseconds if started[key].precision == self._precision]
        best, best_plain = min(milliseconds, key=milliseconds.__getitem__), min(plain, key=milliseconds.__getitem__)
        return best if milliseconds[best_plain] >= MIN_GAIN * milliseconds[best] else best_plain

    def measure(self, started: dict[str, Backend]) -> dict[str, float]:
        """Median milliseconds per image, in interleaved rounds, so that other load affects all engines equally."""
        images = make_picture(self.size)[None]
        spent: dict[str, list[float]] = {name: [] for name in started}
        begun = time.perf_counter()
        for turn in range(WARM_UP_RUNS + ROUNDS):
            if turn > WARM_UP_RUNS and time.perf_counter() - begun > MAX_MEASURING_S:
                break
            for name, backend in started.items():
                backend.synchronize()
                start = time.perf_counter()
                backend.infer(images)
                backend.synchronize()
                if turn >= WARM_UP_RUNS:
                    spent[name].append(1e3 * (time.perf_counter() - start))
        return {name: statistics.median(figures) for name, figures in spent.items()}

    def _size_to_compare_at(self, names: list[str]) -> Size:
        """The network's own size, or a size of an exported engine if that engine supports no others."""
        if not self._network.any_size:
            return self._network.size
        for name in names:
            if name != "tensorrt" and self._precision != "int8":
                # The engine builds itself for any size.
                continue
            # Errors are reported when the engine is tried.
            with contextlib.suppress(Exception):
                backend = self.start(name)
                exported = backend.exported_sizes()
                backend.close()
                if exported and self._network.size not in exported:
                    return exported[0]
        return self._network.size

    def _is_usable(self, backend: Backend, reference: Backend, size: Size) -> bool:
        """Load and build the engine, unless building takes long (False); raise BackendError if its logits are wrong."""
        backend.load(self._network)
        if not backend.builds_quickly(size):
            return False
        backend.prepare(size)
        parity = compare(reference.infer, backend.infer, [make_picture(size)])
        if not parity.relative_rms_error <= TOLERANCE[backend.precision]:
            raise BackendError(
                f"its logits differ from PyTorch's by up to {parity.max_error:.3g}, in a range of "
                f"{parity.logit_range:.3g}"
            )
        return True


def label(name: str, precision: str) -> str:
    """The key of an engine in a precision that the user did not request; its name alone is the key in the requested
    one."""
    return f"{name} {precision}"


def first_line(error: Exception) -> str:
    return one_line((str(error).strip().splitlines() or [type(error).__name__])[0])
