"""The first seconds of the node, in which Python imports modules: which ones, and Ctrl-C meanwhile."""

import signal
import subprocess
import sys
import threading

import pytest


# From the first import to the last; afterwards rclpy and the node are set up.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("module", ["traceback", "rclpy", "numpy", "lsabinet_ros.messages", "lsabinet_ros.node"])
def test_a_signal_ends_the_node_quietly(module, number, ros_domain):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "lsabinet_ros.segmentation_node"],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = threading.Timer(60, process.kill)
    deadline.start()
    try:
        started, said = False, []
        for line in process.stderr:
            imported = line.rpartition("|")[2].strip()
            # Python itself imports some of these before us.
            started = started or imported == "lsabinet_ros"
            if started and imported == module:
                process.send_signal(number)
            if not line.startswith("import time:"):
                said.append(line)
        assert process.wait() == 0
        assert started
        assert said == []
    finally:
        deadline.cancel()
        process.kill()
        process.wait()
        process.stderr.close()


def test_an_unconfigured_node_does_not_wait_for_pytorch():
    program = "import sys, lsabinet_ros.node; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd="/", timeout=60).returncode == 0
