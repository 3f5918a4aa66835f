"""Output files are checked before a verb does its work."""

import argparse
import os
from pathlib import Path

import pytest

from lsabinet_core.cli.output_files import check_output_files
from lsabinet_core.errors import LsabinetError


def check(**paths):
    check_output_files(argparse.Namespace(**paths), *paths)


def test_files_that_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.json").write_text("{}")
    check(json=tmp_path / "old.json", csv=tmp_path / "new" / "deep" / "f.csv", plot=Path("f.png"), out=None)


def test_files_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LsabinetError, match=r"--json .*: expected a regular file"):
        check(json=tmp_path / "pipe")
    with pytest.raises(LsabinetError, match=r"--json .*: expected a file, got a folder"):
        check(json=tmp_path)
    with pytest.raises(LsabinetError, match=rf"--json .*: expected a file in a folder, but {tmp_path / 'file'} is"):
        check(json=tmp_path / "file" / "below" / "f.json")


def test_two_options_that_write_the_same_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(LsabinetError, match=r"--out and --json both write link/f\.onnx"):
        check(out=Path("f.onnx"), csv=Path("f.csv"), json=Path("link/f.onnx"))
