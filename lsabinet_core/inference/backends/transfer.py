"""Images from NumPy to where a network takes them, and what comes of them back."""

import numpy as np
import torch


class PinnedUpload:
    """uint8 arrays as tensors on a device.

    For a GPU they pass through page-locked memory, from which the copy runs beside other work; one byte per value
    crosses the bus. On the CPU the tensor shares the array's memory where an engine can take that.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._pinned: torch.Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    # PyTorch refuses to write into tensors that were made in inference mode from outside of it.
    @torch.inference_mode()
    def __call__(self, images: np.ndarray | torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """The images on the device, in ``out`` if that is given. Those that are there already stay there.

        On a GPU the copy may still be under way, before what the current stream does next; the array has been read.
        """
        if self._device.type == "cpu" and not isinstance(images, torch.Tensor):
            images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        if isinstance(images, torch.Tensor):
            return images if out is None else out.copy_(images)
        if self._pinned is None or self._pinned.shape != images.shape:
            self._pinned = torch.empty(images.shape, dtype=torch.uint8, pin_memory=True)
            self._copied = torch.cuda.Event()
        else:
            # The copy of the images before must have left the buffer.
            self._copied.synchronize()
        np.copyto(self._pinned.numpy(), images)
        if out is None:
            out = torch.empty(images.shape, dtype=torch.uint8, device=self._device)
        out.copy_(self._pinned, non_blocking=True)
        self._copied.record(torch.cuda.current_stream(self._device))
        return out


def download(planes: torch.Tensor) -> np.ndarray:
    """The planes as an array in one copy, waited for; from a GPU into page-locked memory."""
    if planes.device.type != "cuda":
        return planes.cpu().numpy()
    host = torch.empty(planes.shape, dtype=planes.dtype, pin_memory=True)
    host.copy_(planes, non_blocking=True)
    torch.cuda.current_stream(planes.device).synchronize()
    return host.numpy()
