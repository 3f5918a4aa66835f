"""Images of one's own: what the description says about the annotations, and the error for each way of breaking it."""

import cv2
import numpy as np
import pytest
import yaml

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
    assert sample.label.dtype == np.uint8 and sample.image.shape == (2, 4, 3) and sample.name == "mon_1"


def test_ids_are_the_places_in_the_list_and_void_is_255_where_nothing_is_said(root):
    describe(root, {"name": "plain", "classes": [{"name": n, "color": [0, 0, 0]} for n in "abcdefghij"]})
    dataset = open_dataset("folder", root, "val")
    np.testing.assert_array_equal(dataset.sample(0).label, ANNOTATION)
    assert dataset.licence == "not stated"


def test_drives_are_left_out(root):
    assert open_dataset("folder", root, "train").drives() == ["mon", "tue"]
    assert [open_dataset("folder", root, split).sample(0).name for split in drive_fold("mon")] == ["tue_1", "mon_1"]


def test_a_value_without_a_class_is_named(root):
    describe(root, {**DESCRIPTION, "void": [0]})
    with pytest.raises(DatasetError, match="mon_1.png: label 255 is not an id of this data set"):
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
            {"classes": [{"name": "quay", "color": [1, 2, 3]}, {"name": "quay", "color": [1, 2, 3]}], "void": [255]},
            "expected every class to have a name of its own",
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
def test_descriptions_that_are_wrong(root, change, message):
    describe(root, {**DESCRIPTION, **change})
    with pytest.raises(DatasetError, match=f"dataset.yaml: .*{message}"):
        open_dataset("folder", root, "train")


@pytest.mark.parametrize("content", ["", "- a\n- b", "name: [", "\xff"])
def test_descriptions_that_are_none(root, content):
    (root / "dataset.yaml").write_text(content, encoding="latin-1")
    with pytest.raises(DatasetError, match="dataset.yaml: "):
        open_dataset("folder", root, "train")


def test_no_description(root):
    (root / "dataset.yaml").unlink()
    with pytest.raises(DatasetError, match="dataset.yaml: cannot be read .*expected name and classes as YAML"):
        open_dataset("folder", root, "train")
