"""``lsabinet benchmark`` and ``lsabinet benchmark scale``: arguments, output and errors."""

import csv
import json

import cv2
import pytest

from lsabinet_core import cli
from lsabinet_core.cli import benchmark_scale

TINY = ("--sizes", "64x96", "--rounds", "2", "--threads", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def lsabinet(cache, monkeypatch, capsys):
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(cache))
    monkeypatch.setattr(cli, "VERBS", ("benchmark",))

    def run(*arguments):
        status = cli.main(["benchmark", *map(str, arguments)])
        return status, capsys.readouterr()

    return run


def cells(printed: str, first: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines() if line.startswith(first)]


def test_networks_and_engines(lsabinet, random_weights, tmp_path):
    out = {suffix: tmp_path / f"figures.{suffix}" for suffix in ("json", "csv", "png")}
    status, captured = lsabinet(
        *("--models", f"dabnet,{random_weights}", "--backends", "eager,openvino,cuda-graph", *TINY),
        *("--frame", "120x160", "--json", out["json"], "--csv", out["csv"], "--plot", out["png"]),
    )
    assert status == 0, captured.err
    figures = json.loads(out["json"].read_text())
    rows = figures["rows"]
    assert [(row["model"], row["backend"]) for row in rows] == [
        (model, engine) for model in ("dabnet", str(random_weights)) for engine in ("eager", "openvino")
    ]
    # The printed figures are the measured ones.
    for row, line in zip(rows[:2], cells(captured.out, "dabnet"), strict=True):
        assert line[:4] == ["dabnet", row["backend"], "fp32", "64x96"]
        assert [float(text) for text in line[4:9]] == pytest.approx(
            [row[key] for key in ("median_ms", "p95_ms", "p99_ms", "cpu_ms", "fps")], abs=0.06
        )
        assert line[-2:] == ["754,571", f"{row['gmacs']:.3f}"]
    assert cells(captured.out, "dabnet")[0][9:13] == ["1.00", "-", "-", "-"]
    text = " ".join(captured.out.split())
    assert "frames of 120x160, without confidence" in text
    assert "many borders" in text
    missing = [line for line in captured.out.splitlines() if line.startswith("not measured: ")]
    assert len(missing) == len(figures["failures"]) == 2
    assert missing[0].startswith("not measured: dabnet, cuda-graph, fp32, 64x96: backend 'cuda-graph' needs a CUDA GPU")

    [eager, openvino, *_] = csv.DictReader(out["csv"].read_text().splitlines())
    assert (eager["size"], eager["segment_ms"], eager["postprocess_ms"]) == ("64x96", "", "")
    assert float(openvino["median_ms"]) == rows[1]["median_ms"]
    assert float(openvino["postprocess_ms"]) == rows[1]["stages"]["postprocess_ms"]
    assert cv2.imread(str(out["png"])) is not None


def test_auto_and_batches(lsabinet, random_weights, tmp_path):
    path = tmp_path / "figures.json"
    status, captured = lsabinet("--models", random_weights, "--backends", "auto", "--batch", "2", *TINY, "--json", path)
    assert status == 0, captured.err
    [row] = json.loads(path.read_text())["rows"]
    assert row["batch"] == 2
    assert row["fps"] == pytest.approx(2e3 / row["median_ms"], rel=1e-3)
    engine = row["chosen"].partition(",")[0]
    text = " ".join(captured.out.split())
    assert f"auto: {engine}" in text
    assert f"at 64x96: {row['chosen']}" in text
    assert "lsabinet: backend auto: " in captured.err
    assert "eager: unmodified" not in text


def test_profile(lsabinet, tmp_path, monkeypatch):
    monkeypatch.setattr("lsabinet_core.benchmark.roofline.COPIED_BYTES", 1 << 20)
    monkeypatch.setattr("lsabinet_core.benchmark.roofline.SIDE", 128)
    out, plot = tmp_path / "profile.json", tmp_path / "profile.png"
    status, captured = lsabinet(
        "--profile", "--models", "dabnet", "--backends", "eager", *TINY, "--json", out, "--plot", plot
    )
    assert status == 0, captured.err
    figures = json.loads(out.read_text())
    (profile,) = figures["profiles"]
    assert (profile["model"], profile["backend"], profile["size"]) == ("dabnet", "eager", [64, 96])
    # The printed figures are the measured ones, for each part and each kind of operator.
    for row in (*profile["groups"], *profile["kinds"]):
        (line,) = cells(captured.out, f"{row['name']} ")
        assert [float(text) for text in line[1:]] == pytest.approx(
            [row["ms"], 100 * row["share"], row["operators"], row["mbytes"], row["gmacs"], row["bound_ms"]], abs=0.06
        )
    assert f"{figures['roofline']['gb_per_s']:.1f} GB/s" in captured.out
    assert plot.stat().st_size > 0


def test_nothing_could_be_measured(lsabinet, tmp_path):
    out = tmp_path / "figures.json"
    status, captured = lsabinet("--models", "dabnet", "--backends", "cuda-graph", *TINY, "--json", out)
    assert status == 1
    assert "nothing could be measured" in captured.err
    assert "not measured: dabnet" in captured.out
    assert json.loads(out.read_text())["rows"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "dabnot"], "no weights 'dabnot'"),
        (["--backends", "tea"], "one of eager, auto"),
        (["--precision", "fp31"], "expected precision"),
        (["--plot", "figure.txt"], "ending in .png"),
        (["scale", "--vary", "size", "--values", "3"], "--values of size: expected sizes, separated by commas"),
        (["scale", "--vary", "batch", "--values", "1,two"], "--values of batch: expected whole numbers"),
        (["scale", "--vary", "cameras", "--backend", "eager"], "expected an engine to vary cameras"),
        (["--profile", "--memory"], "--memory has no effect together with --profile"),
        (["--profile", "--device", "cuda"], "--profile measures the CPU, got --device cuda"),
        (["--profile", "--backends", "torch"], "expected backend to be eager or openvino"),
        (["--profile", "--plot", "figure.txt"], "ending in .png"),
    ],
)
def test_errors_are_one_line(lsabinet, arguments, message):
    status, captured = lsabinet(*arguments)
    assert status == 1
    assert not captured.out
    [line] = captured.err.strip().splitlines()
    assert line.startswith("lsabinet: error: ")
    assert message in line


def test_usage_errors(lsabinet):
    for arguments in (["tea"], ["--sizes", "96"], ["--models", ","], ["scale"], ["scale", "--vary", "luck"]):
        with pytest.raises(SystemExit, match="2"):
            lsabinet(*arguments)


def test_scale(lsabinet, tmp_path, random_weights):
    json_path, picture = tmp_path / "scale.json", tmp_path / "scale.png"
    status, captured = lsabinet(
        *("scale", "--vary", "frame", "--values", "64x96,120x160", "--model", random_weights, "--backend", "torch"),
        *("--size", "64x96", "--rounds", "2", "--threads", "1", "--json", json_path, "--plot", picture),
    )
    assert status == 0, captured.err
    figures = json.loads(json_path.read_text())
    assert [row["value"] for row in figures["rows"]] == [[64, 96], [120, 160]]
    assert "size 64x96, batch 1, cameras 1, threads 1" in captured.out
    for row, line in zip(figures["rows"], [*cells(captured.out.lstrip(), "  64x96"), *cells(captured.out, "120x160")]):
        assert float(line[1]) == pytest.approx(row["network_ms"], abs=0.006)
        assert float(line[-1]) == pytest.approx(row["growth"], abs=0.006)
    assert cv2.imread(str(picture)) is not None


def test_quantities_of_the_option_are_those_of_the_benchmark():
    from lsabinet_core.benchmark.scale import VARIED

    assert tuple(VARIED) == benchmark_scale.VARIED


@pytest.mark.parametrize(("device", "expected"), [("cpu", "camvid_cpu"), ("cuda", "camvid")])
def test_default_recipe_depends_on_the_device(lsabinet, monkeypatch, device, expected):
    import torch

    asked = []

    def stop(name, overrides):
        asked.append(name)
        raise KeyboardInterrupt

    monkeypatch.setattr("lsabinet_core.training.recipe.load_recipe", stop)
    monkeypatch.setattr("lsabinet_core.inference.backends.choose.choose_device", torch.device)
    assert lsabinet("train", "--device", device)[0] == 130
    assert lsabinet("train", "--device", device, "--recipe", "synthetic")[0] == 130
    assert asked == [expected, "synthetic"]
