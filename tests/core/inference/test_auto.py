"""backend="auto": the fastest engine that is right, remembered, and left when it fails."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from auto_engines import CLOCK, Converted, load

from lsabinet_core.errors import BackendError
from lsabinet_core.inference import Segmenter, backends
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.backends import auto
from lsabinet_core.inference.backends.auto import AutoBackend
from lsabinet_core.inference.backends.choices import forget_choices

pytestmark = pytest.mark.usefixtures("auto_alone")


def test_takes_the_fastest_and_remembers(engines, network, images, plain, tmp_path, caplog):
    settings, started = engines
    with caplog.at_level(logging.INFO):
        backend = load(network)
    assert backend.name == "openvino" and backend.device == torch.device("cpu") and backend.precision == "fp32"
    figures = backend.choice.milliseconds
    assert list(figures.items()) == [("openvino", 10.0), ("onnxruntime", 20.0), ("torch", 100.0)]
    lines = [record.getMessage() for record in caplog.records if "backend auto" in record.getMessage()]
    assert len(lines) == 1 and "backend auto: openvino, at 96x128 in fp32: openvino" in lines[0]
    assert "openvino 10.0 ms, onnxruntime 20.0 ms, torch 100.0 ms" in lines[0]
    torch.testing.assert_close(backend.infer(images), plain(images), rtol=1e-3, atol=1e-3)
    assert backend.describe()["chosen"].startswith("auto: at 96x128 in fp32")
    (file,) = (tmp_path / "choices").glob("*.json")
    assert json.loads(file.read_text())["choice"]["backend"] == "openvino"

    # The next start asks nobody else, even where another would now be faster.
    settings["openvino"] = {"seconds": 1.0}
    started.clear()
    assert load(network).name == "openvino"
    assert started == ["openvino"]
    forget_choices()
    assert load(network).name == "onnxruntime"


def test_other_questions_are_asked_anew(engines, network, monkeypatch):
    settings, started = engines
    load(network)
    started.clear()
    backend = AutoBackend("cpu", threads=1)
    backend.load(network)
    assert set(started) == set(settings)
    started.clear()
    monkeypatch.setattr("lsabinet_core.inference.backends.choices.FORM", -1)
    load(network)
    assert set(started) == set(settings)


def test_wrong_answers_are_not_fast(engines, network, caplog):
    settings, _ = engines
    settings["openvino"] = {"error": 5.0}
    with caplog.at_level(logging.WARNING):
        backend = load(network)
    assert backend.name == "onnxruntime"
    assert "openvino does not work here (its logits differ from PyTorch's by up to 5" in caplog.text
    settings["onnxruntime"] = {"error": float("nan")}
    forget_choices()
    assert load(network).name == "torch"


@pytest.mark.parametrize(
    "trouble", [{"fails_in": ("prepare",)}, {"fails_in": ("infer",)}, BackendError("not for this device")]
)
def test_a_broken_engine_is_left_out(engines, network, trouble):
    settings, _ = engines
    settings["openvino"] = trouble
    assert load(network).name == "onnxruntime"


def test_a_disk_that_was_full_is_no_verdict(engines, network):
    settings, _ = engines
    settings["openvino"] = {"fails_in": ("prepare",)}
    assert load(network).name == "onnxruntime"
    settings["openvino"] = {}
    assert load(network).name == "openvino"


def test_a_remembered_engine_that_broke(engines, network, images, caplog):
    settings, started = engines
    load(network)
    # Its package is broken now.
    settings["openvino"] = BackendError("openvino does not load")
    with caplog.at_level(logging.WARNING):
        backend = load(network)
    assert backend.name == "onnxruntime"
    assert "openvino does not work here (openvino does not load): the next engine is tried" in caplog.text
    assert backend.infer(images).shape[0] == 3
    # Or it loads, and cannot build: frames are waiting, so the next one is taken without comparing.
    forget_choices()
    settings["openvino"] = {}
    load(network)
    settings["openvino"] = {"fails_in": ("prepare",)}
    started.clear()
    backend = load(network)
    backend.prepare((96, 128))
    assert backend.name == "onnxruntime" and started == ["openvino", "onnxruntime"]
    started.clear()
    assert load(network).name == "onnxruntime" and set(started) == set(settings)


def test_an_engine_that_breaks_while_frames_arrive(engines, network, images, plain, caplog):
    settings, _ = engines
    backend = load(network)
    settings["onnxruntime"] = {"fails_in": ("prepare",)}
    backend._backend.fails_in = ("infer",)
    with caplog.at_level(logging.WARNING):
        logits = backend.infer(images)
    torch.testing.assert_close(logits, plain(images), rtol=1e-3, atol=1e-3)
    assert backend.name == "torch"
    assert "openvino does not work" in caplog.text and "torch runs from now on" in caplog.text
    backend._backend.fails_in = ("infer",)
    with pytest.raises(RuntimeError, match="torch broke"):
        backend.infer(images)


@pytest.mark.parametrize("content", ["{", "[]", '{"choice": {"backend": "openvino"}}'])
def test_a_damaged_note_is_no_obstacle(engines, network, tmp_path, caplog, content):
    load(network)
    (file,) = (tmp_path / "choices").glob("*.json")
    file.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert load(network).name == "openvino"
    assert "is damaged" in caplog.text


def test_no_engine_at_all(network):
    """With the real engines: nobody made an int8 form, and how that is done is said."""
    backend = AutoBackend("cpu", "int8")
    with pytest.raises(
        BackendError, match=r"no engine for int8 on cpu \(openvino: .*lsabinet export .*torch: expected precision"
    ):
        backend.load(network)


def test_nothing_but_pytorch(engines, network, images, plain, monkeypatch, caplog):
    settings, started = engines
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with caplog.at_level(logging.INFO):
        backend = load(network)
    assert backend.name == "torch" and backend.choice.milliseconds == {}
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("backend auto: torch, at 96x128 in fp32: the only engine, openvino: not installed")
    torch.testing.assert_close(backend.infer(images), plain(images), rtol=1e-3, atol=1e-3)
    # That is remembered, too.
    started.clear()
    assert load(network).name == "torch" and started == ["torch"]
    # Once it was compiled, which somebody has to ask for, that is compared, too.
    settings["torch-compile"] = {"seconds": 0.05}
    forget_choices()
    assert load(network).name == "torch-compile"
    backend = AutoBackend("cpu", "int8")
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match="int8 on cpu .*openvino: not installed.*torch: expected precision"):
        backend.load(network)


def test_comparing_ends_in_time(engines, network, monkeypatch):
    settings, _ = engines
    monkeypatch.setattr("lsabinet_core.inference.backends.auto.ROUNDS", 100)
    settings["torch"]["seconds"] = 60.0
    before = CLOCK.now
    assert load(network).name == "openvino"
    # Its answers to openvino's and onnxruntime's, and one round.
    assert CLOCK.now - before < 3 * 60 + 1


@pytest.mark.parametrize("itself", [True, False])
def test_who_builds_an_engine_is_said(engines, network, monkeypatch, itself):
    create = backends.create_backend

    class Slow(Converted):
        slow, builds_itself = True, itself

    def slow_openvino(name, **options):
        if name == "openvino":
            return Slow(options["device"], options["precision"])
        return create(name, **options)

    monkeypatch.setattr(backends, "create_backend", slow_openvino)
    command = "`lsabinet export --to openvino --precision fp32 --size 96x128 --weights W`"
    by = "a start with backend openvino" if itself else command
    assert f"openvino: not built yet, {by} builds it" in load(network).choice.reason


def test_a_package_that_does_not_load(engines, network, monkeypatch, caplog):
    settings, _ = engines
    monkeypatch.setitem(auto.CANDIDATES, "cpu", ("tensorrt", "torch"))
    monkeypatch.setattr(auto, "is_installed", lambda name: True)
    settings["tensorrt"] = OSError("libnvinfer.so.10: cannot open shared object file")
    assert load(network).name == "torch"
    assert caplog.text.count("tensorrt does not work here (libnvinfer.so.10: cannot open") == 1


@pytest.mark.parametrize("name", ["auto", "openvino"])
def test_int8_that_was_made_for_the_cameras_size_only(network, noise_image, name, caplog):
    """A 96x128 network on wide frames; what is kept as int8 is not quantised here."""
    from lsabinet_core.inference.backends.openvino_ import store_engine
    from lsabinet_core.inference.convert import openvino_

    store_engine(network, (72, 168), "int8", openvino_.convert(network, (72, 168)), info=None)
    frame = noise_image(3, (144, 336))
    with Segmenter(network.model, network.metadata, device="cpu", backend="torch") as segmenter:
        expected = segmenter.segment(frame).mask
    with Segmenter(network.model, network.metadata, device="cpu", backend=name, precision="int8") as segmenter:
        assert segmenter.backend == "openvino" and segmenter.precision == "int8"
        # As the node does, before it knows its camera.
        segmenter.warm_up()
        assert segmenter._backend.holds((1, 72, 168))
        assert (segmenter.segment(frame).mask == expected).mean() > 0.999
        assert "PyTorch" not in segmenter.describe().get("chosen", "") and not caplog.records
        with pytest.raises(BackendError, match="no int8 form of these weights for 96x128: make it once"):
            segmenter.warm_up((96, 128))
    # Where no other size will come, that is said at once.
    options = {"backend": name, "precision": "int8", "input_size": (96, 128)}
    with pytest.raises(BackendError, match="no int8 form of these weights for 96x128: make it once"):
        with Segmenter(network.model, network.metadata, device="cpu", **options) as segmenter:
            segmenter.warm_up()


def test_with_the_real_engines(network, monkeypatch, noise_image):
    """As a user has them: the same masks as PyTorch, and what takes long to build is not built."""
    from lsabinet_core.inference.convert import onnx_, openvino_

    monkeypatch.setattr(onnx_, "convert", lambda *args, **options: pytest.fail("converted while a user waits"))
    frames = [noise_image(seed, (192, 256)) for seed in range(4)]
    with Segmenter(network.model, network.metadata, device="cpu", backend="torch") as segmenter:
        expected = segmenter.segment(frames)
    with Segmenter(network.model, network.metadata, device="cpu") as segmenter:
        found = segmenter.segment(frames)
        description = segmenter.describe()
        assert segmenter.backend == description["backend"] in ("openvino", "torch")
        for slow in ("onnxruntime", "torch-compile"):
            assert f"{slow}: not built yet, a start with backend {slow} builds it" in description["chosen"]
        # Nor is OpenVINO's converted for a size that comes in between.
        monkeypatch.setattr(openvino_, "convert", lambda *args, **options: pytest.fail("converted between frames"))
        assert segmenter.segment(noise_image(9, (128, 96))).mask.shape == (128, 96)
    masks = [np.stack([result.mask for result in results]) for results in (found, expected)]
    assert (masks[0] == masks[1]).mean() > 0.999
    for result, right in zip(found, expected, strict=True):
        assert np.abs(result.confidence.astype(int) - right.confidence).mean() < 0.5


def test_the_default_is_known_without_pytorch():
    program = (
        "import sys; from lsabinet_core.inference.backends import DEFAULT_BACKEND, list_backends; "
        "assert DEFAULT_BACKEND in list_backends(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_closed_and_exports(engines, network, images, tmp_path):
    backend = load(network)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.infer(images)
    with pytest.raises(BackendError, match="not for exports"):
        backend.load(Artefact(tmp_path / "a.onnx", "onnx", None))
