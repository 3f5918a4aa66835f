"""``lsabinet bag evaluate --against``: masks of two segmenters, compared pixel by pixel."""

import argparse
import csv
import json

import numpy as np
import pytest
import torch
from bag_cases import SIZE, run_cli, samples, write

from lsabinet_core.inference import Segmenter
from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata, save_weights
from lsabinet_ros.bag.agreement import SecondSegmenter
from lsabinet_ros.bag.cli.second_segmenter import second_options
from lsabinet_ros.bag.gate import value_of


def untrained(path, label_set, seed):
    torch.manual_seed(seed)
    metadata = WeightsMetadata("lsabinet", label_set, SIZE, (0.4, 0.4, 0.4), (0.3, 0.3, 0.3), dataset="none")
    save_weights(path, create_model("lsabinet", len(label_set)), metadata)
    return path


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("weights") / "other.safetensors", CAMVID, 8)


def masks_of(weights, frames):
    with Segmenter.from_pretrained(weights, device="cpu", backend="torch") as segmenter:
        return np.stack([segmenter.segment(frame.image).mask for frame in frames])


def miou(true, predicted):
    """mIoU over the classes that occur, computed from its definition."""
    known = true != 255
    shares = []
    for index in range(11):
        a, b = (true == index) & known, (predicted == index) & known
        if (a | b).any():
            shares.append((a & b).sum() / (a | b).sum())
    return float(np.mean(shares))


def test_agreement_by_hand(tmp_path, weights, other_weights):
    frames = samples(4, labelled=lambda index: index != 2)
    gate = tmp_path / "gate.yaml"
    gate.write_text("agreement.min: 99.9\nagreement_miou.max: 100\nagainst_miou.max: 100\n")
    options = ("--weights", weights, "--device", "cpu", "--backend", "torch", "--out", tmp_path / "out", "--gate", gate)
    assert run_cli("evaluate", write(tmp_path / "drive.mcap", frames), *options, "--against", other_weights) == 4
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    first, second = masks_of(weights, frames), masks_of(other_weights, frames)
    agreement, against = report["agreement"], report["against"]
    assert agreement["pixels"] == pytest.approx((first == second).mean())
    assert agreement["miou"] == pytest.approx(miou(first, second))
    assert (agreement["frames"], agreement["identical_frames"]) == (4, 0)
    labelled = [0, 1, 3]
    labels = np.stack([frames[index].label for index in labelled])
    assert against["miou"] == pytest.approx(miou(labels, second[labelled]))
    assert report["miou"] == pytest.approx(miou(labels, first[labelled]))
    assert (against["weights"], against["images"]) == (str(other_weights), 3)
    assert value_of(report, "agreement") == pytest.approx(100 * agreement["pixels"])
    with (tmp_path / "out" / "frames.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    shares = [float(row["agreement"]) for row in rows]
    assert shares == pytest.approx([np.mean(a == b) for a, b in zip(first, second)])
    assert [float(row["agreement_miou"]) for row in rows] == pytest.approx(list(map(miou, first, second)))
    assert float(rows[1]["against_miou"]) == pytest.approx(miou(frames[1].label, second[1]))
    assert rows[2]["against_miou"] == ""
    assert against["latency_ms"]["total"]["count"] == 4
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(part in page for part in ('id="agreement"', 'id="plot-agreement"', "second mask", "disagreement"))
    assert "Against other.safetensors" in (tmp_path / "out" / "report.md").read_text()


def test_the_same_network_agrees_with_itself(tmp_path, weights):
    path = write(tmp_path / "drive.mcap", samples(2, labelled=lambda index: False))
    options = ("--weights", weights, "--device", "cpu", "--backend", "torch", "--out", tmp_path / "out")
    assert run_cli("evaluate", path, *options, "--against", "precision=fp32", f"input-size={SIZE[0]}x{SIZE[1]}") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["agreement"]["pixels"] == report["agreement"]["miou"] == 1
    assert report["agreement"]["identical_frames"] == 2
    assert report["against"]["miou"] is None


def test_other_classes_are_refused(tmp_path, error_of):
    weights = untrained(tmp_path / "cityscapes.safetensors", CITYSCAPES, 1)
    with Segmenter.from_pretrained(weights, device="cpu", backend="torch") as segmenter:
        message = error_of(SecondSegmenter, segmenter, CAMVID)
    assert CAMVID.name in message
    assert CITYSCAPES.name in message


def test_settings_change_the_first_configuration():
    first = {"weights": "a", "backend": "auto", "precision": None, "input_size": None, "device": "cpu"}
    settings = ["runs/lr=0.1/b.safetensors", "precision=int8", "input-size=96x128"]
    found = second_options(argparse.Namespace(**first, against=settings))
    assert (found.weights, found.precision, found.input_size) == ("runs/lr=0.1/b.safetensors", "int8", (96, 128))
    assert (found.backend, found.device) == ("auto", "cpu")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["speed=3"], ["speed=3", "backend="]),
        (["a", "b"], ["weights", "twice"]),
        (["backend=torch", "backend=onnx"], ["backend", "twice"]),
        (["input-size=96"], ["input-size", "360x480"]),
    ],
)
def test_invalid_settings(settings, words, error_of):
    message = error_of(second_options, argparse.Namespace(against=settings))
    assert [word for word in words if word not in message] == []
