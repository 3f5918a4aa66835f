"""Another network in the node and in ``lsabinet predict``; its weights file is all they need."""

import json
import signal

import cv2
import numpy as np
import pytest
import torch
from node_harness import Client, NodeProcess

from lsabinet_core.cli import main
from lsabinet_core.labels import CAMVID
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata, save_weights


@pytest.fixture
def enet_weights(tmp_path):
    torch.manual_seed(3)
    path = tmp_path / "rival.safetensors"
    metadata = WeightsMetadata("enet", CAMVID, (64, 96), mean=(0.4, 0.4, 0.4), std=(0.3, 0.3, 0.3))
    save_weights(path, create_model("enet", len(CAMVID)), metadata, dtype=torch.float32)
    return path


def test_another_network_segments(ros_domain, enet_weights, tmp_path):
    frame = np.random.default_rng(5).integers(0, 256, (72, 100, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "frame.png"), frame)
    options = [
        "--weights",
        str(enet_weights),
        "--backend",
        "torch",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--no-overlay",
    ]
    assert main(["predict", str(tmp_path / "frame.png"), "--out", str(tmp_path / "out"), *options]) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["architecture"] == "enet"
    expected = cv2.imread(str(tmp_path / "out" / "masks" / "frame.png"), cv2.IMREAD_UNCHANGED)
    assert len(np.unique(expected)) > 1

    node = NodeProcess(weights=enet_weights, backend="torch", device="cpu", threads=1, diagnostics_period_s=0.1)
    client = Client(ros_domain)
    try:
        client.bring_up()
        mask = client.mask_of(client.image(frame))
        assert (mask.height, mask.width, mask.encoding) == (72, 100, "mono8")
        found = np.frombuffer(mask.data, np.uint8).reshape(72, 100)
        # If two maxima differ by rounding only, max unpooling may choose the neighbouring pixel.
        assert (found != expected).mean() < 0.01
        assert client.status()["architecture"] == "enet"
        assert node.end(signal.SIGINT) == 0
        assert "enet" in node.output
        assert "Traceback" not in node.output
    finally:
        client.close()
        if node.process.poll() is None:
            node.kill()
