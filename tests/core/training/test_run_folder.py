"""The records of a run in its folder."""

import json
import shlex
import sys

from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.run_folder import RunFolder


def test_the_recorded_command_can_be_repeated(tmp_path, monkeypatch):
    command = ["lsabinet", "train", "--root", "my streets", "--set", "initial_weights=''"]
    monkeypatch.setattr(sys, "argv", command)
    RunFolder(tmp_path / "run").create(load_recipe("synthetic"), {})
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())["command"]
    assert shlex.split(recorded) == command
