"""How many CPU cores inference may take."""

import cv2
import torch

from lsabinet_core.cores import at_most_cores


def limit_threads(threads: int) -> None:
    """Let torch and OpenCV use at most ``threads`` threads, and no more than cores; 0 leaves them as they are.

    OpenMP keeps the number per calling thread, so this is called where the work is done, not once at the start.
    """
    if threads == 0:
        return
    threads = at_most_cores(threads)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if cv2.getNumThreads() != threads:
        cv2.setNumThreads(threads)
