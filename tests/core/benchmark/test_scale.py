"""``benchmark_scale``: figures per frame against hand-computed values, and the varied quantity takes effect."""

import json

import pytest
import torch

from lsabinet_core.benchmark import scale
from lsabinet_core.benchmark.scale import VARIED, Setting, benchmark_scale, usual_values
from lsabinet_core.errors import LsabinetError
from lsabinet_core.inference.backends.torch_ import TorchBackend

TINY = (64, 96)
SETTING = Setting(TINY, TINY, threads=1)
STAGES = {"preprocess": 2.0, "inference": 16.0, "postprocess": 2.0}


@pytest.fixture
def started(monkeypatch, pretended):
    """The settings of all started subjects. A turn takes 10 ms per image for the network alone, and 4 ms plus 8 ms
    per frame for the whole Segmenter."""
    asked = []

    def start(network, candidate, **options):
        asked.append((candidate, options))
        turn = {"network": 10.0 * candidate.batch, "cpu": 20.0 * candidate.batch}
        turn |= {"segment": 4 + 8.0 * options["cameras"], **STAGES}
        return pretended([turn] * 4)

    monkeypatch.setattr(scale, "start", start)
    return asked


def test_figures_are_per_frame(started):
    figures = benchmark_scale("dabnet", "torch", "batch", [1, 4], SETTING, rounds=2, warmup=1, device="cpu")
    json.dumps(figures, allow_nan=False)
    one, four = figures["rows"]
    assert (one["value"], one["batch"], one["cameras"]) == (1, 1, 1)
    assert (four["value"], four["batch"], four["cameras"]) == (4, 4, 4)
    assert (one["network_ms"], one["cpu_ms"], one["segment_ms"]) == (10, 20, 12)
    # (4 + 8 * 4) / 4 = 9 ms per frame: three quarters of the 12 ms of a single frame.
    assert (four["network_ms"], four["cpu_ms"], four["segment_ms"], four["segment_p95_ms"]) == (10, 20, 9, 9)
    assert four["stages"] == {"preprocess_ms": 0.5, "inference_ms": 4.0, "postprocess_ms": 0.5}
    assert one["fps"] == pytest.approx(1000 / 12, abs=1e-3)
    assert four["fps"] == pytest.approx(1000 / 9, abs=1e-3)
    assert (one["growth"], four["growth"]) == (1.0, 0.75)
    assert (figures["vary"], figures["model"], figures["precision"]) == ("batch", "dabnet", "fp32")


@pytest.mark.parametrize(
    ("what", "value", "expected"),
    [
        ("size", (96, 128), ((96, 128), 1, {"frame": (96, 128), "cameras": 1, "threads": 1})),
        ("frame", (96, 128), (TINY, 1, {"frame": (96, 128), "cameras": 1, "threads": 1})),
        ("batch", 2, (TINY, 2, {"frame": TINY, "cameras": 2, "threads": 1})),
        ("threads", 3, (TINY, 1, {"frame": TINY, "cameras": 1, "threads": 3})),
        ("cameras", 12, (TINY, 1, {"frame": TINY, "cameras": 12, "threads": 1})),
    ],
)
def test_only_the_given_quantity_varies(started, what, value, expected):
    benchmark_scale("dabnet", "torch", what, [value], SETTING, rounds=1, warmup=1, device="cpu")
    [(candidate, options)] = started
    assert (candidate.size, candidate.batch, {key: options[key] for key in expected[2]}) == expected
    assert what in VARIED


def test_number_of_threads_varies(monkeypatch):
    """In a single process, each engine runs on its own number of threads."""
    seen = {}
    infer = TorchBackend.infer

    def remember(backend, images):
        seen.setdefault(backend, set()).add(torch.get_num_threads())
        return infer(backend, images)

    monkeypatch.setattr(TorchBackend, "infer", remember)
    before = torch.get_num_threads()
    try:
        figures = benchmark_scale("dabnet", "torch", "threads", [1, 2], SETTING, rounds=1, warmup=1, device="cpu")
    finally:
        torch.set_num_threads(before)
    assert list(seen.values()) == [{1}, {2}]
    assert [(row["value"], row["threads"]) for row in figures["rows"]] == [(1, 1), (2, 2)]


def test_unsupported_values_are_reported(started, monkeypatch):
    begin = scale.start

    def start(network, candidate, **options):
        if candidate.batch > 8:
            raise LsabinetError("too many")
        return begin(network, candidate, **options)

    monkeypatch.setattr(scale, "start", start)
    figures = benchmark_scale("dabnet", "torch", "batch", [1, 9], SETTING, rounds=1, warmup=1, device="cpu")
    assert [row["value"] for row in figures["rows"]] == [1]
    assert figures["failures"] == [{"value": 9, "reason": "too many"}]
    for what in ("frame", "cameras"):
        with pytest.raises(LsabinetError, match=f"expected an engine to vary {what}"):
            benchmark_scale("dabnet", "eager", what, [1], SETTING)


def test_usual_values(monkeypatch):
    setting = Setting((360, 480), (360, 480))
    sizes = usual_values("size", setting)
    assert all(height % 8 == 0 and width % 8 == 0 for height, width in sizes)
    assert (360, 480) in sizes
    areas = [height * width / (360 * 480) for height, width in sizes]
    assert areas == pytest.approx([0.25, 0.5, 1, 2], rel=0.03)
    assert usual_values("size", Setting(TINY, TINY))[0] == (64, 64)
    monkeypatch.setattr(scale, "usable_cores", lambda: 6)
    assert usual_values("threads", setting) == [1, 2, 4, 6]
    monkeypatch.setattr(scale, "usable_cores", lambda: 8)
    assert usual_values("threads", setting) == [1, 2, 4, 8]
    assert usual_values("batch", setting)[-1] == 8
    assert usual_values("cameras", setting)[:3] == [1, 2, 4]
