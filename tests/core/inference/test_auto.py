"""backend="auto": the fastest engine that is right, remembered, and left when it fails."""

import json
import logging

import pytest
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference import Segmenter, backends
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.backends.auto import AutoBackend, forget_choices
from lsabinet_core.inference.backends.torch_ import TorchBackend


class Clock:
    """Goes by what engines say they take, so that the machine's own speed does not matter."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


CLOCK = Clock()


class Engine(TorchBackend):
    """PyTorch under another name that takes ``seconds``, with an error in its logits, or failing."""

    def __init__(self, name, seconds=0.01, error=0.0, fails_in=(), **options):
        super().__init__(**options)
        self.name, self.seconds, self.error, self.fails_in = name, seconds, error, fails_in

    def prepare(self, size, batch=1):
        self._fail("prepare")
        super().prepare(size, batch)

    def infer(self, images):
        self._fail("infer")
        CLOCK.now += self.seconds
        return super().infer(images) + self.error

    def _fail(self, where):
        if where in self.fails_in:
            raise RuntimeError(f"{self.name} broke in {where}\nwith a long trace")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("lsabinet_core.inference.backends.auto.WARM_UP_RUNS", 1)
    monkeypatch.setattr("lsabinet_core.inference.backends.auto.ROUNDS", 3)


@pytest.fixture
def engines(monkeypatch):
    """Settings of the engines by name, and the names that were started, in order."""
    settings = {"openvino": {}, "onnxruntime": {"seconds": 0.02}, "torch": {"seconds": 0.1}}
    started = []

    def create(name, *, device, precision, threads=None):
        if threads is None:
            # What the engines are compared with.
            return TorchBackend(device, precision)
        started.append(name)
        if isinstance(settings[name], Exception):
            raise settings[name]
        return Engine(name, device=device, precision=precision, **settings[name])

    monkeypatch.setattr(backends, "create_backend", create)
    monkeypatch.setattr("lsabinet_core.inference.backends.auto.time", CLOCK)
    return settings, started


def load(network) -> AutoBackend:
    backend = AutoBackend("cpu")
    backend.load(network)
    return backend


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
    assert set(started) == {"openvino", "onnxruntime", "torch"}
    started.clear()
    monkeypatch.setattr("lsabinet_core.inference.backends.auto.FORM", -1)
    load(network)
    assert set(started) == {"openvino", "onnxruntime", "torch"}


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


def test_a_remembered_engine_that_broke(engines, network, images, caplog):
    settings, _ = engines
    load(network)
    settings["openvino"] = {"fails_in": ("prepare",)}
    with caplog.at_level(logging.WARNING):
        backend = load(network)
    assert backend.name == "onnxruntime"
    assert "openvino does not work here (openvino broke in prepare): the next engine is tried" in caplog.text
    assert backend.infer(images).shape[0] == 3


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


def test_no_engine_at_all(engines, network):
    settings, _ = engines
    for name in settings:
        settings[name] = BackendError(f"{name} lacks something")
    with pytest.raises(BackendError, match="no engine for fp32 on cpu .*openvino lacks something.*torch lacks"):
        load(network)


def test_what_is_not_installed_is_not_missed(engines, network, monkeypatch, caplog):
    _, started = engines
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        backend = load(network)
    assert backend.name == "torch" and not caplog.text
    assert "openvino" not in started and "openvino: not installed" in backend.choice.reason


def test_long_builds_are_not_begun(network, monkeypatch):
    """With the real engines: ONNX Runtime's form does not exist in this cache, and takes long to make."""
    from lsabinet_core.inference.convert import onnx_

    monkeypatch.setattr(onnx_, "convert", lambda *args, **options: pytest.fail("converted while a user waits"))
    with Segmenter(network.model, network.metadata, device="cpu", backend="auto") as segmenter:
        description = segmenter.describe()
        assert segmenter.backend == description["backend"] in ("openvino", "torch")
        assert "onnxruntime: not built yet" in description["chosen"]


def test_closed_and_exports(engines, network, images, tmp_path):
    backend = load(network)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.infer(images)
    with pytest.raises(BackendError, match="not for exports"):
        backend.load(Artefact(tmp_path / "a.onnx", "onnx", None))
