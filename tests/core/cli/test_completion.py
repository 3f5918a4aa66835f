"""Shell completions, requested in the way of argcomplete's shell function."""

import os
import subprocess
import sys


def completions(line: str, tmp_path) -> list[str]:
    answer = tmp_path / "answer"
    variables = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    command = [sys.executable, "-m", "lsabinet_core.cli"]
    result = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return answer.read_text().split()


def test_verbs_options_and_values(tmp_path):
    assert completions("lsabinet ev", tmp_path) == ["evaluate"]
    assert set(completions("lsabinet m", tmp_path)) == {"models"}
    assert "--weights" in completions("lsabinet predict --we", tmp_path)
    assert completions("lsabinet train --dataset syn", tmp_path) == ["synthetic"]


def test_without_argcomplete_the_command_runs_normally(monkeypatch, capsys):
    from lsabinet_core.cli import main

    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out
