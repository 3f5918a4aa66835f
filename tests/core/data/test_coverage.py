"""Warnings and errors about classes without labelled pixels."""

from types import SimpleNamespace

import numpy as np
import pytest

from lsabinet_core.data.coverage import check_trainable, missing_classes
from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import LabelSet


def split(*names):
    label_set = LabelSet("some", names, tuple((9, 9, index) for index in range(len(names))))
    return SimpleNamespace(name="streets", split="train", label_set=label_set)


def test_missing_classes_are_named():
    dataset = split("road", "kerb", "car")
    assert missing_classes(dataset, np.array([7, 1, 9])) is None
    assert check_trainable(dataset, np.array([7, 1, 9])) is None
    for check in (missing_classes, check_trainable):
        warning = check(dataset, np.array([7, 0, 9]))
        assert warning == "streets train has no labelled pixel of: kerb"


def test_a_single_class_is_a_warning_in_evaluation_and_an_error_in_training():
    dataset = split("background", "road")
    pixels = np.array([700, 0])
    warning = missing_classes(dataset, pixels)
    assert "no labelled pixel of: road" in warning
    with pytest.raises(DatasetError, match=r"at least two classes .*no labelled pixel of: road") as caught:
        check_trainable(dataset, pixels)
    for text in (warning, str(caught.value)):
        assert "`ids: [255]`" in text
        assert "`void: []`" in text


def test_no_labelled_pixel_at_all():
    for check in (missing_classes, check_trainable):
        with pytest.raises(DatasetError, match=r"streets train has no labelled pixel: all are void\."):
            check(split("background", "road"), np.array([0, 0]))
