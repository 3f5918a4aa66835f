"""Training, evaluation and prediction with the classes of a folder data set, from the command line."""

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
PLAIN = ("--backend", "torch", "--threads", "1")
SMALL = [
    *("--recipe", "synthetic", "--set", "augmentation.crop_size=[64, 64]", "--set", "augmentation.scales=[1.0]"),
    *("--set", "batch_size=4", "--set", "schedule.warmup_iterations=2", "--set", "input_size=[72, 96]"),
    *("--set", "epochs=6", "--set", "validate_epochs=6", "--threads", "1", "--workers", "0"),
]


@pytest.fixture
def streets(small_camvid, tmp_path):
    """The small scenes enlarged by two, with a few classes that merge several of CamVid's."""
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
    # Random guessing scores 20 %; always predicting one class at most 17 %.
    assert summary["val_miou"] > 0.4

    weights = run / summary["weights"]
    _, metadata = load_weights(weights)
    assert metadata.label_set.names == tuple(MERGED)
    assert metadata.label_set.colors[2] == (100, 9, 9)
    assert metadata.dataset == "streets train"
    assert metadata.licence == "ours"

    assert main(["evaluate", "--weights", str(weights), *data, "--split", "val", "--format", "json", *PLAIN]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["per_class_iou"]) == list(MERGED)
    assert report["miou"] == pytest.approx(summary["val_miou"], abs=0.02)

    image = streets / "val" / "0.png"
    assert main(["predict", str(image), "--weights", str(weights), "--out", str(tmp_path / "masks"), *PLAIN]) == 0
    mask = cv2.imread(str(tmp_path / "masks" / "masks" / "0.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (144, 192)
    assert set(np.unique(mask)) <= {0, 1, 2}

    capsys.readouterr()
    assert main(["evaluate", "--weights", "lsabinet_camvid", *data, "--split", "val"]) == 1
    assert "(11 classes), got streets (3 classes)" in capsys.readouterr().err.strip().splitlines()[-1]


def make_masks(root, value):
    """Two classes, with masks of 0 and ``value``."""
    root.mkdir()
    classes = [{"name": name, "color": [9, 9, number]} for number, name in enumerate(("background", "road"))]
    (root / "dataset.yaml").write_text(yaml.safe_dump({"name": "masks", "classes": classes}))
    lines = []
    for index in range(4):
        cv2.imwrite(str(root / f"a_{index}.png"), np.full((64, 96, 3), 40 * index, np.uint8))
        cv2.imwrite(str(root / f"l_{index}.png"), np.repeat(np.array([0, value], np.uint8), 48)[None].repeat(64, 0))
        lines.append(f"a_{index}.png l_{index}.png\n")
    for split in ("train", "val"):
        (root / f"{split}.txt").write_text("".join(lines))
    return ["--dataset", "folder", "--root", str(root)]


def test_masks_of_0_and_255(tmp_path, capsys):
    """255 is void: an error before the first step explains how to make it a class."""
    arguments = [*make_masks(tmp_path / "masks", 255), "--out", str(tmp_path / "run"), *SMALL]
    assert main(["train", *arguments]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "masks train has no labelled pixel of: road" in last
    assert "`ids: [255]`" in last
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    description = yaml.safe_load((tmp_path / "masks" / "dataset.yaml").read_text())
    description["void"] = []
    description["classes"][0]["ids"], description["classes"][1]["ids"] = [0], [255]
    (tmp_path / "masks" / "dataset.yaml").write_text(yaml.safe_dump(description))
    assert main(["train", *arguments, "--set", "epochs=1"]) == 0
    assert "no labelled pixel" not in capsys.readouterr().err

    weights, data = str(tmp_path / "run" / "last.safetensors"), arguments[:4]
    assert main(["evaluate", "--weights", weights, *data, *PLAIN]) == 0
    assert "no labelled pixel" not in capsys.readouterr().err
    make_masks(tmp_path / "void", 255)
    void = ["--dataset", "folder", "--root", str(tmp_path / "void")]
    assert main(["evaluate", "--weights", weights, *void, *PLAIN]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "no labelled pixel of: road" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("lsabinet: warning: ")


def test_class_without_training_pixels_is_reported(streets, tmp_path, capsys):
    description = yaml.safe_load((streets / "dataset.yaml").read_text())
    description["classes"].append({"name": "tram", "color": [1, 2, 3], "ids": [42]})
    (streets / "dataset.yaml").write_text(yaml.safe_dump(description))
    data = ["--dataset", "folder", "--root", str(streets)]
    assert main(["train", *data, "--out", str(tmp_path / "run"), *SMALL, "--set", "epochs=1"]) == 0
    lines = capsys.readouterr().err.splitlines()
    (number,) = [number for number, line in enumerate(lines) if "no labelled pixel of: tram" in line]
    assert "warning" in lines[number]
    assert not any("loss" in line for line in lines[:number])
