"""Images from NumPy to where a network takes them."""

import numpy as np
import torch


class PinnedUpload:
    """uint8 (N, H, W, 3) arrays as tensors on a device.

    For a GPU they pass through page-locked memory, from which the copy runs beside other work; one byte per value
    crosses the bus. On the CPU the tensor shares the array's memory.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._pinned: torch.Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    # PyTorch refuses to write into tensors that were made in inference mode from outside of it.
    @torch.inference_mode()
    def __call__(self, images: np.ndarray, out: torch.Tensor | None = None) -> torch.Tensor:
        """The images on the device, in ``out`` if that is given.

        On a GPU the copy may still be under way, before what the current stream does next; the array has been read.
        """
        tensor = torch.from_numpy(images)
        if self._device.type == "cpu":
            return tensor if out is None else out.copy_(tensor)
        if self._pinned is None or self._pinned.shape != tensor.shape:
            self._pinned = torch.empty(tensor.shape, dtype=torch.uint8, pin_memory=True)
            self._copied = torch.cuda.Event()
        else:
            # The copy of the images before must have left the buffer.
            self._copied.synchronize()
        self._pinned.copy_(tensor)
        if out is None:
            out = torch.empty(tensor.shape, dtype=torch.uint8, device=self._device)
        out.copy_(self._pinned, non_blocking=True)
        self._copied.record(torch.cuda.current_stream(self._device))
        return out
