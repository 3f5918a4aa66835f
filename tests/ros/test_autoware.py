"""Masks for Autoware against a decoder that works byte by byte, and the ids that the documentation gives."""

import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from std_msgs.msg import Header

from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_ros.autoware import LABELS, run_length_message
from lsabinet_ros.published_labels import PublishedLabels

PAGE = Path(__file__).resolve().parents[2] / "docs" / "vehicle.md"


def decoded(message) -> np.ndarray:
    data, pixels = bytes(message.data), []
    assert len(data) % 5 == 0
    for start in range(0, len(data), 5):
        value, length = struct.unpack("=Bi", data[start : start + 5])
        assert length > 0
        pixels += [value] * length
    return np.array(pixels, np.uint8).reshape(message.height, message.width)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 3, 255])))
def test_decoded_run_lengths_are_the_mask(mask):
    header = Header(frame_id="front")
    message = run_length_message(mask, header)
    np.testing.assert_array_equal(decoded(message), mask)
    assert (message.header, message.encoding, message.step) == (header, "mono8", mask.shape[1])


def test_runs_are_as_few_as_possible_and_cross_rows():
    mask = np.array([[1, 1, 2], [2, 2, 2]], np.uint8)
    assert bytes(run_length_message(mask, Header()).data) == struct.pack("=Bi", 1, 2) + struct.pack("=Bi", 2, 4)


EXPECTED = {
    "Sky": "SKY",
    "Road": "ROAD",
    "Pavement": "SIDEWALK",
    "Tree": "VEGETATION",
    "Car": "VEHICLE",
    "Pedestrian": "PERSON",
    "Bicyclist": "BIKE",
    "SignSymbol": "TRAFFIC_SIGN",
    "sky": "SKY",
    "road": "ROAD",
    "sidewalk": "SIDEWALK",
    "terrain": "VEGETATION",
    "bus": "VEHICLE",
    "person": "PERSON",
    "rider": "BIKE",
    "traffic light": "TRAFFIC_LIGHT",
    "wall": "WALL",
}


@pytest.mark.parametrize(("place", "label_set"), [(0, CAMVID), (1, CITYSCAPES)])
def test_documented_ids_are_those_of_autoware(place, label_set):
    section = PAGE.read_text(encoding="utf-8").partition("## Autoware")[2].partition("\n## ")[0]
    blocks = [block.partition("```")[0] for block in section.split("```yaml\n")[1:]]
    labels = PublishedLabels(label_set, yaml.safe_load(blocks[place])["label_remap"])
    published = labels.published(np.arange(len(label_set), dtype=np.uint8)[None])[0]
    names = {name: LABELS[id] for name, id in zip(label_set.names, published, strict=True)}
    assert len(names) == len(label_set)
    assert {name: label for name, label in names.items() if name in EXPECTED} == {
        name: label for name, label in EXPECTED.items() if name in names
    }
    listed = section.partition("Autoware's ids are ")[2].partition(". ")[0].replace(" and ", ", ").replace("\n", " ")
    assert [entry.split()[1] for entry in listed.split(", ")] == list(LABELS)
