"""Detection of out-of-memory errors, which every engine reports in its own way."""

import re

import torch

_TEXT = re.compile(
    r"out of memory|outofmemory|not enough memory|can't allocate memory|cannot allocate memory|bad_?alloc"
    r"|failed to allocate memory|alloc_failed",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an engine failed because the memory of the device or of the machine is full."""
    cause: BaseException | None = error
    while cause is not None:
        # ONNX Runtime, OpenVINO and TensorRT raise general errors that only their text distinguishes.
        if isinstance(cause, (MemoryError, torch.OutOfMemoryError)) or _TEXT.search(str(cause)):
            return True
        cause = cause.__cause__
    return False
