"""backend="auto" while frames arrive: no frame waits for an engine."""

import dataclasses
import gc
import threading
import time
import weakref

import numpy as np
import pytest
import torch
from auto_engines import Converted, load, until_built

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.backends.auto import PATIENCE
from lsabinet_core.inference.backends.base import NotExportedError
from lsabinet_core.inference.backends.shaped import CLOSE_TIMEOUT_S, ShapedBackend


def test_new_sizes_do_not_wait_for_a_conversion(converted, noise_image, plain, caplog):
    backend, engine = converted
    sizes = [(96, 128), (72, 168), (128, 96)]
    pictures = {size: noise_image(1, size)[None] for size in sizes}
    for size in sizes:
        torch.testing.assert_close(backend.infer(pictures[size]), plain(pictures[size]), rtol=1e-3, atol=1e-3)
    # The compared size is built; PyTorch ran the others.
    assert engine.ran == [(1, 96, 128)]
    assert "PyTorch for sizes" in backend.describe()["chosen"]
    # A size that keeps arriving is built while PyTorch continues.
    for _ in range(PATIENCE + 3):
        backend.infer(pictures[128, 96])
    assert engine.ran[1:] == []
    assert caplog.text.count("no openvino engine for 1 x 128x96") == 1
    command = "`lsabinet export --to openvino --precision fp32 --size 128x96 --weights W`"
    assert f"{command} or call warm_up" in caplog.text
    until_built(engine, (1, 128, 96))
    torch.testing.assert_close(backend.infer(pictures[128, 96]), plain(pictures[128, 96]), rtol=1e-3, atol=1e-3)
    assert engine.ran[1:] == [(1, 128, 96)]
    backend.prepare((72, 168))
    backend.infer(pictures[72, 168])
    assert engine.ran[2:] == [(1, 72, 168)]


def test_evicted_shape_is_rebuilt_in_the_background(converted, noise_image, monkeypatch):
    backend, engine = converted
    monkeypatch.setattr("lsabinet_core.inference.backends.shapes.MAX_SHAPES", 2)
    engine.may_build.set()
    for size in ((72, 168), (128, 96), (80, 80)):
        backend.prepare(size)
    assert not backend.holds((1, 72, 168))
    assert backend.holds((1, 128, 96))
    assert backend.holds((1, 80, 80))
    engine.may_build.clear()
    picture = noise_image(1, (72, 168))[None]
    for _ in range(PATIENCE + 2):
        backend.infer(picture)
    assert engine.ran == []
    until_built(engine, (1, 72, 168))
    backend.infer(picture)
    assert engine.ran == [(1, 72, 168)]


def test_size_that_the_engine_does_not_support(converted, noise_image, plain, monkeypatch, caplog):
    """Example: int8 without calibration. ``prepare`` raises an error, and frames run in fp32."""
    backend, engine = converted

    def check_size(size):
        if size == (72, 168):
            raise BackendError("create it once with `lsabinet export`")

    monkeypatch.setattr(engine, "check_size", check_size)
    picture = noise_image(1, (72, 168))[None]
    backend.prepare_later((72, 168))
    for _ in range(PATIENCE + 3):
        torch.testing.assert_close(backend.infer(picture), plain(picture), rtol=1e-3, atol=1e-3)
    assert backend.name == "openvino"
    assert engine.ran == []
    assert not engine.shapes.is_building((1, 72, 168))
    assert caplog.text.count("PyTorch runs frames of that size in fp32: ") == 1
    with pytest.raises(BackendError, match="lsabinet export"):
        backend.prepare((72, 168))
    assert backend.name == "openvino"


@pytest.mark.parametrize("known", [True, False])
def test_size_without_an_exported_engine(converted, known, noise_image, plain, monkeypatch, caplog, tmp_path):
    """Example: TensorRT, which only runs exported engines. The engine stays chosen and runs its own sizes, even if the
    file of an engine was deleted in the meantime."""
    backend, engine = converted
    monkeypatch.setattr(Converted, "_build", lambda *args: not_exported())
    monkeypatch.setattr(Converted, "builds_itself", not known)

    def not_exported():
        raise NotExportedError("`lsabinet export --to openvino` makes it")

    picture, own = noise_image(1, (72, 168))[None], noise_image(2, (96, 128))[None]
    backend.prepare((72, 168))
    # Frames of a size that keeps arriving have the same effect without ``prepare``.
    other = noise_image(1, (128, 96))[None]
    for _ in range(PATIENCE + 1):
        backend.infer(other)
    if (building := engine.shapes.build((1, 128, 96))) is not None:
        building.exception(60)
    for image in (picture, other, other):
        torch.testing.assert_close(backend.infer(image), plain(image), rtol=1e-3, atol=1e-3)
    assert engine.ran == []
    backend.infer(own)
    assert backend.name == "openvino"
    assert engine.ran == [(1, 96, 128)]
    assert caplog.text.count("PyTorch runs frames of that size in fp32: `lsabinet export --to openvino") == 2
    assert ("building one in the background" in caplog.text) != known
    assert "trying the next engine" not in caplog.text
    assert len(list((tmp_path / "choices").iterdir())) == 1


def test_prepare_later_builds_in_the_background(converted, noise_image):
    backend, engine = converted
    picture = noise_image(1, (72, 168))[None]
    backend.prepare_later((72, 168))
    backend.infer(picture)
    assert engine.ran == []
    until_built(engine, (1, 72, 168))
    backend.infer(picture)
    assert engine.ran == [(1, 72, 168)]
    # A later prepare waits for the running build, and nothing is built twice.
    backend.prepare_later((128, 96))
    backend.prepare((128, 96))
    backend.infer(noise_image(1, (128, 96))[None])
    assert engine.ran == [(1, 72, 168), (1, 128, 96)]
    assert not engine.shapes.is_building((1, 128, 96))


def test_failed_background_build(converted, noise_image, plain, caplog):
    backend, engine = converted
    picture = noise_image(1, (72, 168))[None]
    engine.breaks = True
    backend.prepare_later((72, 168))
    backend.infer(picture)
    until_built(engine, (1, 72, 168))
    torch.testing.assert_close(backend.infer(picture), plain(picture), rtol=1e-3, atol=1e-3)
    assert backend.name == "onnxruntime"
    assert "openvino cannot be built" in caplog.text


def test_close_during_a_build(converted, noise_image):
    backend, engine = converted
    for size in ((72, 168), (128, 96), (96, 96)):
        backend.prepare_later(size)
    backend.close()
    assert engine.source is None
    assert not engine.shapes.is_building((1, 72, 168))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("engine_builder")]
    with pytest.raises(BackendError, match="closed"):
        backend.infer(noise_image(1, (72, 168))[None])


def test_long_build_does_not_delay_close(converted):
    """The result is freed when the build ends, and pending builds never start."""
    backend, engine = converted
    runs, lasts, results = threading.Event(), threading.Event(), []
    build = engine._build

    def build_slowly(shape):
        runs.set()
        assert lasts.wait(60)
        run = build(shape)
        results.append(weakref.ref(run))
        return run

    engine._build = build_slowly
    backend.prepare_later((72, 168))
    backend.prepare_later((128, 96))
    builder = next(thread for thread in threading.enumerate() if thread.name == "engine_builder")
    # The program would wait for a non-daemon thread at exit.
    assert builder.daemon
    assert runs.wait(60)
    begun = time.monotonic()
    backend.close()
    assert time.monotonic() - begun < CLOSE_TIMEOUT_S + 1
    assert builder.is_alive()
    lasts.set()
    builder.join(60)
    assert not builder.is_alive()
    assert len(results) == 1
    gc.collect()
    assert results[0]() is None
    assert engine.shapes.built == []


def test_build_is_not_affected_by_loading_another_network(converted, network, monkeypatch):
    """A running build continues with the network that it was started for."""
    _backend, engine = converted
    other, built_from, runs = dataclasses.replace(network), [], threading.Event()

    def build(self, shape):
        runs.set()
        assert self.may_build.wait(60)
        built_from.append(self.source)

    monkeypatch.setattr(Converted, "_build", build)
    engine.prepare_later((72, 168))
    builder = next(thread for thread in threading.enumerate() if thread.name == "engine_builder")
    assert runs.wait(60)
    ShapedBackend.close(engine)
    ShapedBackend.load(engine, other)
    engine.may_build.set()
    builder.join(60)
    assert engine.source is other
    assert [source is network for source in built_from] == [True]


class FullMemory:
    """Replaces an engine's ``_infer`` by one that runs out of memory with more than ``fits`` images."""

    def __init__(self, engine, fits, error):
        self.infer, self.fits, self.error, self.batches = engine._infer, fits, error, []

    def __call__(self, images):
        self.batches.append(len(images))
        if len(images) > self.fits:
            raise self.error
        return self.infer(images)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("Exception from src/inference: std::bad_alloc"),
        RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 9"),
        MemoryError(),
    ],
    ids=["torch", "torch on the CPU", "openvino", "onnxruntime", "python"],
)
def test_batch_is_halved_when_out_of_memory(converted, noise_image, plain, monkeypatch, caplog, tmp_path, error):
    backend, engine = converted
    engine.may_build.set()
    pictures = np.stack([noise_image(seed, (96, 128)) for seed in range(8)])
    for batch in (1, 2, 4, 8):
        backend.prepare((96, 128), batch)
    memory = FullMemory(engine, 2, error)
    monkeypatch.setattr(engine, "_infer", memory)
    torch.testing.assert_close(backend.infer(pictures), plain(pictures), rtol=1e-3, atol=1e-3)
    backend.infer(pictures)
    # Batch sizes that did not fit are not tried again.
    assert memory.batches.count(8) == 1
    assert memory.batches[-4:] == [2, 2, 2, 2]
    # The engine is still used in this run, for other shapes, and at the next start.
    backend.infer(pictures[:1])
    assert memory.batches[-1] == 1
    assert backend.name == "openvino"
    assert len(list((tmp_path / "choices").iterdir())) == 1
    assert caplog.text.count("ran out of memory") == 1
    assert "trying the next engine" not in caplog.text
    assert "; out of memory" in backend.describe()["chosen"]


def test_pytorch_runs_images_when_the_engine_is_out_of_memory(
    converted, noise_image, plain, monkeypatch, caplog, tmp_path
):
    backend, engine = converted
    engine.may_build.set()
    picture = noise_image(1, (96, 128))[None]
    memory = FullMemory(engine, 0, MemoryError())
    monkeypatch.setattr(engine, "_infer", memory)
    for _ in range(PATIENCE):
        torch.testing.assert_close(backend.infer(picture), plain(picture), rtol=1e-3, atol=1e-3)
    assert backend.name == "openvino"
    assert memory.batches == [1]
    assert engine.ran_plain
    assert len(list((tmp_path / "choices").iterdir())) == 1
    assert caplog.text.count("ran out of memory") == 1
    # Memory is available again.
    memory.fits = 1
    backend.infer(picture)
    backend.infer(picture)
    until_built(engine, (1, 96, 128))
    backend.infer(picture)
    assert memory.batches[-1] == 1
    assert engine.ran[-1] == (1, 96, 128)


def test_pytorch_out_of_memory_loses_only_the_frame(engines, network, noise_image, monkeypatch):
    settings, _ = engines
    for name in ("openvino", "onnxruntime"):
        settings[name] = BackendError("not here")
    backend = load(network)
    assert backend.name == "torch"
    picture = noise_image(1, (96, 128))[None]

    def fail(images):
        raise MemoryError

    with monkeypatch.context() as full:
        full.setattr(backend._backend, "infer", fail)
        with pytest.raises(MemoryError):
            backend.infer(picture)
    assert backend.infer(picture).shape[0] == 1
    assert backend.name == "torch"


def test_replacement_engine_is_compared_with_pytorch(engines, network, images, plain, caplog):
    """It is compared again, because a driver may have been updated since the start."""
    settings, _ = engines
    backend = load(network)
    settings["onnxruntime"] = {"error": 5.0}
    backend._backend.fails_in = ("infer",)
    torch.testing.assert_close(backend.infer(images), plain(images), rtol=1e-3, atol=1e-3)
    assert backend.name == "torch"
    assert "onnxruntime failed (its logits differ from PyTorch's" in caplog.text
