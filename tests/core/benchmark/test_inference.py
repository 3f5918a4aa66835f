"""``benchmark_inference``: its statistics, its measurements, and its treatment of failures."""

import json

import numpy as np
import pytest
import torch

from lsabinet_core import inference as runtime
from lsabinet_core.benchmark import inference, subjects
from lsabinet_core.benchmark.candidates import Candidate, combine, open_network
from lsabinet_core.benchmark.inference import benchmark_inference
from lsabinet_core.errors import BackendError, LsabinetError, WeightsError
from lsabinet_core.inference.network import Network
from lsabinet_core.labels import CAMVID
from lsabinet_core.models import create_model
from lsabinet_core.models.complexity import count_macs, count_parameters

TINY = (64, 96)
KEYS = {"model", "backend", "precision", "size", "batch", "median_ms", "p95_ms", "p99_ms", "fps", "params", "gmacs"}


def test_statistics_match_hand_computed_values(monkeypatch, pretended):
    """Two unmeasured turns, then five measured ones; percentiles are interpolated linearly."""
    stages = {"preprocess": 1.0, "inference": 20.0, "postprocess": 4.0}
    engine = [{"network": ms, "cpu": 2 * ms, "segment": ms + 5, **stages} for ms in (900, 800, 10, 50, 20, 30, 40)]
    eager = [{"network": ms, "cpu": 1.0} for ms in (900, 800, 60, 60, 60, 90, 90)]
    chosen = {"backend": "openvino", "chosen": "auto: the only engine"}
    started = {"auto": pretended(engine, **chosen), "eager": pretended(eager)}
    monkeypatch.setattr(inference, "start", lambda network, candidate, **_: started[candidate.backend])
    figures = benchmark_inference(
        [Candidate("dabnet", name, "fp32", TINY, 4) for name in started], rounds=5, warmup=1, device="cpu"
    )
    assert all(subject.closed for subject in started.values())
    assert not figures["failures"]
    row, baseline = figures["rows"]
    # Sorted: 10 20 30 40 50; 95 % is at 0.95 * 4 = 3.8, 99 % at 3.96.
    assert (row["median_ms"], row["p95_ms"], row["p99_ms"]) == (30, 48, pytest.approx(49.6))
    assert row["fps"] == pytest.approx(4000 / 30, abs=1e-3)
    assert row["cpu_ms"] == 60
    assert row["segment_ms"] == 35
    assert row["stages"] == {"preprocess_ms": 1, "inference_ms": 20, "postprocess_ms": 4}
    assert row["speedup"] == 2.0
    assert baseline["speedup"] == 1.0
    assert baseline["segment_ms"] is None
    assert baseline["stages"] is None
    assert row["chosen"] == "openvino, auto: the only engine"
    assert baseline["chosen"] is None
    dabnet = create_model("dabnet", 11)
    assert row["params"] == count_parameters(dabnet)
    assert row["gmacs"] == pytest.approx(count_macs(dabnet, TINY) / 1e9, abs=1e-3)


def test_failure_during_measurement_is_reported(monkeypatch, pretended):
    fine = {"network": 5.0, "cpu": 5.0}
    started = {
        "torch": pretended([fine, fine, RuntimeError("out of memory\nand pages more")]),
        "openvino": pretended([fine] * 4),
    }
    monkeypatch.setattr(inference, "start", lambda network, candidate, **_: started[candidate.backend])
    candidates = [Candidate("dabnet", name, "fp32", TINY) for name in started]
    figures = benchmark_inference(candidates, rounds=2, warmup=1, device="cpu")
    assert [row["backend"] for row in figures["rows"]] == ["openvino"]
    [failure] = figures["failures"]
    assert failure == {**candidates[0].document(), "reason": "RuntimeError: out of memory"}
    assert all(subject.closed for subject in started.values())


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """The result of a small real run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSABINET_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        candidates = combine(["dabnet"], ["eager", "torch", "openvino", "cuda-graph"], ["fp32", "int8"], [TINY, (8, 8)])
        seen = []
        figures = benchmark_inference(
            candidates, rounds=2, threads=1, device="cpu", frame=(120, 160), progress=lambda *step: seen.append(step)
        )
    return figures, seen


def test_a_real_run(figures):
    figures, seen = figures
    json.dumps(figures, allow_nan=False)
    assert [(row["backend"], row["precision"]) for row in figures["rows"]] == [
        (name, "fp32") for name in ("eager", "torch", "openvino")
    ]
    for row in figures["rows"]:
        assert set(row) >= KEYS
        assert row["size"] == [64, 96]
        assert row["batch"] == 1
        assert 0 < row["median_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["fps"] == pytest.approx(1e3 / row["median_ms"], rel=1e-3)
        assert row["cpu_ms"] > 0
        assert row["speedup"] > 0
        assert row["val_miou"] is None
    for row in figures["rows"][1:]:
        stages = row["stages"]
        assert set(stages) == {"preprocess_ms", "inference_ms", "postprocess_ms"}
        # The whole call includes the time between the stages; medians of two turns are their means.
        assert 0 < sum(stages.values()) <= row["segment_ms"] + 0.01
    assert "NCHW" in figures["rows"][0]["engine"]
    assert "OpenVINO" in figures["rows"][2]["engine"]
    # Four engines in two precisions except eager, at two sizes; nothing can be measured at the second size.
    assert seen == [("building", n, 7) for n in range(1, 8)] + [("measuring", n, 5) for n in range(1, 6)] + [
        ("building", n, 7) for n in range(1, 8)
    ]
    versions = figures["machine"]["versions"]
    assert versions["torch"] == torch.__version__
    assert {"lsabinet", "openvino", "onnxruntime"} <= set(versions)
    assert "tensorrt" not in versions
    assert figures["machine"]["threads"] == 1
    assert figures["settings"]["frame"] == [120, 160]
    assert figures["settings"]["rounds"] == 2


def test_unsupported_combinations_are_reported(figures):
    reasons = {
        (failure["backend"], failure["precision"], tuple(failure["size"])): failure["reason"]
        for failure in figures[0]["failures"]
    }
    assert "needs a CUDA GPU" in reasons["cuda-graph", "fp32", TINY]
    assert "got 'int8'" in reasons["torch", "int8", TINY]
    assert "lsabinet export --to openvino --precision int8" in reasons["openvino", "int8", TINY]
    # No network supports a size of 8x8; the message comes from our own check or from the network.
    assert {key[0] for key in reasons if key[2] == (8, 8)} == {"eager", "torch", "openvino", "cuda-graph"}
    assert "at least 64x64" in reasons["torch", "fp32", (8, 8)]
    assert "at least 64" in reasons["eager", "fp32", (8, 8)]
    assert not [reason for reason in reasons.values() if "\n" in reason]


def test_invalid_candidates_are_rejected():
    for candidate, kind, message in (
        (Candidate("dabnot", "torch", "fp32", TINY), WeightsError, "no weights 'dabnot'.*or a network: lsabinet, "),
        (Candidate("dabnet", "tea", "fp32", TINY), BackendError, "one of eager, auto, .*got 'tea'"),
        (Candidate("dabnet", "torch", "fp31", TINY), BackendError, "auto, fp32, .*got 'fp31'"),
    ):
        with pytest.raises(kind, match=message):
            benchmark_inference([candidate])
    with pytest.raises(LsabinetError, match="expected device"):
        benchmark_inference([Candidate("dabnet", "torch", "fp32", TINY)], device="tpu")


def test_candidates_are_combined_from_lists():
    found = combine(["a", "b"], ["eager", "torch"], ["fp32", "bf16"], [(1, 2), (3, 4)], 2)
    assert len(found) == 2 * 2 * 3
    assert len(set(found)) == 12
    assert {c.batch for c in found} == {2}
    assert [(c.backend, c.precision) for c in found[:3]] == [("eager", "fp32"), ("torch", "fp32"), ("torch", "bf16")]
    assert [c.size for c in found] == [(1, 2)] * 6 + [(3, 4)] * 6


def test_eager_runs_the_unmodified_network():
    model, metadata = open_network("lsabinet", CAMVID)
    seen = []
    model.register_forward_hook(
        lambda module, inputs, output: seen.append((inputs[0], output.shape, module.training, torch.is_grad_enabled()))
    )
    candidate = Candidate("lsabinet", "eager", "fp32", TINY, 2)
    subject = subjects.EagerSubject(Network(model, metadata, TINY), candidate, device="cpu", threads=1)
    assert set(subject.turn()) == {"network", "cpu"}
    image, shape, training, gradients = seen[-1]
    assert image.shape == (2, 3, *TINY)
    assert image.is_contiguous()
    assert image.dtype == torch.float32
    assert shape == (2, 11, *TINY)
    assert not training
    assert not gradients
    # Normalised: the bounds correspond to pixels of 0 and 255.
    assert -2.2 < image.min() < -1
    assert 1 < image.max() < 2.7
    with pytest.raises(BackendError, match="baseline in fp32"):
        subjects.EagerSubject(
            Network(model, metadata, TINY), Candidate("m", "eager", "int8", TINY), device="cpu", threads=0
        )


def test_engine_gets_the_candidates_settings(random_weights, monkeypatch):
    model, metadata = runtime.segmenter.load_weights(random_weights)
    asked = []
    infer = runtime.backends.torch_.TorchBackend.infer

    def remember(backend, images):
        asked.append(images.shape)
        return infer(backend, images)

    monkeypatch.setattr(runtime.backends.torch_.TorchBackend, "infer", remember)
    candidate = Candidate("m", "torch", "fp32", TINY, 2)
    options = {"device": "cpu", "threads": 1, "frame": (120, 160)}
    subject = subjects.EngineSubject(Network(model, metadata, TINY), candidate, **options, cameras=3)
    asked.clear()
    turn = subject.turn()
    assert asked == [(2, *TINY, 3), (2, *TINY, 3), (3, *TINY, 3)]
    assert turn["segment"] >= turn["preprocess"] + turn["inference"] + turn["postprocess"]
    subject.close()
    with pytest.raises(BackendError, match="batch of at most 8 images, got 9"):
        subjects.EngineSubject(Network(model, metadata, TINY), Candidate("m", "torch", "fp32", TINY, 9), **options)


def test_random_networks_are_reproducible_and_finite():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, metadata = open_network("dabnet", CAMVID)
    torch.testing.assert_close(torch.random.get_rng_state(), before, rtol=0, atol=0)
    second, _ = open_network("dabnet", CAMVID)
    prints = {Network(model, metadata, TINY).fingerprint for model in (first, second)}
    assert len(prints) == 1
    assert not first.training
    deviations = [
        float(module.running_var.median()) for module in first.modules() if isinstance(module, torch.nn.BatchNorm2d)
    ]
    assert np.isfinite(deviations).all()
    assert min(deviations) > 1e-4
    assert set(deviations) != {1.0}


def test_miou_is_reported_for_its_size_only(monkeypatch, pretended):
    """Weights record their mIoU for the training size, in floating point."""
    turns = [{"network": 5.0, "cpu": 5.0}] * 3
    monkeypatch.setattr(
        inference, "start", lambda network, candidate, **_: pretended(turns, precision=candidate.backend)
    )
    monkeypatch.setattr(inference, "check_names", lambda candidates: None)
    size = (360, 480)
    candidates = [Candidate("lsabinet_camvid", precision, precision, size) for precision in ("fp32", "fp16", "int8")]
    candidates.append(Candidate("lsabinet_camvid", "fp32", "fp32", TINY))
    rows = benchmark_inference(candidates, rounds=1, warmup=1, device="cpu")["rows"]
    _, metadata = runtime.segmenter.load_weights("lsabinet_camvid")
    expected = metadata.training["val_miou"]
    assert metadata.input_size == size
    assert expected > 0.5
    assert [row["val_miou"] for row in rows] == [expected, expected, None, None]
    assert rows[0]["trained_on"] == metadata.dataset
