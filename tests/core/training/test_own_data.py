"""From a folder with classes of its own to a mask, through the commands."""

import json
import shutil

import cv2
import numpy as np
import pytest
import yaml

from lsabinet_core.cli import main
from lsabinet_core.labels import CAMVID
from lsabinet_core.models.weights import load_weights

MERGED = {
    "way": ("Road", "Pavement"),
    "obstacle": ("Building", "Pole", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
    "nature": ("Sky", "Tree"),
}
SMALL = [
    *("--recipe", "synthetic", "--set", "augmentation.crop_size=[64, 64]", "--set", "augmentation.scales=[1.0]"),
    *("--set", "batch_size=4", "--set", "schedule.warmup_iterations=2", "--set", "input_size=[72, 96]"),
    *("--set", "epochs=10", "--set", "validate_epochs=10", "--threads", "1", "--workers", "1"),
]


@pytest.fixture
def streets(small_camvid, tmp_path):
    """The small scenes twice as large, a few classes of several of CamVid's."""
    root = tmp_path / "streets"
    shutil.copytree(small_camvid, root)
    for file in root.rglob("*.png"):
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(file), cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))
    for split in ("train", "val"):
        lines = (root / f"{split}.txt").read_text()
        (root / f"{split}.txt").write_text(lines.replace("/SegNet/CamVid/", ""))
    classes = [
        {"name": name, "color": [50 * number, 9, 9], "ids": [CAMVID.names.index(old) for old in merged]}
        for number, (name, merged) in enumerate(MERGED.items())
    ]
    description = {"name": "streets", "licence": "ours", "void": [11], "classes": classes}
    (root / "dataset.yaml").write_text(yaml.safe_dump(description))
    return root


def test_training_evaluation_and_prediction(streets, tmp_path, capsys):
    run = tmp_path / "run"
    data = ["--dataset", "folder", "--root", str(streets)]
    initial = ["--set", "initial_weights=lsabinet_synthetic"]
    assert main(["train", *data, "--out", str(run), *SMALL, *initial]) == 0, capsys.readouterr().err
    capsys.readouterr()
    summary = json.loads((run / "summary.json").read_text())
    # Chance is 20 %, always saying one class 17 % at most.
    assert summary["val_miou"] > 0.4

    weights = run / summary["weights"]
    _, metadata = load_weights(weights)
    assert metadata.label_set.names == tuple(MERGED) and metadata.label_set.colors[2] == (100, 9, 9)
    assert metadata.dataset == "streets train" and metadata.licence == "ours"

    assert main(["evaluate", "--weights", str(weights), *data, "--split", "val", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["per_class_iou"]) == list(MERGED)
    assert report["miou"] == pytest.approx(summary["val_miou"], abs=0.02)

    image = streets / "val" / "0.png"
    assert main(["predict", str(image), "--weights", str(weights), "--out", str(tmp_path / "masks")]) == 0
    mask = cv2.imread(str(tmp_path / "masks" / "masks" / "0.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (144, 192) and set(np.unique(mask)) <= {0, 1, 2}

    capsys.readouterr()
    assert main(["evaluate", "--weights", "lsabinet_camvid", *data, "--split", "val"]) == 1
    assert "(11 classes), got streets (3 classes)" in capsys.readouterr().err.strip().splitlines()[-1]
