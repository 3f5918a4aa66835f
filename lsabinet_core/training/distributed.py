"""Distributed training of one network: one process per GPU, on one machine or several.

``torchrun`` starts the processes (see its ``--nproc-per-node`` and ``--nnodes``) and sets the environment variables by
which they find each other. Each process computes its share of every batch; the first one, the main process, also
validates, writes files and reports progress. All processes need access to the run's folder and the data.

In a single process every function here is trivial: it exchanges nothing.
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lsabinet_core.errors import TrainingError

LONGEST_WAIT = datetime.timedelta(hours=2)
"""Timeout of an exchange between processes: the others may be validating or reading the data."""

Result = TypeVar("Result")


def rank() -> int:
    """Rank of this process, 0 for the main one."""
    return dist.get_rank() if _joined() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if _joined() else 1


def is_main() -> bool:
    return rank() == 0


def is_launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[torch.device]:
    """Join the process group if torchrun started this process; yields this process's device.

    Args:
        device: ``cpu`` or ``cuda``; with ``cuda`` each process uses the GPU of its local rank.

    Raises:
        TrainingError: the processes cannot connect, there are fewer GPUs than processes, or another process
            has failed.
    """
    if not is_launched():
        yield device
        return
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", 0))
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"expected one GPU per process, got {torch.cuda.device_count()} for at least {local + 1}: lower "
                "--nproc-per-node of torchrun"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"the processes started by torchrun cannot connect: {_first_line(error)}") from None
    try:
        with _plain_errors():
            yield device
    except BaseException:
        # nccl would wait for messages that never arrive from the failed process; exiting notifies the others.
        if device.type == "cpu":
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def total(tensor: Tensor) -> Tensor:
    """Sum of the tensor over all processes, in place."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def on_main(work: Callable[[], Result], device: torch.device) -> Result | None:
    """Run ``work`` in the main process while the others wait; returns its result there, None elsewhere.

    Raises:
        whatever ``work`` raises in the main process, and TrainingError in the others.
    """
    result, failure = None, None
    if is_main():
        try:
            result = work()
        except BaseException as error:
            if world_size() == 1:
                raise
            failure = error
    failed = bool(total(torch.tensor(float(failure is not None), device=device)))
    if failure is not None:
        raise failure
    if failed:
        raise TrainingError("the main process of the run failed: see its error message")
    return result


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Report a connection that breaks during an exchange as the failure of another process."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, (dist.DistBackendError, dist.DistNetworkError)) or "gloo" in str(error).lower():
            raise TrainingError(
                f"another process of the run stopped or cannot be reached ({_first_line(error)}): fix the error that "
                "it reports and continue with --resume"
            ) from None
        raise


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
