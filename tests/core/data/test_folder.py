"""Folder data sets: annotations read as described in dataset.yaml, and the error for each kind of broken data set."""

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from lsabinet_core.data import open_dataset
from lsabinet_core.data.listed import drive_fold
from lsabinet_core.errors import DatasetError

DESCRIPTION = {
    "name": "harbour",
    "licence": "ours",
    "void": [0, 255],
    "classes": [
        {"name": "quay", "color": [90, 90, 90], "ids": [1]},
        {"name": "water", "color": [0, 0, 200], "ids": [2, 7]},
        {"name": "crane", "color": [200, 200, 0], "ids": [9]},
    ],
}
ANNOTATION = np.array([[0, 1, 2, 7], [9, 255, 1, 2]], np.uint8)
LABEL = np.array([[255, 0, 1, 1], [2, 255, 0, 1]])


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    for split, name in (("train", "mon_1"), ("val", "tue_1")):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.jpg"), np.full((2, 4, 3), 99, np.uint8))
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), ANNOTATION)
        (tmp_path / f"{split}.txt").write_text(f"images/{name}.jpg images/{name}.png\n")
    describe(tmp_path, DESCRIPTION)
    return tmp_path


def describe(root, description):
    (root / "dataset.yaml").write_text(yaml.safe_dump(description))


def test_classes_and_void_are_those_of_the_description(root):
    dataset = open_dataset("folder", root, "train")
    assert (dataset.name, dataset.licence, dataset.split, len(dataset)) == ("harbour", "ours", "train", 1)
    assert dataset.label_set.names == ("quay", "water", "crane")
    assert dataset.label_set.colors[1] == (0, 0, 200)
    sample = dataset.sample(0)
    np.testing.assert_array_equal(sample.label, LABEL)
    assert sample.label.dtype == np.uint8
    assert sample.image.shape == (2, 4, 3)
    assert sample.name == "mon_1"


def test_default_ids_are_list_positions_and_default_void_is_255(root):
    describe(root, {"name": "plain", "classes": [{"name": n, "color": [i, 0, 0]} for i, n in enumerate("abcdefghij")]})
    dataset = open_dataset("folder", root, "val")
    np.testing.assert_array_equal(dataset.sample(0).label, ANNOTATION)
    assert dataset.licence == "not stated"


def test_drives_are_left_out(root):
    assert open_dataset("folder", root, "train").drives() == ["mon", "tue"]
    assert [open_dataset("folder", root, split).sample(0).name for split in drive_fold("mon")] == ["tue_1", "mon_1"]


def palette_png(label, path):
    image = Image.frombytes("P", label.shape[::-1], label.tobytes())
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(path, transparency=0)


@pytest.mark.parametrize(
    "save",
    [
        lambda label, path: Image.fromarray(label > 0).save(path),
        lambda label, path: Image.fromarray(label.astype(np.uint16)).save(path),
        palette_png,
    ],
)
def test_annotations_of_other_bit_depths(root, save):
    describe(root, {"name": "two", "classes": [{"name": n, "color": [9, 9, i]} for i, n in enumerate("ab")]})
    label = (np.arange(8).reshape(2, 4) % 3 == 0).astype(np.uint8)
    save(label, root / "images" / "mon_1.png")
    np.testing.assert_array_equal(open_dataset("folder", root, "train").sample(0).label, label)


def test_masks_of_0_and_255_are_read_as_described(root):
    classes = [{"name": "quay", "color": [1, 1, 1], "ids": [0]}, {"name": "water", "color": [2, 2, 2], "ids": [255]}]
    describe(root, {"name": "two", "void": [], "classes": classes})
    mask = np.array([[0, 255, 0, 0], [255, 255, 0, 0]], np.uint8)
    cv2.imwrite(str(root / "images" / "mon_1.png"), mask)
    np.testing.assert_array_equal(open_dataset("folder", root, "train").sample(0).label, mask // 255)


def test_a_lossy_annotation_is_rejected_whatever_its_suffix(root):
    content = cv2.imencode(".jpg", ANNOTATION)[1].tobytes()
    (root / "images" / "mon_1.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"mon_1.png: expected a PNG .* got JPEG"):
        open_dataset("folder", root, "train").sample(0)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_from_windows(root, encoding, end):
    """PowerShell's `>` writes UTF-16 with a byte order mark and CRLF."""
    for name in ("train.txt", "dataset.yaml"):
        text = (root / name).read_text()
        (root / name).write_bytes(text.replace("\n", end).encode(encoding))
    np.testing.assert_array_equal(open_dataset("folder", root, "train").sample(0).label, LABEL)


def test_lists_with_unsupported_encoding_or_backslashes(root):
    (root / "train.txt").write_bytes("images/mon_1.jpg images/mon_1.png\n".encode("utf-16-le"))
    with pytest.raises(DatasetError, match=r"train.txt"):
        open_dataset("folder", root, "train")
    (root / "train.txt").write_text("images\\mon_1.jpg images\\mon_1.png\n")
    with pytest.raises(DatasetError, match=r"train.txt, line 1: .* does not exist: separate folders with /"):
        open_dataset("folder", root, "train")


def test_a_value_without_a_class_is_named(root):
    describe(root, {**DESCRIPTION, "void": [0]})
    with pytest.raises(DatasetError, match=r"mon_1.png: label 255 is not an id of this data set"):
        open_dataset("folder", root, "train").sample(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "name: input should be a valid string, got None"),
        ({"classes": DESCRIPTION["classes"][:1]}, "classes: tuple should have at least 2 items"),
        ({"colours": 3}, "unknown key 'colours'; allowed are name, licence, void, classes"),
        ({"void": [1]}, "value 1 is void and class quay: expected each value once"),
        (
            {"classes": [{"name": "void", "color": [0, 0, 0], "ids": [255]}, {"name": "b", "color": [1, 2, 3]}]},
            "value 255 is void and class void: expected each value once",
        ),
        ({"void": [256]}, "void.0: input should be less than or equal to 255, got 256"),
        (
            {"classes": [{"name": "quay", "color": [1, 2, 3]}, {"name": "quay", "color": [1, 2, 4]}], "void": [255]},
            "expected unique class names",
        ),
        (
            {"classes": [{"name": "quay", "color": [1, 2, 3]}, {"name": "kerb", "color": [1, 2, 3]}], "void": [255]},
            r"classes quay and kerb have the color \[1, 2, 3\]: choose another",
        ),
        (
            {"classes": [{"name": "a", "colour": [1, 2, 3]}, {"name": "b", "color": [1, 2, 3]}]},
            "classes.0.color is mis",
        ),
        (
            {"classes": [{"name": "a", "color": [1, 2, 3], "id": 3}, {"name": "b", "color": [1, 2, 3]}]},
            "unknown key 'classes.0.id'; allowed are name, color, ids",
        ),
    ],
)
def test_invalid_descriptions(root, change, message):
    describe(root, {**DESCRIPTION, **change})
    with pytest.raises(DatasetError, match=f"dataset.yaml: .*{message}"):
        open_dataset("folder", root, "train")


@pytest.mark.parametrize("content", ["", "- a\n- b", "name: [", "\xff"])
def test_files_that_are_not_a_description(root, content):
    (root / "dataset.yaml").write_text(content, encoding="latin-1")
    with pytest.raises(DatasetError, match=r"dataset.yaml: "):
        open_dataset("folder", root, "train")


def test_missing_description(root):
    (root / "dataset.yaml").unlink()
    with pytest.raises(DatasetError, match=r"dataset.yaml: cannot be read .*expected name and classes as YAML"):
        open_dataset("folder", root, "train")


@pytest.mark.parametrize(("values", "warned"), [((0, 255), True), ((0, 1), False), ((0, 1, 255), False), ((0,), False)])
def test_a_mask_of_0_and_255_is_reported_once(root, caplog, values, warned):
    classes = [{"name": "quay", "color": [1, 1, 1]}, {"name": "water", "color": [2, 2, 2]}]
    describe(root, {"name": "harbour", "classes": classes})
    cv2.imwrite(str(root / "images" / "mon_1.png"), np.resize(np.array(values, np.uint8), (2, 4)))
    dataset = open_dataset("folder", root, "train")
    for _ in range(2):
        dataset.sample(0)
    told = [record.getMessage() for record in caplog.records if record.name == "lsabinet_core.data.folder"]
    assert len(told) == warned
    assert all("ids: [255]" in message and "void: []" in message for message in told)
