"""A process can still handle signals after engines were created and closed."""

import subprocess
import sys

# Create two engines; close the first one in another thread, then the second. This order used to cause a crash.
PROGRAM = """
import gc, os, signal, threading
import numpy as np
from lsabinet_core.inference.backends import create_backend
from lsabinet_core.benchmark.candidates import open_network
from lsabinet_core.inference.network import Network
from lsabinet_core.labels import CAMVID

network = Network(*open_network("dabnet", CAMVID), (64, 96))

def start():
    backend = create_backend("openvino", device="cpu", threads=1)
    backend.load(network)
    backend.infer(np.zeros((1, 64, 96, 3), np.uint8))
    return backend

backends = [start(), start()]

def end():
    backends.pop(0).close()
    gc.collect()

for _ in range(2):
    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_signal_after_engines_were_closed():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (0, "handled\n"), result.stderr
