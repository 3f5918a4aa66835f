"""What this machine can do at most: memory bandwidth and matrix throughput, measured."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lsabinet_core.errors import BackendError

COPIED_BYTES = 256 * 1024 * 1024
"""Size of the copied array: several times the caches of most processors."""
SIDE = 1536
"""Rows and columns of the multiplied matrices."""
REPEATS = 7
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


@dataclass(frozen=True)
class Roofline:
    """The best of several measurements, with the threads that PyTorch uses.

    Attributes:
        gb_per_s: 10^9 bytes read and written per second by a copy in main memory.
        gmacs_per_s: 10^9 multiply-accumulates per second of a product of square matrices, by precision.
    """

    gb_per_s: float
    gmacs_per_s: dict[str, float]

    def bound_ms(self, mbytes: float, gmacs: float, precision: str) -> float:
        """Milliseconds that a step takes at least if each of its operators reads and writes main memory."""
        return max(mbytes / self.gb_per_s, 1e3 * gmacs / self.gmacs_per_s[precision])


@torch.inference_mode()
def measure_roofline(precisions: Sequence[str]) -> Roofline:
    """Measure the CPU.

    Args:
        precisions: of the matrices: ``fp32``, ``bf16`` or ``int8``.

    Raises:
        BackendError: another precision.
    """
    if unknown := set(precisions) - set(DTYPES):
        raise BackendError(f"expected a precision of {', '.join(DTYPES)} to profile, got {', '.join(sorted(unknown))}")
    source, target = torch.zeros(COPIED_BYTES, dtype=torch.uint8), torch.empty(COPIED_BYTES, dtype=torch.uint8)
    seconds = _fastest(lambda: target.copy_(source))
    throughput = {precision: SIDE**3 / _fastest(_product(DTYPES[precision])) / 1e9 for precision in precisions}
    return Roofline(2 * COPIED_BYTES / seconds / 1e9, throughput)


def _product(dtype: torch.dtype) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randint(-9, 9, (SIDE, SIDE), generator=generator).to(dtype) for _ in range(2))
    # The plain product of integers is not done by the matrix instructions.
    multiply = torch._int_mm if dtype == torch.int8 else torch.mm
    return lambda: multiply(one, other)


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest call: other load makes calls only slower."""
    work()
    spent = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return min(spent)
