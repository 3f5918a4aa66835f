"""The commands, links and code in the documents are valid."""

import re
import runpy
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from lsabinet_core.cli import VERBS, _parser
from lsabinet_core.data import open_dataset

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCUMENTS = [path for folder in (".", "docs", "weights", ".github") for path in sorted((ROOT / folder).glob("*.md"))]
DOCUMENTS += sorted((ROOT / "docs" / "tutorials").glob("*.md"))


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(document: Path, program: str) -> list[str]:
    """The command lines that call ``program``, with continuation lines joined."""
    lines = (line for block in blocks(document, "bash") for line in block.replace("\\\n", " ").splitlines())
    lines = (line.partition("#")[0].strip() for line in lines)
    return [line for line in lines if line.split(" ")[0] == program]


@pytest.mark.parametrize("command", [command for document in DOCUMENTS for command in commands(document, "lsabinet")])
def test_command_lines_can_be_parsed(command):
    arguments = _parser().parse_args(shlex.split(command)[1:])
    assert callable(arguments.run)


def test_every_verb_has_an_example():
    assert {*VERBS, "bag", "demo"} == {line.split()[1] for line in commands(ROOT / "docs" / "cli.md", "lsabinet")}


def test_scripts_exist():
    scripts = {name for path in DOCUMENTS for name in re.findall(r"\b(scripts/[\w.]+)", path.read_text())}
    assert {"scripts/demo.sh", "scripts/test.sh"} <= scripts
    assert all((ROOT / script).is_file() for script in scripts)


def test_linked_files_exist():
    links = [
        document.parent / link.partition("#")[0]
        for document in DOCUMENTS
        for link in re.findall(r"\]\(([^)]+)\)", document.read_text())
        if "://" not in link
    ]
    assert links
    assert [link for link in links if not link.exists()] == []


def test_python_example_runs(tmp_path, monkeypatch):
    image = open_dataset("synthetic", None, "test").sample(0).image
    cv2.imwrite(str(tmp_path / "street.png"), image)
    (code,) = blocks(README, "python")
    (tmp_path / "example.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    result = runpy.run_path("example.py")["result"]
    assert result.mask.shape == result.confidence.shape == image.shape[:2]
    assert result.mask.dtype == np.uint8
    assert result.timings.inference_ms > 0
