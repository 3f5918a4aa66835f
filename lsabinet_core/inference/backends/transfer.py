"""Transfer of images from NumPy to the device, and of results back."""

import numpy as np
import torch


class PinnedUpload:
    """Uploads uint8 arrays as tensors on a device.

    For a GPU they pass through page-locked memory, from which they are copied asynchronously, one byte per value. On
    the CPU the tensor shares the array's memory if that is contiguous and writeable.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._pinned: torch.Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    # PyTorch does not allow writing to inference tensors outside inference mode.
    @torch.inference_mode()
    def __call__(self, images: np.ndarray | torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the images on the device, in ``out`` if given; images that are already on the device are not copied.

        On a GPU the copy may still be running, but it precedes all later work in the current stream, and the array may
        be overwritten.
        """
        if self._device.type == "cpu" and not isinstance(images, torch.Tensor):
            images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        if isinstance(images, torch.Tensor):
            return images if out is None else out.copy_(images)
        if self._pinned is None or self._copied is None or self._pinned.shape != images.shape:
            self._pinned = torch.empty(images.shape, dtype=torch.uint8, pin_memory=True)
            self._copied = torch.cuda.Event()
        else:
            # Wait until the copy of the previous images has left the buffer.
            self._copied.synchronize()
        np.copyto(self._pinned.numpy(), images)
        if out is None:
            out = torch.empty(images.shape, dtype=torch.uint8, device=self._device)
        out.copy_(self._pinned, non_blocking=True)
        self._copied.record(torch.cuda.current_stream(self._device))
        return out


def download(planes: torch.Tensor) -> np.ndarray:
    """Copy the planes to an array, synchronously; from a GPU into page-locked memory."""
    if planes.device.type != "cuda":
        return planes.cpu().numpy()
    host = torch.empty(planes.shape, dtype=planes.dtype, pin_memory=True)
    host.copy_(planes, non_blocking=True)
    torch.cuda.current_stream(planes.device).synchronize()
    return host.numpy()
