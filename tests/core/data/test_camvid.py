"""CamVid's layout: samples, and the error for each kind of broken data set."""

import cv2
import numpy as np
import pytest

from lsabinet_core.data import open_dataset
from lsabinet_core.data.listed import drive_fold
from lsabinet_core.errors import DatasetError

NAMES = ("0001TP_1", "0001TP_2")


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / f"{split}annot").mkdir()
        lines = []
        for name in NAMES:
            image = rng.integers(0, 256, (20, 30, 3), np.uint8)
            label = rng.integers(0, 12, (20, 30), np.uint8)
            cv2.imwrite(str(tmp_path / split / f"{name}.png"), image)
            cv2.imwrite(str(tmp_path / f"{split}annot" / f"{name}.png"), label)
            lines.append(f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png")
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n\n")
    return tmp_path


def test_pairs_and_void(root):
    dataset = open_dataset("camvid", root, "train")
    assert len(dataset) == 2
    assert dataset.label_set.names[3] == "Road"
    sample = dataset.sample(1)
    raw = cv2.imread(str(root / "trainannot" / f"{NAMES[1]}.png"), cv2.IMREAD_UNCHANGED)
    assert sample.name == NAMES[1]
    assert np.array_equal(sample.image, cv2.imread(str(root / "train" / f"{NAMES[1]}.png")))
    assert np.array_equal(sample.label, np.where(raw == 11, 255, raw))
    assert sample.label.dtype == np.uint8


def test_trainval_contains_train_and_val(root):
    assert len(open_dataset("camvid", root, "trainval")) == 4


def test_unknown_names(root):
    with pytest.raises(
        DatasetError, match="unknown split 'training' of camvid: choose one of train, val, test, trainval"
    ):
        open_dataset("camvid", root, "training")
    with pytest.raises(DatasetError, match="unknown data set 'kitti'"):
        open_dataset("kitti", root, "train")
    with pytest.raises(DatasetError, match="needs its folder"):
        open_dataset("camvid", None, "train")


def test_missing_list(root):
    (root / "val.txt").unlink()
    with pytest.raises(DatasetError, match=r"val.txt"):
        open_dataset("camvid", root, "val")


def test_missing_file_is_named(root):
    (root / "trainannot" / f"{NAMES[0]}.png").unlink()
    with pytest.raises(DatasetError, match=f"line 1: .*trainannot/{NAMES[0]}.png does not exist"):
        open_dataset("camvid", root, "train")


def test_line_that_is_not_a_pair(root):
    (root / "train.txt").write_text("/SegNet/CamVid/train/a.png\n")
    with pytest.raises(DatasetError, match=r"train.txt, line 1: expected 'image annotation'"):
        open_dataset("camvid", root, "train")


def test_empty_list(root):
    (root / "train.txt").write_text("\n")
    with pytest.raises(DatasetError, match="lists no images"):
        open_dataset("camvid", root, "train")


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_file_that_is_not_an_image(root, content):
    (root / "train" / f"{NAMES[0]}.png").write_bytes(content)
    with pytest.raises(DatasetError, match=f"{NAMES[0]}.png: not an image"):
        open_dataset("camvid", root, "train").sample(0)


def test_label_out_of_range(root):
    label = np.full((20, 30), 12, np.uint8)
    cv2.imwrite(str(root / "trainannot" / f"{NAMES[0]}.png"), label)
    with pytest.raises(DatasetError, match=f"trainannot/{NAMES[0]}.png: label 12 is not an id"):
        open_dataset("camvid", root, "train").sample(0)


def test_colour_label(root):
    cv2.imwrite(str(root / "trainannot" / f"{NAMES[0]}.png"), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(DatasetError, match="single-channel"):
        open_dataset("camvid", root, "train").sample(0)


def test_image_and_label_of_different_sizes(root):
    cv2.imwrite(str(root / "trainannot" / f"{NAMES[0]}.png"), np.zeros((20, 31), np.uint8))
    with pytest.raises(DatasetError, match=r"label of \(20, 31\) for an image of \(20, 30\)"):
        open_dataset("camvid", root, "train").sample(0)


def names(dataset):
    return [dataset.sample(index).name for index in range(len(dataset))]


@pytest.fixture
def driven(root):
    """Three drives; 0001TP is in both train and val. The test split contains another drive."""
    for split, added in (("train", "0006R0_7"), ("val", "0016E5_8"), ("test", "Seq05VD_9")):
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(exist_ok=True)
            source = root / ("trainannot" if folder.endswith("annot") else "train") / f"{NAMES[0]}.png"
            (root / folder / f"{added}.png").write_bytes(source.read_bytes())
        with (root / f"{split}.txt").open("a") as stream:
            stream.write(f"/SegNet/CamVid/{split}/{added}.png /SegNet/CamVid/{split}annot/{added}.png\n")
    return root


def test_drives_come_from_train_and_val(driven):
    assert open_dataset("camvid", driven, "train").drives() == ["0001TP", "0006R0", "0016E5"]


def test_a_fold_leaves_one_drive_out(driven):
    assert drive_fold("0006R0") == ("drives:0006R0:train", "drives:0006R0:val")
    every = names(open_dataset("camvid", driven, "trainval"))
    for drive, count in (("0001TP", 4), ("0006R0", 1), ("0016E5", 1)):
        train, val = (open_dataset("camvid", driven, split) for split in drive_fold(drive))
        assert len(val) == count
        assert all(name.startswith(f"{drive}_") for name in names(val))
        assert sorted(names(train) + names(val)) == sorted(every)
        assert not set(names(train)) & set(names(val))
        assert train.split == f"drives:{drive}:train"


def test_unknown_folds(driven, root):
    with pytest.raises(DatasetError, match=r"unknown drive '0005VD' .* has 0001TP, 0006R0, 0016E5"):
        open_dataset("camvid", driven, "drives:0005VD:val")
    for split in ("drives", "drives:0006R0", "drives:0006R0:test", "folds:0006R0:val"):
        with pytest.raises(DatasetError, match=r"unknown split .* of camvid: .*drives:NAME:train, drives:NAME:val"):
            open_dataset("camvid", driven, split)


def test_one_drive_cannot_be_left_out(root):
    with pytest.raises(DatasetError, match=r"needs two drives or more.* has only 0001TP"):
        open_dataset("camvid", root, "drives:0001TP:train")
