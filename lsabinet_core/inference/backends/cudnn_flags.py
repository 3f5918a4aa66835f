"""cuDNN's process-wide flags, shared by several threads."""

import contextlib
import threading
from collections.abc import Iterator

import torch


class _CudnnFlags:
    """Guards cuDNN's flags, which belong to the process, against threads that run frames and build engines: the first
    context to be entered saves the flags, and the last one to be left restores them."""

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = self._searching = 0
        self._before = (False, True)

    @contextlib.contextmanager
    def plain_float32(self, *, search: bool = True) -> Iterator[None]:
        """A context in which fp32 on a GPU is computed in fp32, not in TF32, which is PyTorch's default.

        Args:
            search: whether cuDNN searches for its fastest kernels, which takes up to seconds for a new shape.
        """
        cudnn = torch.backends.cudnn
        with self._lock:
            if not self._inside:
                self._before = (cudnn.benchmark, cudnn.allow_tf32)
            self._inside += 1
            self._searching += search
            # Frames that do not search must not switch off the search of a concurrent build, whose result is captured.
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
