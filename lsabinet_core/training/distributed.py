"""Several processes that train one network, one GPU each, on one machine or several.

They are started by ``torchrun`` (see its ``--nproc-per-node`` and ``--nnodes``) and find each other through the
variables that it sets. Each computes its share of every batch; the first one, the main process, also validates, writes
and shows the progress. The run's folder and the data must be where every process can read them.

Every function here does the obvious where there is only one process.
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
"""How long a process waits for the others, which may be validating or reading the data."""

Result = TypeVar("Result")


def rank() -> int:
    """Number of this process, 0 for the main one."""
    return dist.get_rank() if _joined() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _joined() else 1


def is_main() -> bool:
    return rank() == 0


def is_launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did; yields this process's device.

    Args:
        device: ``cpu``, or ``cuda``, of which each process takes the one of its number on its machine.

    Raises:
        TrainingError: the processes cannot find each other, there are fewer GPUs than processes, or another process
            has failed.
    """
    if not is_launched():
        yield device
        return
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", 0))
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"expected a GPU for each process, got {torch.cuda.device_count()} for at least {local + 1}: lower "
                "--nproc-per-node of torchrun"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"the processes of torchrun cannot join: {_first_line(error)}") from None
    try:
        with _plain_errors():
            yield device
    except BaseException:
        # nccl would wait for what the others never send; the end of this process tells them.
        if device.type == "cpu":
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def total(tensor: Tensor) -> Tensor:
    """Sum of the processes' tensors, in place."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def on_main(work: Callable[[], Result], device: torch.device) -> Result | None:
    """Let the main process do ``work`` while the others wait; its result there, None elsewhere.

    Raises:
        what ``work`` raises in the main process, and TrainingError in the others.
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
        raise TrainingError("the main process of the run failed: see its message")
    return result


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """A connection that broke in the middle of an exchange is another process's failure."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, (dist.DistBackendError, dist.DistNetworkError)) or "gloo" in str(error).lower():
            raise TrainingError(
                f"another process of the run stopped or cannot be reached ({_first_line(error)}): see its message, "
                "then go on with --resume"
            ) from None
        raise


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
