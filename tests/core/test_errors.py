"""Shortening of error and log messages to one line."""

import pytest

from lsabinet_core.errors import MAX_CHARACTERS, FrameError, one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FrameError("expected 3 channels,\n  got 4\n"), "expected 3 channels, got 4"),
        ("several\r\n\tlines of text", "several lines of text"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (KeyboardInterrupt(" \n"), "KeyboardInterrupt"),
        ("", ""),
    ],
)
def test_text_is_joined_to_one_line(error, line):
    assert one_line(error) == line


def test_long_text_is_truncated():
    assert one_line(ValueError("x" * 10_000)) == "x" * MAX_CHARACTERS
