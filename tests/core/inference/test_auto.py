"""backend="auto": the fastest correct engine is chosen, cached, and replaced when it fails."""

import json
import logging
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from auto_engines import CLOCK, Converted, load

from lsabinet_core.errors import BackendError
from lsabinet_core.inference import Segmenter, backends
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.backends import auto, trial
from lsabinet_core.inference.backends.auto import AutoBackend
from lsabinet_core.inference.backends.choices import forget_choices
from lsabinet_core.inference.backends.engines import ENGINES, Engine

pytestmark = pytest.mark.usefixtures("auto_alone")


def test_fastest_engine_is_chosen_and_cached(engines, network, images, plain, tmp_path, caplog):
    settings, started = engines
    with caplog.at_level(logging.INFO):
        backend = load(network)
    assert backend.name == "openvino"
    assert backend.device == torch.device("cpu")
    assert backend.precision == "fp32"
    figures = backend.choice.milliseconds
    assert list(figures.items()) == [("openvino", 10.0), ("onnxruntime", 20.0), ("torch", 100.0)]
    lines = [record.getMessage() for record in caplog.records if "backend auto" in record.getMessage()]
    assert len(lines) == 1
    assert "backend auto: openvino, at 96x128 in fp32: openvino" in lines[0]
    assert "openvino 10.0 ms, onnxruntime 20.0 ms, torch 100.0 ms" in lines[0]
    torch.testing.assert_close(backend.infer(images), plain(images), rtol=1e-3, atol=1e-3)
    assert backend.describe()["chosen"].startswith("auto: at 96x128 in fp32")
    (file,) = (tmp_path / "choices").glob("*.json")
    assert json.loads(file.read_text())["choice"]["backend"] == "openvino"

    # The next start uses the cached choice, even if another engine would now be faster.
    settings["openvino"] = {"seconds": 1.0}
    started.clear()
    assert load(network).name == "openvino"
    assert started == ["openvino"]
    forget_choices()
    assert load(network).name == "onnxruntime"


def test_cached_choice_depends_on_the_settings(engines, network, monkeypatch):
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


def test_new_engine_is_compared_despite_a_cached_choice(engines, network, monkeypatch):
    settings, started = engines
    load(network)
    settings["newest"] = {}
    monkeypatch.setitem(ENGINES, "newest", Engine("no.module", "None", auto_on=("cpu",)))
    started.clear()
    load(network)
    assert set(started) == set(settings)


def test_fast_engine_with_wrong_logits_is_rejected(engines, network, caplog):
    settings, _ = engines
    settings["openvino"] = {"error": 5.0}
    with caplog.at_level(logging.WARNING):
        backend = load(network)
    assert backend.name == "onnxruntime"
    assert "openvino failed (its logits differ from PyTorch's by up to 5" in caplog.text
    settings["onnxruntime"] = {"error": float("nan")}
    forget_choices()
    assert load(network).name == "torch"


@pytest.mark.parametrize(
    "trouble", [{"fails_in": ("prepare",)}, {"fails_in": ("infer",)}, BackendError("not for this device")]
)
def test_failing_engine_is_not_chosen(engines, network, trouble):
    settings, _ = engines
    settings["openvino"] = trouble
    assert load(network).name == "onnxruntime"


def test_temporary_failure_is_not_cached(engines, network):
    settings, _ = engines
    settings["openvino"] = {"fails_in": ("prepare",)}
    assert load(network).name == "onnxruntime"
    settings["openvino"] = {}
    assert load(network).name == "openvino"


def test_cached_engine_that_fails_is_replaced(engines, network, images, caplog):
    settings, started = engines
    load(network)
    # The package of the cached engine is now broken.
    settings["openvino"] = BackendError("openvino does not load")
    with caplog.at_level(logging.WARNING):
        backend = load(network)
    assert backend.name == "onnxruntime"
    assert "openvino failed (openvino does not load); trying the next engine" in caplog.text
    assert backend.infer(images).shape[0] == 3
    # If an engine loads but cannot be built, frames are waiting, so the next correct engine is used without timing.
    forget_choices()
    settings["openvino"] = {}
    load(network)
    settings["openvino"] = {"fails_in": ("prepare",)}
    started.clear()
    backend = load(network)
    backend.prepare((96, 128))
    assert backend.name == "onnxruntime"
    assert started == ["openvino", "torch", "onnxruntime"]
    started.clear()
    assert load(network).name == "onnxruntime"
    assert set(started) == set(settings)


def test_engine_that_fails_while_running_is_replaced(engines, network, images, plain, caplog):
    settings, _ = engines
    backend = load(network)
    settings["onnxruntime"] = {"fails_in": ("prepare",)}
    backend._backend.fails_in = ("infer",)
    with caplog.at_level(logging.WARNING):
        logits = backend.infer(images)
    torch.testing.assert_close(logits, plain(images), rtol=1e-3, atol=1e-3)
    assert backend.name == "torch"
    assert "openvino failed" in caplog.text
    assert "torch runs from now on" in caplog.text
    backend._backend.fails_in = ("infer",)
    with pytest.raises(RuntimeError, match="torch broke"):
        backend.infer(images)


@pytest.mark.parametrize("content", ["{", "[]", '{"choice": {"backend": "openvino"}}'])
def test_corrupt_choice_file_is_ignored(engines, network, tmp_path, caplog, content):
    load(network)
    (file,) = (tmp_path / "choices").glob("*.json")
    file.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert load(network).name == "openvino"
    assert "is corrupt" in caplog.text


def test_no_engine_for_uncalibrated_int8(network):
    """With the real engines, if no int8 model was exported, the error explains how to export one."""
    backend = AutoBackend("cpu", "int8")
    with pytest.raises(
        BackendError, match=r"no engine for int8 on cpu \(openvino: .*lsabinet export .*torch: expected precision"
    ):
        backend.load(network)


def test_pytorch_as_the_only_engine(engines, network, images, plain, monkeypatch, caplog):
    settings, started = engines
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with caplog.at_level(logging.INFO):
        backend = load(network)
    assert backend.name == "torch"
    assert backend.choice.milliseconds == {}
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("backend auto: torch, at 96x128 in fp32: the only engine, openvino: not installed")
    torch.testing.assert_close(backend.infer(images), plain(images), rtol=1e-3, atol=1e-3)
    # This choice is cached as well.
    started.clear()
    assert load(network).name == "torch"
    assert started == ["torch"]
    # Once torch-compile has been built, which a user must request, it takes part in the comparison.
    settings["torch-compile"] = {"seconds": 0.05}
    forget_choices()
    assert load(network).name == "torch-compile"
    backend = AutoBackend("cpu", "int8")
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"int8 on cpu .*openvino: not installed.*torch: expected precision"):
        backend.load(network)


def test_comparison_has_a_time_limit(engines, network, monkeypatch):
    settings, _ = engines
    monkeypatch.setattr("lsabinet_core.inference.backends.trial.ROUNDS", 100)
    settings["torch"]["seconds"] = 60.0
    before = CLOCK.now
    assert load(network).name == "openvino"
    # PyTorch, at 60 s per call, runs for two comparisons of the logits and one round of timing.
    assert CLOCK.now - before < 3 * 60 + 1


@pytest.mark.parametrize("itself", [True, False])
def test_unbuilt_engine_is_reported_with_its_command(engines, network, monkeypatch, itself):
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


def test_package_that_does_not_load_is_reported(engines, network, monkeypatch, caplog):
    settings, _ = engines
    monkeypatch.setattr(auto, "candidates", lambda device_type: ("tensorrt", "torch"))
    monkeypatch.setitem(ENGINES, "tensorrt", replace(ENGINES["tensorrt"], distributions=()))
    settings["tensorrt"] = OSError("libnvinfer.so.10: cannot open shared object file")
    assert load(network).name == "torch"
    assert caplog.text.count("tensorrt failed (libnvinfer.so.10: cannot open") == 1


@pytest.mark.parametrize("name", ["auto", "openvino"])
def test_int8_exported_for_the_camera_size_only(network, noise_image, name, caplog, openvino_defaults):
    """A 96x128 network on wide frames; the cached int8 model is not actually quantised."""
    from lsabinet_core.inference.backends.openvino_ import store_engine
    from lsabinet_core.inference.convert import openvino_

    openvino_defaults("f32")
    store_engine(network, (72, 168), "int8", openvino_.convert(network, (72, 168)), info=None)
    frame = noise_image(3, (144, 336))
    with Segmenter(network.model, network.metadata, device="cpu", backend="torch") as segmenter:
        expected = segmenter.segment(frame).mask
    with Segmenter(network.model, network.metadata, device="cpu", backend=name, precision="int8") as segmenter:
        assert segmenter.backend == "openvino"
        assert segmenter.precision == "int8"
        # A warm-up as in the node before it knows the camera's size.
        segmenter.warm_up()
        assert segmenter._backend.holds((1, 72, 168))
        assert (segmenter.segment(frame).mask == expected).mean() > 0.999
        assert "PyTorch" not in segmenter.describe().get("chosen", "")
        assert not caplog.records
        with pytest.raises(BackendError, match=r"no int8 model of these weights for 96x128: .*lsabinet export"):
            segmenter.warm_up((96, 128))
    # If the input size is fixed, the error is raised at once.
    options = {"backend": name, "precision": "int8", "input_size": (96, 128)}
    with (
        pytest.raises(BackendError, match=r"no int8 model of these weights for 96x128: .*lsabinet export"),
        Segmenter(network.model, network.metadata, device="cpu", **options) as segmenter,
    ):
        segmenter.warm_up()


def test_real_engines(network, monkeypatch, noise_image):
    """With the real engines, the masks are those of PyTorch, and slow engines are not built."""
    from lsabinet_core.inference.convert import onnx_, openvino_

    monkeypatch.setattr(onnx_, "convert", lambda *args, **options: pytest.fail("converted during the start"))
    frames = [noise_image(seed, (192, 256)) for seed in range(4)]
    with Segmenter(network.model, network.metadata, device="cpu", backend="torch") as segmenter:
        expected = segmenter.segment(frames)
    with Segmenter(network.model, network.metadata, device="cpu", precision="fp32") as segmenter:
        found = segmenter.segment(frames)
        description = segmenter.describe()
        assert segmenter.backend == description["backend"] in ("openvino", "torch")
        for slow in ("onnxruntime", "torch-compile"):
            assert f"{slow}: not built yet, a start with backend {slow} builds it" in description["chosen"]
        # A single frame of another size does not cause a conversion for OpenVINO.
        monkeypatch.setattr(openvino_, "convert", lambda *args, **options: pytest.fail("converted between frames"))
        assert segmenter.segment(noise_image(9, (128, 96))).mask.shape == (128, 96)
    masks = [np.stack([result.mask for result in results]) for results in (found, expected)]
    assert (masks[0] == masks[1]).mean() > 0.999
    for result, right in zip(found, expected, strict=True):
        assert np.abs(result.confidence.astype(int) - right.confidence).mean() < 0.5


@pytest.fixture
def bf16(engines, monkeypatch):
    """``engines`` on a processor with bf16, in which openvino and torch are twice as fast, with the same logits."""
    settings, started = engines
    monkeypatch.setattr(auto, "computes_in_bf16", lambda device: True)
    settings |= {"openvino bf16": {"seconds": 0.005}, "torch bf16": {"seconds": 0.05}}
    settings["onnxruntime bf16"] = BackendError("no bf16")
    return settings, started


def test_bf16_is_chosen_if_faster_and_correct(bf16, network, images, tmp_path, caplog):
    _, started = bf16
    with caplog.at_level(logging.INFO):
        backend = load(network)
    assert (backend.name, backend.precision) == ("openvino", "bf16")
    assert backend.describe()["precision"] == "bf16"
    # PyTorch is not tried in bf16, because OpenVINO works in it.
    figures = {"openvino bf16": 5.0, "openvino": 10.0, "onnxruntime": 20.0, "torch": 100.0}
    assert backend.choice.milliseconds == figures
    (line,) = [record.getMessage() for record in caplog.records if "backend auto" in record.getMessage()]
    assert "openvino, at 96x128 in bf16: openvino bf16 5.0 ms, openvino 10.0 ms" in line
    (file,) = (tmp_path / "choices").glob("*.json")
    assert json.loads(file.read_text())["choice"]["precision"] == "bf16"
    # The choice is cached, and does not affect an explicit fp32.
    started.clear()
    again = load(network)
    assert (started, again.precision, again.name) == (["openvino"], "bf16", "openvino")
    assert load(network, "fp32").precision == "fp32"
    # If it fails while running, the next engine runs in fp32.
    backend._backend.fails_in = ("infer",)
    assert backend.infer(images).shape[0] == 3
    assert (backend.name, backend.precision) == ("onnxruntime", "fp32")


@pytest.mark.parametrize(
    ("trouble", "note"),
    [
        ({"seconds": 0.0095}, "openvino bf16 9.5 ms"),
        ({"seconds": 0.001, "fails_in": ("prepare",)}, "openvino bf16: openvino broke in prepare"),
        ({"seconds": 0.001, "error": 1e3}, "openvino bf16: its logits differ"),
    ],
)
def test_bf16_is_not_chosen_if_the_gain_is_small_or_it_fails(bf16, network, trouble, note):
    settings, _ = bf16
    settings |= {"openvino bf16": trouble, "torch bf16": {"seconds": 0.2}}
    backend = load(network)
    assert (backend.name, backend.precision) == ("openvino", "fp32")
    assert note in backend.choice.reason


def test_bf16_must_give_the_masks_of_fp32_on_streets(bf16, network, images, plain, monkeypatch):
    """The logits differ by less than the tolerance, but change the classes of street scenes."""
    settings, _ = bf16
    logits = plain(images)
    shift = torch.zeros(1, 11, 1, 1)
    shift[:, int(logits.mean((0, 2, 3)).argmin())] = float(logits.max() - logits.min())
    settings["openvino bf16"] = settings["torch bf16"] = {"seconds": 0.001, "error": shift}
    monkeypatch.setitem(trial.TOLERANCE, "bf16", float("inf"))
    backend = load(network)
    assert backend.precision == "fp32"
    assert "of the pixels have the class of fp32, expected 99 %" in backend.choice.reason


def test_the_default_backend_is_known_without_importing_pytorch():
    program = (
        "import sys; from lsabinet_core.inference.backends import DEFAULT_BACKEND, list_backends; "
        "assert DEFAULT_BACKEND in list_backends(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_closed_backend_and_exported_models_are_rejected(engines, network, images, tmp_path):
    backend = load(network)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.infer(images)
    with pytest.raises(BackendError, match="not exported models"):
        backend.load(Artefact(tmp_path / "a.onnx", "onnx", None))
