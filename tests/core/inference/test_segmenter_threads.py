"""One Segmenter shared by several threads: with every engine, each thread gets the results of its own frames."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lsabinet_core.errors import BackendError
from lsabinet_core.inference import Segmenter
from lsabinet_core.inference.artefact import open_artefact
from lsabinet_core.inference.device_overlay import DeviceOverlay
from lsabinet_core.inference.export import ExportSettings, export

THREADS = 4
DEADLINE = 60.0


@pytest.fixture(params=["torch", "openvino", "onnxruntime", "torchscript", "auto"])
def make_segmenter(request, network, tmp_path):
    """A new Segmenter for each engine that runs on the CPU without a compiler."""

    def make():
        if request.param != "torchscript":
            return Segmenter(network.model, network.metadata, device="cpu", backend=request.param, threads=1)
        path = tmp_path / "network.pt"
        export(network, ExportSettings("torchscript", (96, 128)), path)
        return Segmenter(open_artefact(path), device="cpu", threads=1)

    return make


@pytest.fixture
def frames(noise_image):
    return [noise_image(seed, (96, 128)) for seed in range(THREADS)]


def at_once(work, count=THREADS):
    """Results of ``work(index)`` in as many threads, all started at the same time."""
    together = threading.Barrier(count)

    def begin(index):
        together.wait(DEADLINE)
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return [future.result(DEADLINE) for future in [pool.submit(begin, index) for index in range(count)]]


def test_each_thread_gets_its_own_masks(make_segmenter, frames):
    with make_segmenter() as segmenter:
        expected = [segmenter.segment(frame) for frame in frames]
        assert len({right.mask.tobytes() for right in expected}) == THREADS

        def work(index):
            right, wrong = expected[index], 0
            for _ in range(8):
                found = segmenter.segment(frames[index])
                wrong += not np.array_equal(found.mask, right.mask)
                wrong += not np.array_equal(found.confidence, right.confidence)
            return wrong

        assert at_once(work) == [0] * THREADS


def test_logits_are_not_overwritten_by_other_threads(make_segmenter, frames):
    with make_segmenter() as segmenter:
        expected = [segmenter.logits([frame], (96, 128))[0].clone() for frame in frames]
        found = at_once(lambda index: [segmenter.logits([frames[index]], (96, 128))[0] for _ in range(8)])
        for right, answers in zip(expected, found, strict=True):
            assert all((answer - right).abs().max() < 1e-3 for answer in answers)


def test_warm_up_while_other_threads_segment(make_segmenter, frames, noise_image):
    with make_segmenter() as segmenter:
        expected = segmenter.segment(frames[0]).mask
        sizes = [(96, 128), (96, 128), (64, 64)]

        def work(index):
            if index == 0:
                return sum(not np.array_equal(segmenter.segment(frames[0]).mask, expected) for _ in range(8))
            segmenter.warm_up(sizes[index], frames=index)
            return segmenter.segment(noise_image(1, sizes[index])).mask.shape

        assert at_once(work, len(sizes)) == [0, *sizes[1:]]


def test_close_while_other_threads_segment(make_segmenter, frames):
    """Later calls raise an error; calls that were running return the correct mask."""
    segmenter = make_segmenter()
    expected = [segmenter.segment(frame).mask for frame in frames]
    segmented = threading.Event()

    def work(index):
        if index == 0:
            assert segmented.wait(DEADLINE)
            segmenter.close()
            segmenter.close()
            return True
        right = True
        while right:
            try:
                right = np.array_equal(segmenter.segment(frames[index]).mask, expected[index])
                segmented.set()
            except BackendError as error:
                return "closed" in str(error)
        return False

    assert at_once(work) == [True] * THREADS


def test_overlays_are_serialised(frames, random_weights, monkeypatch):
    """Tests the GPU overlay with a stand-in for the device, whose slow upload reveals interference between threads."""
    import torch

    with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch") as segmenter:
        overlay = DeviceOverlay(torch.device("cpu"), segmenter.label_set)
    inside, most = [], []

    def slowly(array):
        inside.append(None)
        most.append(len(inside))
        threading.Event().wait(0.01)
        inside.pop()
        return torch.from_numpy(array)

    monkeypatch.setattr(overlay, "_frame", slowly)
    mask = np.zeros((96, 128), np.uint8)
    at_once(lambda index: overlay(frames[index], mask, 0.5))
    assert max(most) == 1
