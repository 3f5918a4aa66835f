"""Data sets can be sent to other processes, including spawned ones."""

import copy
import multiprocessing
import pickle

import cv2
import numpy as np
import pytest
import yaml

from lsabinet_core.data import open_dataset


@pytest.fixture
def datasets(tmp_path):
    classes = [{"name": name, "color": [9, 9, number]} for number, name in enumerate("abc")]
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"name": "own", "classes": classes}))
    cv2.imwrite(str(tmp_path / "d_0.png"), np.full((6, 8, 3), 9, np.uint8))
    cv2.imwrite(str(tmp_path / "l_0.png"), np.arange(48, dtype=np.uint8).reshape(6, 8) % 3)
    (tmp_path / "train.txt").write_text("d_0.png l_0.png\n")
    for folder, suffix in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelTrainIds")):
        place = tmp_path / folder / "train" / "city"
        place.mkdir(parents=True)
        source = "d_0.png" if folder == "leftImg8bit" else "l_0.png"
        (place / f"city_000000_000000_{suffix}.png").write_bytes((tmp_path / source).read_bytes())
    names = ("folder", "camvid", "cityscapes", "synthetic")
    return {name: open_dataset(name, tmp_path, "train") for name in names}


@pytest.mark.parametrize("transfer", [lambda dataset: pickle.loads(pickle.dumps(dataset)), copy.deepcopy])  # noqa: S301
def test_copies_give_the_same_samples(datasets, transfer):
    for dataset in datasets.values():
        ours, theirs = dataset.sample(0), transfer(dataset).sample(0)
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.label, theirs.label)


def test_a_spawned_process_reads_them(datasets):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for dataset in datasets.values():
            theirs = pool.apply_async(dataset.sample, (0,)).get(timeout=60)
            np.testing.assert_array_equal(dataset.sample(0).label, theirs.label)
