"""Runs the commands and Python blocks of the tutorials, in order, in an empty folder.

An ``output`` block must equal the output of the block before it.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(bash|python|output)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture
def run_command(tmp_path):
    """Run a block of commands like a reader who has installed this checkout."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "lsabinet"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m lsabinet_core.cli "$@"\n')
    program.chmod(0o755)
    variables = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def run(text: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", text]
        result = subprocess.run(
            command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400
        )
        assert result.returncode == 0, f"{text}\n{result.stdout}{result.stderr}"
        return result.stdout

    return run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tutorial(page, run_command, tmp_path, monkeypatch):
    folder = tmp_path / "reader"
    folder.mkdir()
    monkeypatch.chdir(folder)
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert {"bash", "python", "output"} == {language for language, _ in blocks}
    # The Python blocks of a page share their variables, as in one session.
    names: dict = {}
    printed = ""
    for language, text in blocks:
        if language == "bash":
            printed = run_command(text)
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(compile(text, page.name, "exec"), names)
            printed = stream.getvalue()
        else:
            assert printed == text
