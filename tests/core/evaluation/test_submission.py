"""Submissions to the Cityscapes server, and our metrics against those of cityscapesScripts."""

import copy
import math
import zipfile

import cv2
import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official

from lsabinet_core.data import open_dataset
from lsabinet_core.errors import DatasetError
from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.evaluation.submission import CityscapesSubmission, to_label_ids
from lsabinet_core.inference import Segmentation, Timings
from lsabinet_core.labels import CITYSCAPES

SIZE = (48, 96)
NAMES = ("frankfurt_000000_000294", "frankfurt_000001_000019", "lindau_000000_000019")
TRAIN_ID_OF_TRAIN = 16


@pytest.fixture
def root(tmp_path):
    """Create Cityscapes' layout: val with labels of all ids except train, test without labels."""
    rng = np.random.default_rng(0)
    for split in ("val", "test"):
        for name in NAMES:
            city = name.split("_")[0]
            image = tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), rng.integers(0, 256, (*SIZE, 3), np.uint8))
            if split == "val":
                label = tmp_path / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
                label.parent.mkdir(parents=True, exist_ok=True)
                ids = rng.choice([i for i in range(34) if i != 31], (8, 16)).astype(np.uint8)
                cv2.imwrite(str(label), cv2.resize(ids, SIZE[::-1], interpolation=cv2.INTER_NEAREST))
    return tmp_path


class Answers:
    """A segmenter that returns the masks of a list in order."""

    label_set = CITYSCAPES

    def __init__(self, masks):
        self._masks = iter(masks)

    def segment(self, frames, *, confidence):
        return [Segmentation(next(self._masks), None, Timings(1, 1, 1)) for _ in frames]

    def network_size(self, frame_size):
        return frame_size

    def describe(self):
        return {}


def guesses(seed: int, dataset, never: set[int]) -> list[np.ndarray]:
    """Return masks that are correct in about 70 % of the pixels and never contain the classes in ``never``."""
    rng = np.random.default_rng(seed)
    allowed = np.array([i for i in range(19) if i not in never], np.uint8)
    masks = []
    for index in range(len(dataset)):
        label, noise = dataset.sample(index).label, rng.choice(allowed, SIZE)
        masks.append(np.where((rng.random(SIZE) < 0.7) & np.isin(label, allowed), label, noise))
    return masks


def official_results(root, results):
    """Run cityscapesScripts on a folder of results, in which it finds the files by name."""
    settings = copy.copy(official.args)
    settings.evalInstLevelScore, settings.JSONOutput, settings.quiet = False, False, True
    settings.predictionPath, settings.predictionWalk = str(results), None
    labels = sorted(str(path) for path in root.glob("gtFine/val/*/*_gtFine_labelIds.png"))
    assert len(labels) == len(NAMES)
    found = [official.getPrediction(settings, label) for label in labels]
    return official.evaluateImgLists(found, labels, settings)


# The class "train" is in neither labels nor masks (IoU undefined), or only predicted (0); in the last case, two classes
# that are present are never predicted (0).
@pytest.mark.parametrize(("seed", "never"), [(0, {TRAIN_ID_OF_TRAIN}), (1, set()), (2, {TRAIN_ID_OF_TRAIN, 4, 11})])
def test_same_metrics_as_cityscapesscripts_to_the_last_digit(root, tmp_path, seed, never):
    dataset = open_dataset("cityscapes", root, "val")
    path = tmp_path / "out" / "results.zip"
    with CityscapesSubmission(path) as submission:
        report = evaluate(
            Answers(guesses(seed, dataset, never)),
            dataset,
            on_result=lambda sample, result: submission.add(sample.name, result.mask),
        )
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "results")
    theirs = official_results(root, tmp_path / "results")

    figures = report.to_dict()
    assert figures["miou"] == theirs["averageScoreClasses"]
    for name, iou in figures["per_class_iou"].items():
        score = theirs["classScores"][name]
        assert (iou is None and math.isnan(score)) or iou == score, name
    assert (figures["per_class_iou"]["train"] is None) == (TRAIN_ID_OF_TRAIN in never)
    assert figures["miou_paper_rule"] >= figures["miou"]


def test_zip_matches_the_format_of_the_server(root, tmp_path):
    dataset = open_dataset("cityscapes", root, "test")
    masks = [np.random.default_rng(i).integers(0, 19, SIZE).astype(np.uint8) for i in range(3)]
    path = tmp_path / "results.zip"
    with CityscapesSubmission(path) as submission:
        for index, mask in enumerate(masks):
            submission.add(dataset.sample(index).name, mask)
        assert not path.exists()
    assert submission.count == 3
    assert submission.sizes == {SIZE}
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{name}_leftImg8bit.png" for name in NAMES]
        for name, mask in zip(archive.namelist(), masks):
            image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            assert image.shape == SIZE
            assert image.dtype == np.uint8
            official_ids = np.array([official.trainId2label[i].id for i in range(19)])
            np.testing.assert_array_equal(image, official_ids[mask])


def test_same_masks_same_bytes(tmp_path):
    for name in ("a.zip", "b.zip"):
        with CityscapesSubmission(tmp_path / name) as submission:
            submission.add(NAMES[0], np.full(SIZE, 3, np.uint8))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_an_error_keeps_the_existing_zip(tmp_path):
    path = tmp_path / "results.zip"
    path.write_bytes(b"older")
    with pytest.raises(ValueError, match=r"class ids 0\.\.18, got 19"), CityscapesSubmission(path) as submission:
        submission.add(NAMES[0], np.zeros(SIZE, np.uint8))
        submission.add(NAMES[1], np.full(SIZE, 19, np.uint8))
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_paths_that_are_not_zip_files_are_rejected(tmp_path):
    (tmp_path / "folder.zip").mkdir()
    for name in ("results.tar", "results", "folder.zip"):
        with pytest.raises(DatasetError, match=rf"ends in .zip, got .*{name}"):
            CityscapesSubmission(tmp_path / name)


def test_ids_of_an_empty_mask():
    assert to_label_ids(np.zeros((0, 4), np.uint8)).shape == (0, 4)
