"""backend="auto" while frames arrive: none of them waits for an engine."""

import threading

import pytest
import torch
from auto_engines import Converted, until_built

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.backends.auto import PATIENCE
from lsabinet_core.inference.backends.common import NotExportedError


def test_frames_of_other_sizes_do_not_wait_for_a_conversion(converted, noise_image, plain, caplog):
    backend, engine = converted
    sizes = [(96, 128), (72, 168), (128, 96)]
    pictures = {size: noise_image(1, size)[None] for size in sizes}
    for size in sizes:
        torch.testing.assert_close(backend.infer(pictures[size]), plain(pictures[size]), rtol=1e-3, atol=1e-3)
    # What it was compared at is built; PyTorch ran the others.
    assert engine.ran == [(1, 96, 128)]
    assert "PyTorch for sizes" in backend.describe()["chosen"]
    # A size that keeps coming is worth it, and is built while PyTorch goes on.
    for _ in range(PATIENCE + 3):
        backend.infer(pictures[128, 96])
    assert engine.ran[1:] == [] and caplog.text.count("no openvino for 1 x 128x96, which keep coming") == 1
    command = "`lsabinet export --to openvino --precision fp32 --size 128x96 --weights W`"
    assert f"{command} or a warm-up at that size builds it beforehand" in caplog.text
    until_built(engine, (1, 128, 96))
    torch.testing.assert_close(backend.infer(pictures[128, 96]), plain(pictures[128, 96]), rtol=1e-3, atol=1e-3)
    assert engine.ran[1:] == [(1, 128, 96)]
    backend.prepare((72, 168))
    backend.infer(pictures[72, 168])
    assert engine.ran[2:] == [(1, 72, 168)]


def test_a_shape_that_others_have_displaced_is_built_again_beside_the_frames(converted, noise_image, monkeypatch):
    backend, engine = converted
    monkeypatch.setattr("lsabinet_core.inference.backends.common.MOST_SHAPES", 2)
    engine.may_build.set()
    for size in ((72, 168), (128, 96), (80, 80)):
        backend.prepare(size)
    assert not backend.holds((1, 72, 168)) and backend.holds((1, 128, 96)) and backend.holds((1, 80, 80))
    engine.may_build.clear()
    picture = noise_image(1, (72, 168))[None]
    for _ in range(PATIENCE + 2):
        backend.infer(picture)
    assert engine.ran == []
    until_built(engine, (1, 72, 168))
    backend.infer(picture)
    assert engine.ran == [(1, 72, 168)]


def test_a_size_that_the_engine_cannot_have(converted, noise_image, plain, monkeypatch, caplog):
    """As in int8, which has to be calibrated first: who can wait is told, frames go on in fp32."""
    backend, engine = converted

    def check_size(size):
        if size == (72, 168):
            raise BackendError("make it once with `lsabinet export`")

    monkeypatch.setattr(engine, "check_size", check_size)
    picture = noise_image(1, (72, 168))[None]
    backend.prepare_later((72, 168))
    for _ in range(PATIENCE + 3):
        torch.testing.assert_close(backend.infer(picture), plain(picture), rtol=1e-3, atol=1e-3)
    assert backend.name == "openvino" and engine.ran == [] and not engine._building
    assert caplog.text.count("PyTorch runs frames of that size in fp32: make it once") == 1
    with pytest.raises(BackendError, match="make it once"):
        backend.prepare((72, 168))
    assert backend.name == "openvino"


@pytest.mark.parametrize("known", [True, False])
def test_a_size_that_the_engine_was_not_exported_for(
    converted, known, noise_image, plain, monkeypatch, caplog, tmp_path
):
    """As TensorRT, which builds nothing: it goes on with its own sizes, and stays the choice; also where what it had is
    gone when it is needed."""
    backend, engine = converted
    monkeypatch.setattr(Converted, "_build", lambda *args: not_exported())
    monkeypatch.setattr(Converted, "builds_itself", not known)

    def not_exported():
        raise NotExportedError("`lsabinet export --to openvino` makes it")

    picture, own = noise_image(1, (72, 168))[None], noise_image(2, (96, 128))[None]
    backend.prepare((72, 168))
    # And by itself, for frames of a size that keeps coming.
    other = noise_image(1, (128, 96))[None]
    for _ in range(PATIENCE + 1):
        backend.infer(other)
    if (building := engine._building.get((1, 128, 96))) is not None:
        building.exception(60)
    for image in (picture, other, other):
        torch.testing.assert_close(backend.infer(image), plain(image), rtol=1e-3, atol=1e-3)
    assert engine.ran == []
    backend.infer(own)
    assert backend.name == "openvino" and engine.ran == [(1, 96, 128)]
    assert caplog.text.count("PyTorch runs frames of that size in fp32: `lsabinet export --to openvino") == 2
    assert ("it is built beside them" in caplog.text) != known
    assert "does not work here" not in caplog.text and len(list((tmp_path / "choices").iterdir())) == 1


def test_what_is_prepared_later_is_built_beside_the_first_frame(converted, noise_image):
    backend, engine = converted
    picture = noise_image(1, (72, 168))[None]
    backend.prepare_later((72, 168))
    backend.infer(picture)
    assert engine.ran == []
    until_built(engine, (1, 72, 168))
    backend.infer(picture)
    assert engine.ran == [(1, 72, 168)]
    # Whoever has the time waits for it, and nothing is built twice.
    backend.prepare_later((128, 96))
    backend.prepare((128, 96))
    backend.infer(noise_image(1, (128, 96))[None])
    assert engine.ran == [(1, 72, 168), (1, 128, 96)] and not engine._building


def test_an_engine_that_cannot_be_built_beside_the_frames(converted, noise_image, plain, caplog):
    backend, engine = converted
    picture = noise_image(1, (72, 168))[None]
    engine.breaks = True
    backend.prepare_later((72, 168))
    backend.infer(picture)
    until_built(engine, (1, 72, 168))
    torch.testing.assert_close(backend.infer(picture), plain(picture), rtol=1e-3, atol=1e-3)
    assert backend.name == "onnxruntime" and "openvino cannot be built" in caplog.text


def test_closed_while_an_engine_is_being_built(converted, noise_image):
    backend, engine = converted
    for size in ((72, 168), (128, 96), (96, 96)):
        backend.prepare_later(size)
    backend.close()
    assert engine.source is None and not engine._building
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("engine_builder")]
    with pytest.raises(BackendError, match="closed"):
        backend.infer(noise_image(1, (72, 168))[None])
