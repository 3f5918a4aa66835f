"""CamVid's layout: what is read, and the error for each way of breaking it."""

import cv2
import numpy as np
import pytest

from lsabinet_core.data import open_dataset
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


def test_trainval_is_both(root):
    assert len(open_dataset("camvid", root, "trainval")) == 4


def test_unknown_names(root):
    with pytest.raises(DatasetError, match="unknown CamVid split 'training': choose one of train, val, test, trainval"):
        open_dataset("camvid", root, "training")
    with pytest.raises(DatasetError, match="unknown data set 'kitti'"):
        open_dataset("kitti", root, "train")
    with pytest.raises(DatasetError, match="needs its folder"):
        open_dataset("camvid", None, "train")


def test_missing_list(root):
    (root / "val.txt").unlink()
    with pytest.raises(DatasetError, match="val.txt"):
        open_dataset("camvid", root, "val")


def test_missing_file_is_named(root):
    (root / "trainannot" / f"{NAMES[0]}.png").unlink()
    with pytest.raises(DatasetError, match=f"line 1: .*trainannot/{NAMES[0]}.png does not exist"):
        open_dataset("camvid", root, "train")


def test_line_that_is_no_pair(root):
    (root / "train.txt").write_text("/SegNet/CamVid/train/a.png\n")
    with pytest.raises(DatasetError, match="train.txt, line 1: expected 'image annotation'"):
        open_dataset("camvid", root, "train")


def test_empty_list(root):
    (root / "train.txt").write_text("\n")
    with pytest.raises(DatasetError, match="lists no images"):
        open_dataset("camvid", root, "train")


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_file_that_is_no_image(root, content):
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


def test_pair_of_two_sizes(root):
    cv2.imwrite(str(root / "trainannot" / f"{NAMES[0]}.png"), np.zeros((20, 31), np.uint8))
    with pytest.raises(DatasetError, match=r"label of \(20, 31\) for an image of \(20, 30\)"):
        open_dataset("camvid", root, "train").sample(0)
