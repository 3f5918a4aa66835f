"""Worker processes that prepare batches, and the shared memory through which they pass them on.

A worker writes its batch to /dev/shm and sends only its name to the main process. Shared memory is scarce in
containers: Docker's default is 64 MB.
"""

import contextlib
import multiprocessing.queues
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from lsabinet_core.errors import LsabinetError, TrainingError

SHARED_MEMORY = Path("/dev/shm")

MAX_AHEAD = 4
"""Number of batches that each worker prepares in advance, if shared memory has room for them."""

HELD = 2
"""Number of further batches in shared memory: the one being trained on and the next one."""

MORE_MEMORY = "give the container more shared memory (docker run --shm-size=2g), or train with --workers 0"


def fit_shared_memory(workers: int, batch_bytes: int, warn: Callable[[str], None]) -> tuple[int, int]:
    """Choose the number of workers, and of batches that each prepares in advance, to fit into shared memory.

    Args:
        workers: requested number of workers.
        batch_bytes: size of one batch of this process; all local processes of torchrun share the memory.
        warn: called with a message if the result is less than requested.

    Returns:
        ``workers`` and ``MAX_AHEAD``; or as many workers with fewer batches ahead; or fewer workers, down to 0.
    """
    free = _free_shared_memory()
    if workers == 0 or free is None:
        return workers, MAX_AHEAD
    free //= int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    choices = [(workers, ahead) for ahead in range(MAX_AHEAD, 0, -1)] + [(fewer, 1) for fewer in range(workers)[::-1]]
    found = next(pair for pair in choices if pair[0] == 0 or (pair[0] * pair[1] + HELD) * batch_bytes <= free)
    if found != choices[0]:
        needed = (workers * MAX_AHEAD + HELD) * batch_bytes
        how = f"each prepares {found[1]} ahead" if found[0] == workers else f"{found[0]} of {workers} workers run"
        warn(
            f"{SHARED_MEMORY} has {free / 1e6:.0f} MB free, but the batches of --workers {workers} need "
            f"{needed / 1e6:.0f} MB: {how}; give a container more with docker run --shm-size"
        )
    return found


def _free_shared_memory() -> int | None:
    """Free shared memory in bytes; None on systems without /dev/shm."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return None
    return status.f_bavail * status.f_frsize


def load(items: Dataset, sampler: Iterable, workers: int, ahead: int = MAX_AHEAD, **options: Any) -> Iterator:
    """Load tuples of tensors in the order of ``sampler``, prepared by ``workers`` processes (0: in this process).

    Args:
        items: maps an index of the sampler to a tuple of tensors.
        ahead: number of tuples that each worker prepares in advance.
        options: further options of ``torch.utils.data.DataLoader``.

    Raises:
        LsabinetError: raised by ``items``.
        TrainingError: a worker died, or cannot pass on its tensors.
    """
    loader = DataLoader(
        items,
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        # Without automatic batching, the function receives one item, which its annotation does not allow for.
        collate_fn=_shared,  # pyright: ignore[reportArgumentType]
        worker_init_fn=_begin_worker,
        # A separate generator, so that the network's random draws do not depend on the number of opened loaders.
        generator=torch.Generator(),
        **options,
    )
    with _plain_errors(), _quiet_children():
        iterator = iter(loader)
    try:
        while True:
            with _plain_errors():
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
    finally:
        # An error keeps the iterator in a reference cycle. The garbage collector would end the workers much later, and
        # wait five seconds for each, because it closes the queues to them first.
        getattr(iterator, "_shutdown_workers", lambda: None)()


def _begin_worker(_worker: int) -> None:
    # OpenCV's threads would compete with the training for the cores.
    import cv2

    cv2.setNumThreads(0)
    # The default handler prints the error and drops the batch, and the training would wait for it forever.
    queue: Any = multiprocessing.queues.Queue
    queue._on_queue_feeder_error = staticmethod(_end_worker)


def _end_worker(error: Exception, _item: object) -> None:
    print(f"a worker process cannot send a batch: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def _shared(item: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """In a worker, move the tensors to shared memory here, so that an error reaches the main process."""
    if get_worker_info() is None:
        return item
    try:
        return tuple(tensor.share_memory_() for tensor in item)
    except RuntimeError as error:
        size = sum(tensor.nbytes for tensor in item) / 1e6
        # On one line, because the main process keeps only the last line of the message.
        raise TrainingError(
            f"a worker process has no shared memory for {size:.1f} MB ({' '.join(str(error).split())}): "
            f"{MORE_MEMORY}, and continue with --resume"
        ) from None


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Unpack a worker's LsabinetError: PyTorch prepends the worker's traceback, and only the last line is ours."""
    try:
        yield
    except LsabinetError as error:
        lines = str(error).strip().splitlines()
        raise (error if len(lines) == 1 else type(error)(lines[-1].partition(": ")[2])) from None
    except (RuntimeError, ConnectionError, EOFError) as error:
        # A worker that dies while sending a batch breaks the connection before PyTorch notices its death.
        message = " ".join(str(error).split())
        if isinstance(error, RuntimeError) and not message.startswith(("DataLoader worker (pid", "Pin memory thread")):
            raise
        raise TrainingError(
            f"a worker process died ({message or type(error).__name__}): it may have been killed, or run out of memory "
            "or shared memory (docker run --shm-size). Continue with --resume and fewer --workers, or 0"
        ) from None


@contextlib.contextmanager
def _quiet_children() -> Iterator[None]:
    """Remove PyTorch's SIGCHLD handler.

    It raises wherever the main thread is when a worker dies, even in the middle of a step or while a checkpoint is
    written. Without it, the death is noticed within five seconds when the next batch is requested.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler if handler is not None else signal.SIG_DFL)
