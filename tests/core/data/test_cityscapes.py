"""Cityscapes' layout, and its ids against cityscapesScripts."""

import cv2
import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as official_labels

from lsabinet_core.data import open_dataset
from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import CITYSCAPES

STEM = "aachen_000000_000019"


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        (tmp_path / "leftImg8bit" / split / "aachen").mkdir(parents=True)
        (tmp_path / "gtFine" / split / "aachen").mkdir(parents=True)
        cv2.imwrite(
            str(tmp_path / "leftImg8bit" / split / "aachen" / f"{STEM}_leftImg8bit.png"),
            rng.integers(0, 256, (16, 40, 3), np.uint8),
        )
        # Every labelId, including -1, which a uint8 file stores as 255.
        ids = np.tile(np.array([label.id for label in official_labels]).astype(np.uint8), 19)[: 16 * 40].reshape(16, 40)
        cv2.imwrite(str(tmp_path / "gtFine" / split / "aachen" / f"{STEM}_gtFine_labelIds.png"), ids)
    return tmp_path


def test_label_ids_become_train_ids(root):
    sample = open_dataset("cityscapes", root, "train").sample(0)
    assert sample.name == STEM
    raw = cv2.imread(str(root / "gtFine/train/aachen" / f"{STEM}_gtFine_labelIds.png"), cv2.IMREAD_UNCHANGED)
    official = {label.id % 256: label.trainId for label in official_labels}
    expected = np.vectorize(lambda value: official[value] if 0 <= official[value] < 19 else 255)(raw)
    assert np.array_equal(sample.label, expected)
    assert set(np.unique(sample.label)) == {*range(19), 255}


def test_names_and_colours_are_the_official_ones():
    evaluated = sorted((label for label in official_labels if 0 <= label.trainId < 19), key=lambda label: label.trainId)
    assert CITYSCAPES.names == tuple(label.name for label in evaluated)
    assert CITYSCAPES.colors == tuple(label.color for label in evaluated)


def test_train_ids_are_read_unchanged(root):
    folder = root / "gtFine/val/aachen"
    (folder / f"{STEM}_gtFine_labelIds.png").unlink()
    ids = np.resize(np.array([*range(19), 255], np.uint8), (16, 40))
    cv2.imwrite(str(folder / f"{STEM}_gtFine_labelTrainIds.png"), ids)
    assert np.array_equal(open_dataset("cityscapes", root, "val").sample(0).label, ids)
    ids[3, 4] = 19
    cv2.imwrite(str(folder / f"{STEM}_gtFine_labelTrainIds.png"), ids)
    with pytest.raises(DatasetError, match=r"labelTrainIds.png: label 19 is not an id"):
        open_dataset("cityscapes", root, "val").sample(0)


def test_test_split_has_no_labels(root):
    assert open_dataset("cityscapes", root, "test").sample(0).label is None


def test_missing_label_is_named(root):
    (root / "gtFine/val/aachen" / f"{STEM}_gtFine_labelIds.png").unlink()
    with pytest.raises(DatasetError, match=f"{STEM}_leftImg8bit.png: no label; expected .*{STEM}_gtFine_labelIds.png"):
        open_dataset("cityscapes", root, "val")


def test_missing_folder_and_split(tmp_path, root):
    with pytest.raises(DatasetError, match="leftImg8bit/train"):
        open_dataset("cityscapes", tmp_path / "nowhere", "train")
    with pytest.raises(DatasetError, match="unknown Cityscapes split 'trainval'"):
        open_dataset("cityscapes", root, "trainval")
