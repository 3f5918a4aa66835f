"""Ids and colours that a deployment chooses for the classes of its network."""

import numpy as np
import pytest

from lsabinet_core.errors import LsabinetError
from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_ros.published_labels import PublishedClass, PublishedLabels

IDS = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("label_set", [CAMVID, CITYSCAPES])
def test_without_parameters_the_classes_are_those_of_the_network(label_set):
    labels = PublishedLabels(label_set)
    assert labels.classes == tuple(map(PublishedClass, range(len(label_set)), label_set.names, label_set.colors))
    assert labels.drawn == label_set
    # Nothing is copied for every frame.
    assert labels.published(labels.visible(IDS)) is IDS


@pytest.mark.parametrize("remap", ["Road=1, Pavement=1, *=255", "3=1,4=1,*=255", " *=255 ,Road = 1,4=1,"])
def test_classes_may_share_an_id_and_others_are_not_published(remap):
    labels = PublishedLabels(CAMVID, remap)
    assert labels.classes == (PublishedClass(1, "Road+Pavement", CAMVID.colors[3]),)
    assert labels.name == CAMVID.name
    expected = np.full((16, 16), 255, np.uint8)
    expected[IDS == 3] = expected[IDS == 4] = 1
    np.testing.assert_array_equal(labels.published(IDS), expected)
    visible = np.where((IDS == 3) | (IDS == 4), IDS, 255)
    np.testing.assert_array_equal(labels.visible(IDS), visible)
    assert labels.drawn.colors[3] == labels.drawn.colors[4] == CAMVID.colors[3]


def test_ids_may_be_exchanged_and_the_others_keep_theirs():
    labels = PublishedLabels(CAMVID, "Sky=1,Building=0,Car=200")
    assert [(entry.id, entry.name) for entry in labels.classes[:3]] == [(0, "Building"), (1, "Sky"), (2, "Pole")]
    assert labels.classes[-1] == PublishedClass(200, "Car", CAMVID.colors[8])
    assert labels.published(np.array([[0, 1, 2, 8, 255]], np.uint8)).tolist() == [[1, 0, 2, 200, 255]]


def test_colours():
    labels = PublishedLabels(CAMVID, "Road=1,Pavement=1,*=255", "Pavement=#0a0B0c")
    assert labels.classes == (PublishedClass(1, "Road+Pavement", (10, 11, 12)),)
    assert labels.drawn.colors[3] == labels.drawn.colors[4] == (10, 11, 12)
    alone = PublishedLabels(CAMVID, palette="10=#ffffff")
    assert [entry.color for entry in alone.classes] == [*CAMVID.colors[:10], (255, 255, 255)]


@pytest.mark.parametrize(
    ("remap", "palette", "words"),
    [
        ("Road", "", ["label_remap", "CLASS=ID", "'Road'"]),
        ("Road=", "", ["label_remap", "CLASS=ID", "'Road='"]),
        ("Road=256", "", ["label_remap", "CLASS=ID", "'Road=256'"]),
        ("Road=-1", "", ["label_remap", "'Road=-1'"]),
        ("Rad=1", "", ["label_remap", "'Rad'", "3 Road"]),
        ("11=1", "", ["label_remap", "'11'", "10 Bicyclist"]),
        ("Road=1,3=2,*=255", "", ["label_remap", "one entry per class", "'3=2'"]),
        ("*=255,*=1", "", ["label_remap", "'*=1'"]),
        ("Road=4", "", ["label_remap", "Pavement", "4"]),
        ("", "Road=red", ["palette", "CLASS=#RRGGBB", "'Road=red'"]),
        ("", "*=#000000", ["palette", "'*'", "3 Road"]),
    ],
)
def test_bad_entries_are_named(remap, palette, words):
    with pytest.raises(LsabinetError) as caught:
        PublishedLabels(CAMVID, remap, palette)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
