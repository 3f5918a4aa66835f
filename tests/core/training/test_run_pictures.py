"""Pictures and tables of a finished run."""

import sys

import cv2
import numpy as np
import pytest
import torch

from lsabinet_core.data.synthetic import SyntheticDataset
from lsabinet_core.errors import LsabinetError, TrainingError
from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.inference import Segmenter
from lsabinet_core.labels import CAMVID
from lsabinet_core.models.weights import load_weights
from lsabinet_core.plots.panels import WRONG
from lsabinet_core.training import run_pictures
from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.run_folder import RunFolder
from lsabinet_core.training.run_pictures import write_pictures

SIZE = (96, 128)
CPU = torch.device("cpu")


class Scenes(SyntheticDataset):
    """A few small scenes that record which of them were requested."""

    def __init__(self):
        super().__init__("val", SIZE)
        self.asked = []

    def __len__(self):
        return 8

    def sample(self, index):
        self.asked.append(index)
        return super().sample(index)


@pytest.fixture(scope="module")
def trained(random_weights, tmp_path_factory):
    """Network, metadata and records of a run with two validations."""
    model, metadata = load_weights(random_weights)
    report = evaluate(Segmenter(model, metadata, device="cpu", backend="torch"), Scenes(), limit=2).to_dict()
    run = RunFolder(tmp_path_factory.mktemp("run"))
    run.create(load_recipe("synthetic", ["epochs=2"]), {"dataset": "synthetic"})
    other = {**report, "miou": 0.01, "confusion_matrix": np.eye(11, dtype=int).tolist()}
    for iteration in range(10, 50, 10):
        run.record(iteration=iteration, epoch=1 + iteration // 20, loss=1 / iteration, lr=1e-3, images_per_s=4.0)
    run.record(iteration=20, epoch=1, val=other)
    run.record(iteration=40, epoch=2, val=report)
    return run, model, metadata, report


def test_pictures_and_class_table(trained):
    run, model, metadata, report = trained
    val = Scenes()
    write_pictures(run, model, metadata, val, CPU)
    assert val.asked == [0, 2, 3, 4, 6, 7], "only the samples are segmented; the metrics are not measured again"
    files = sorted(path.name for path in (run.path / "pictures").iterdir())
    assert files == ["confusion.png", "curves.png", "samples.png"]
    for name in files:
        picture = cv2.imread(str(run.path / "pictures" / name))
        assert min(picture.shape[:2]) > 500
        assert picture.std() > 20
    grid = cv2.imread(str(run.path / "pictures" / "samples.png"))
    assert grid.shape[0] > 6 * 240
    assert (grid == WRONG).all(axis=2).any()

    lines = (run.path / "classes.md").read_text().splitlines()
    assert lines[0] == "# lsabinet on synthetic val, iteration 40"
    rows = {cells[0]: cells[1:] for cells in ([c.strip() for c in line.strip("|").split("|")] for line in lines[4:-2])}
    assert list(rows) == list(CAMVID.names)
    matrix = np.array(report["confusion_matrix"])
    for index, (name, (iou, recall, precision, pixels, share, taken)) in enumerate(rows.items()):
        assert float(iou) == pytest.approx(100 * report["per_class_iou"][name], abs=0.005)
        assert int(pixels.replace(",", "")) == matrix[index].sum()
        assert float(recall) == pytest.approx(100 * matrix[index, index] / matrix[index].sum(), abs=0.005)
        assert float(share) == pytest.approx(100 * matrix[index].sum() / matrix.sum(), abs=0.005)
        predicted = matrix[:, index].sum()
        assert precision == ("-" if not predicted else f"{100 * matrix[index, index] / predicted:.2f}")
        others = {CAMVID.names[i]: matrix[index, i] for i in range(11) if i != index}
        assert taken.split(" (")[0] == max(others, key=others.get)
    assert f"mIoU {100 * report['miou']:.2f} %" in lines[-1]


def test_files_that_need_no_matplotlib_are_written(trained, tmp_path, monkeypatch):
    run, model, metadata, _ = trained
    copy = RunFolder(tmp_path / "run")
    copy.path.mkdir()
    for name in ("recipe.yaml", "run.json", "metrics.jsonl"):
        (copy.path / name).write_bytes((run.path / name).read_bytes())

    monkeypatch.setattr(run_pictures, "SAMPLES", 1)
    # The same effect as a package that is not installed.
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LsabinetError, match="pip install 'matplotlib"):
        write_pictures(copy, model, metadata, Scenes(), CPU)
    assert (copy.path / "classes.md").is_file()
    assert (copy.path / "pictures" / "samples.png").is_file()


def test_run_without_validation_is_rejected(trained, tmp_path):
    _run, model, metadata, _ = trained
    copy = RunFolder(tmp_path / "run")
    copy.create(load_recipe("synthetic"), {})
    copy.record(iteration=10, epoch=1, loss=1.0, lr=1.0, images_per_s=1.0)
    with pytest.raises(TrainingError, match="no validation"):
        write_pictures(copy, model, metadata, Scenes(), CPU)
