"""A new engine written as CONTRIBUTING.md describes: one class and one line."""

import sys
import types

import numpy as np
import pytest
import torch

from lsabinet_core.inference import Segmenter
from lsabinet_core.inference.backends.base import Backend
from lsabinet_core.inference.backends.choose import choose_cpu
from lsabinet_core.inference.backends.engines import ENGINES, Engine
from lsabinet_core.inference.backends.shaped import DeployedBackend
from lsabinet_core.inference.backends.shapes import Run
from lsabinet_core.inference.backends.torch_ import deploy


class Minimal(Backend):
    name = "minimal"

    def __init__(self, device="auto", precision="auto", threads=0):
        super().__init__(choose_cpu(device, self.name), "fp32")

    def load(self, source):
        self.network = deploy(source, self.device, torch.float32)

    @torch.inference_mode()
    def infer(self, images):
        return self.network(torch.from_numpy(images))

    def close(self):
        self.network = None


class MinimalShaped(DeployedBackend):
    name = "minimal-shaped"

    def __init__(self, device="auto", precision="auto", threads=0):
        super().__init__(choose_cpu(device, self.name), precision, threads, ("fp32",))

    def _build(self, shape):
        network = self.network
        return Run(torch.inference_mode()(lambda images: network(torch.from_numpy(images))))


@pytest.mark.parametrize("engine", [Minimal, MinimalShaped])
def test_minimal_engine_runs_in_a_segmenter(engine, random_weights, noise_image, monkeypatch):
    module = types.ModuleType("new_engine")
    module.Engine = engine
    monkeypatch.setitem(sys.modules, "new_engine", module)
    monkeypatch.setitem(ENGINES, engine.name, Engine("new_engine", "Engine"))
    frames = [noise_image(seed, (96, 128)) for seed in range(2)]
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch") as segmenter:
        expected = segmenter.segment(frames)
    with Segmenter.from_pretrained(random_weights, device="cpu", backend=engine.name) as segmenter:
        segmenter.warm_up((96, 128), wait=False)
        segmenter.warm_up((96, 128), frames=2)
        assert segmenter.backend == engine.name
        assert segmenter.describe()["precision"] == "fp32"
        for found, right in zip(segmenter.segment(frames), expected, strict=True):
            np.testing.assert_array_equal(found.mask, right.mask)
