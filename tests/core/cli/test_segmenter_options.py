"""The argparse types of the verbs: what they accept, and the error for everything else."""

import argparse

import pytest

from lsabinet_core.cli.segmenter_options import count, parse_size, positive
from lsabinet_core.cli.training_options import seeds


def test_accepted_values():
    assert count("0") == 0
    assert positive("2147483647") == 2**31 - 1
    assert parse_size("360X65535") == (360, 65535)
    assert seeds("3, 1") == (3, 1)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (count, "-1", "0 or more"),
        (positive, "0", "1 or more"),
        (count, "2147483648", "at most 2147483647"),
        (positive, "9" * 30, "at most 2147483647"),
        (seeds, "1,2147483648", "at most 2147483647"),
        (seeds, "1,1", "different whole numbers"),
        (parse_size, "360", "HEIGHTxWIDTH"),
        (parse_size, "64x65536", "at most 65535 pixels"),
    ],
)
def test_refused_values(parse, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        parse(text)
