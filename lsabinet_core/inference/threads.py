"""The number of CPU cores that inference may use."""

import cv2
import torch

from lsabinet_core.cores import at_most_cores, usable_cores


def limit_threads(threads: int) -> None:
    """Limit the threads of torch and OpenCV to ``threads``, and to the number of usable cores.

    0 leaves them unchanged, unless they have more threads than usable cores, as in a container with a CPU quota.
    OpenMP stores the number per calling thread, so call this in the thread that does the work, not once at the start.
    """
    most = at_most_cores(threads) or usable_cores()
    for get, put in ((torch.get_num_threads, torch.set_num_threads), (cv2.getNumThreads, cv2.setNumThreads)):
        if get() > most or (threads and get() != most):
            put(most)
