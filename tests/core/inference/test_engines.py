"""Every engine that runs on the CPU against plain PyTorch code."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from lsabinet_core.cores import usable_cores
from lsabinet_core.errors import BackendError
from lsabinet_core.inference import Segmenter
from lsabinet_core.inference.backends import create_backend, list_backends
from lsabinet_core.inference.cache import EngineCache
from lsabinet_core.inference.parity import compare

ON_CPU = ("torch", "openvino", "onnxruntime")


@pytest.mark.parametrize("name", ON_CPU)
def test_logits_match_the_network(name, start, network, plain, images):
    backend = start(name, network)
    backend.prepare((96, 128))
    expected = plain(images)
    for count in (1, 3):
        found = backend.infer(images[:count]).clone()
        assert found.dtype == torch.float32
        assert found.device.type == "cpu"
        assert (found - expected[:count]).abs().max() < 1e-4 * (expected.max() - expected.min())
    assert backend.name == name
    assert backend.precision == "fp32"
    description = backend.describe()
    assert set(description) == {"backend", "engine", "device", "device_name", "precision"}
    assert description["engine"]
    assert description["device_name"]


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_masks_agree_for_every_engine(name, random_weights, noise_image):
    frames = [noise_image(seed, (120, 160)) for seed in range(3)]
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch") as segmenter:
        expected = segmenter.segment(frames)
    with Segmenter.from_pretrained(random_weights, device="cpu", backend=name, threads=1) as segmenter:
        segmenter.warm_up((120, 160))
        for found, right in zip(segmenter.segment(frames), expected, strict=True):
            assert (found.mask != right.mask).mean() < 1e-3
            assert np.abs(found.confidence.astype(int) - right.confidence).mean() < 0.5
        # A read-only frame of the network's own size, which is passed on without a copy.
        frame = noise_image(5, (96, 128))
        frame.setflags(write=False)
        once = segmenter.segment(frame).mask
        np.testing.assert_array_equal(segmenter.segment(frame).mask, once)
        assert segmenter.describe()["backend"] == name


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    # fp16 only affects storage on the CPU: weights are rounded once.
    [("fp16", 0.01), ("bf16", 0.1)],
)
@pytest.mark.parametrize("again", [False, True], ids=["built", "from disk"])
def test_openvino_in_reduced_precision(precision, tolerance, again, start, network, plain, images):
    capabilities = create_backend("openvino", device="cpu")._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and "BF16" not in capabilities:
        with pytest.raises(BackendError, match="no bf16 instructions"):
            start("openvino", network, precision="bf16")
        return
    parity = compare(plain, start("openvino", network, precision=precision).infer, images)
    assert 1e-5 < parity.relative_error < tolerance
    # The classes of an untrained network are nearly tied.
    assert parity.agreement > 0.93


def test_openvino_models_are_cached(start, network, images, monkeypatch, caplog):
    from lsabinet_core.inference.backends.openvino_ import COMPILED, FILE, OpenVINOBackend, compiled_key, engine_key
    from lsabinet_core.inference.convert import openvino_

    backend = start("openvino", network)
    expected = backend.infer(images).clone()
    done = []
    for owner, name in ((openvino_, "convert"), (OpenVINOBackend, "_compile")):
        original = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args, name=name, original=original: done.append(name) or original(*args)
        )
    cache = EngineCache()
    converted = cache.find(engine_key(network, (96, 128), "fp32")) / FILE
    compiled = cache.find(compiled_key(network, (3, 96, 128), "fp32", backend._core)) / COMPILED
    for damaged, built in (
        ([], []),
        ([compiled], ["_compile"]),
        ([compiled, converted], ["_compile", "convert"]),
    ):
        for file in damaged:
            file.write_text("<net/>")
        done.clear()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            torch.testing.assert_close(start("openvino", network).infer(images), expected, rtol=0, atol=1e-3)
        assert done == built
        assert caplog.text.count("is damaged") == len(damaged)


def test_openvino_pins_threads_only_on_all_cores(start, network, monkeypatch):
    """With fewer threads, the system selects the cores; otherwise all programs would pin theirs to the first cores."""
    cores = usable_cores()
    for usable in (cores + 1, cores, cores + 1):
        monkeypatch.setattr("lsabinet_core.inference.backends.openvino_.visible_cores", lambda usable=usable: usable)
        compiled = start("openvino", network, threads=cores)._compiled((1, 96, 128))
        assert compiled.get_property("ENABLE_CPU_PINNING") == (usable == cores)
        assert compiled.get_property("INFERENCE_NUM_THREADS") == cores


def test_openvino_int8_requires_an_export(start, network, tmp_path, monkeypatch):
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path))
    with pytest.raises(BackendError, match="lsabinet export --to openvino --precision int8 --size 96x128"):
        start("openvino", network, precision="int8").prepare((96, 128))


@pytest.mark.parametrize("threads", [0, 1])
def test_thread_limit_applies_to_compiler_processes(start, network, threads, monkeypatch):
    import torch._inductor.config as config

    seen = []
    monkeypatch.setattr(torch, "compile", lambda module, **options: seen.append(config.compile_threads) or module)
    with config.patch(compile_threads=7):
        start("torch-compile", network, threads=threads).prepare((96, 128))
        assert seen == [threads or 7]
        assert config.compile_threads == 7


def test_unreadable_tensorrt_engine_is_rebuilt(network, tmp_path, monkeypatch, caplog):
    """Uses a stand-in for the provider, which few machines have."""
    from lsabinet_core.inference.backends.onnxruntime_ import OnnxRuntimeBackend, OnnxRuntimeTensorRTBackend

    builds = []

    class Stood(OnnxRuntimeTensorRTBackend):
        def __init__(self):
            pass

        def _folder(self, size):
            return tmp_path / "engines"

    def build(self, shape):
        engines = list(self._engines.iterdir())
        builds.append(len(engines))
        if any(engine.read_text() == "half" for engine in engines):
            raise RuntimeError("could not deserialize engine from cache")
        if fails:
            raise fails[0]
        (self._engines / "a.engine").write_text("whole")
        return "run"

    fails = []
    monkeypatch.setattr(OnnxRuntimeBackend, "_build", build)
    backend = Stood()
    assert backend._build((1, 96, 128)) == "run"
    assert builds == [0]
    (tmp_path / "engines" / "a.engine").write_text("half")
    assert backend._build((1, 96, 128)) == "run"
    assert builds == [0, 1, 0]
    assert "cannot be used (could not deserialize engine from cache): rebuilding it" in caplog.text
    # Rebuilding does not help if the machine is the problem.
    for error in (BackendError("no provider"), RuntimeError("out of memory")):
        fails[:] = [error]
        with pytest.raises(type(error), match=str(error)):
            backend._build((4, 96, 128))
        assert (tmp_path / "engines" / "a.engine").read_text() == "whole"
        assert [folder.name for folder in tmp_path.iterdir()] == ["engines"]
    # Engines that other users may have written are not run.
    fails.clear()
    builds.clear()
    (tmp_path / "engines").chmod(0o777)
    assert not backend.builds_quickly((96, 128))
    with pytest.raises(BackendError, match=r"others may write to .*chmod -R go-w"):
        backend._build((1, 96, 128))
    assert builds == []


def test_number_of_shapes_is_bounded(start, network, images, monkeypatch):
    monkeypatch.setattr("lsabinet_core.inference.backends.shapes.MAX_SHAPES", 2)
    backend = start("openvino", network)
    for count in (1, 2, 3, 1):
        backend.infer(images[:count])
    assert backend.shapes.built == [(3, 96, 128), (1, 96, 128)]


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch-compile", "torch"])
def test_closed_backend_is_rejected(name, network, images):
    backend = create_backend(name, device="cpu")
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.infer(images)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("openvino", "openvino", r"pip install 'lsabinet_ros\[openvino\]'"),
        ("onnxruntime", "onnxruntime", r"pip install 'lsabinet_ros\[onnx\]'"),
    ],
)
def test_missing_package_names_the_install_command(name, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendError, match=f"backend {name} needs the package {package}.*{extra}"):
        create_backend(name, device="cpu")


def test_openvino_sends_no_telemetry(network, start):
    start("openvino", network).prepare((96, 128))
    assert sys.modules["openvino_telemetry"] is None


def test_onnxruntime_sends_no_telemetry(tmp_path):
    """Pending telemetry would first be written to the user's cache folder."""
    program = (
        "from lsabinet_core.inference.optional import require; import time; require('onnxruntime', 'a test'); "
        "time.sleep(1)"
    )
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", program], env={**environment, **home}, check=True, timeout=60)
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name or path.name == "deviceid"]


@pytest.mark.parametrize("name", ["cuda-graph", "tensorrt", "onnxruntime-tensorrt"])
def test_gpu_engines_require_a_gpu(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match=f"'{name}' needs a CUDA GPU, which PyTorch does not find here"):
        create_backend(name)


def test_invalid_options():
    assert {"auto", "torch", "openvino", "onnxruntime", "torch-compile", "cuda-graph"} < set(list_backends())
    for name, device, precision, message in (
        ("openvino", "cuda", "auto", "no CUDA GPU here|runs on the CPU"),
        ("openvino", "tpu", "auto", "auto, cpu, cuda or cuda:N, got 'tpu'"),
        ("openvino", "cpu", "fp8", "auto, fp32, fp16, bf16, int8, got 'fp8'"),
        ("onnxruntime", "cpu", "bf16", "auto, fp32, fp16 for backend 'onnxruntime' on the CPU, got 'bf16'"),
        ("torch-compile", "cpu", "bf16", "auto, fp32 for backend 'torch-compile' on the CPU, got 'bf16'"),
    ):
        with pytest.raises(BackendError, match=message):
            create_backend(name, device=device, precision=precision)


def test_torch_compile_backend(start, network, plain, images, monkeypatch, caplog):
    """Inductor itself takes a minute; a compiler that changes nothing tests everything around it."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module, **options: compiled.append(options) or module)
    backend = start("torch-compile", network)
    backend.prepare((96, 128))
    expected = plain(images)
    torch.testing.assert_close(backend.infer(images[:1]), expected[:1], rtol=1e-3, atol=1e-4)
    assert len(compiled) == 1
    # Another shape must not delay frames with a build.
    with caplog.at_level(logging.WARNING):
        torch.testing.assert_close(backend.infer(images), expected, rtol=1e-3, atol=1e-4)
    assert len(compiled) == 1
    assert "not built for 3 x 96x128" in caplog.text
    backend.prepare((96, 128), batch=2)
    assert len(compiled) == 2


class Tiny(torch.nn.Module):
    def forward(self, images):
        return images.permute(0, 3, 1, 2).float() + 1


def test_more_than_eight_shapes_are_compiled(start, network, images, monkeypatch):
    """PyTorch alone compiles at most eight variants of a function and runs all others uncompiled."""
    graphs, compile_ = [], torch.compile

    def count(graph, examples):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda module, **options: compile_(module, **{**options, "backend": count}))
    backend = start("torch-compile", network)
    backend.network = Tiny()
    for batch in range(1, 12):
        backend.prepare((64, 64), batch)
    assert len(graphs) == 11


def test_compiled_network_is_cached(start, network, monkeypatch, tmp_path):
    """If Inductor's own files are gone, the network must not be compiled for minutes again."""
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch, "compile", lambda module, **options: module)
    monkeypatch.setattr(torch.compiler, "save_cache_artifacts", lambda: (b"kernels", None))
    loaded = []
    monkeypatch.setattr(torch.compiler, "load_cache_artifacts", loaded.append)
    (tmp_path / "choices").mkdir()
    first = start("torch-compile", network)
    assert not first.builds_quickly((96, 128))
    first.prepare((96, 128))
    assert loaded == []
    assert first.builds_quickly((96, 128))
    assert not first.builds_quickly((72, 96))
    # The cached choice is invalidated, because the compiled network may now be the fastest.
    assert not (tmp_path / "choices").exists()
    start("torch-compile", network).prepare((96, 128))
    assert loaded == [b"kernels"]


def test_compiler_failure_is_reported(start, network, monkeypatch):
    def fail(module, **options):
        raise RuntimeError("No working C++ compiler found\nand pages more")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(BackendError, match=r"No working C.. compiler found.*apt install"):
        start("torch-compile", network).prepare((96, 128))
