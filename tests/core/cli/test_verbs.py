"""Verbs of other packages: a broken verb affects only the users who call it."""

import importlib
import os
import subprocess
import sys

import pytest

from lsabinet_core import __version__
from lsabinet_core.cli import main

GOOD = """
HELP = "count sheep"
def add_arguments(parser):
    parser.add_argument("--sheep", type=int, default=3)
def run(args):
    print("sheep:", args.sheep)
"""
BROKEN = {
    "raises": "import a_module_that_is_not_there",
    "leaves": "raise SystemExit('goodbye')",
    "syntax": "def :",
    "empty": "",
    "norun": "HELP = 'x'\ndef add_arguments(parser): pass",
    "arguments": "HELP = 'x'\ndef add_arguments(parser): 1 / 0\ndef run(args): pass",
}


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Create a package with a working verb, verbs that cannot be loaded, and one with the name of a built-in verb."""
    for name, source in {"sheep": GOOD, "models": "raise RuntimeError", **BROKEN}.items():
        (tmp_path / f"flock_{name}.py").write_text(source)
    info = tmp_path / "flock-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flock\nVersion: 1.0\n")
    lines = [f"{name} = flock_{name}" for name in ("sheep", "models", *BROKEN)]
    lines = ["[lsabinet.verbs]", *lines, "gone = flock_nowhere"]
    (info / "entry_points.txt").write_text("\n".join([*lines, ""]))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("flock_")]:
        del sys.modules[name]


def test_a_verb_of_another_package(plugins, capsys):
    assert main(["sheep", "--sheep", "5"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "sheep: 5\n"
    assert captured.err == ""
    assert {name for name in sys.modules if name.startswith("flock_")} == {"flock_sheep"}


def test_built_in_verbs_load_no_other_package(plugins, capsys):
    assert main(["models", "--classes", "11", "--size", "64x64"]) == 0
    captured = capsys.readouterr()
    assert "dabnet" in captured.out
    assert captured.err == ""
    assert not [name for name in sys.modules if name.startswith("flock_")]


@pytest.mark.parametrize("name", [*BROKEN, "gone"])
def test_calling_a_broken_verb_names_it(plugins, capsys, name):
    assert main([name]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lsabinet: error: verb '{name}' of package flock cannot be loaded (")


def test_the_help_omits_broken_verbs(plugins, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    captured = capsys.readouterr()
    assert "count sheep" in captured.out
    assert "predict" in captured.out
    warnings = captured.err.splitlines()
    assert len(warnings) == len(BROKEN) + 1
    for name in [*BROKEN, "gone"]:
        assert len([line for line in warnings if line.startswith(f"lsabinet: warning: verb '{name}' ")]) == 1


def test_a_benchmark_of_another_package(plugins, capsys):
    with open(plugins / "flock-1.0.dist-info" / "entry_points.txt", "a") as stream:
        stream.write("[lsabinet.benchmarks]\nwool = flock_sheep\nbroken = flock_raises\n")
    assert main(["benchmark", "wool", "--sheep", "7"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "sheep: 7\n"
    (warning,) = [line for line in captured.err.splitlines() if "flock" in line]
    assert warning.startswith("lsabinet: warning: verb 'broken' ")


def test_an_unknown_verb_is_a_usage_error(plugins, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["shepherd"])
    assert "'shepherd'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--version"], ["models", "--help"]])
def test_output_that_cannot_be_written(arguments):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "lsabinet_core.cli", *arguments]
    with open("/dev/full", "w") as full:
        finished = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (finished.returncode, finished.stderr) == (1, "lsabinet: error: [Errno 28] No space left on device\n")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as head:
        assert head.stdout is not None
        head.stdout.close()
        assert head.stderr is not None
        assert head.stderr.read() == ""
    assert head.returncode == 1


@pytest.mark.parametrize(
    "error",
    [MemoryError("Unable to allocate 2 EiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory:\n 9")],
)
def test_too_little_memory_is_an_error_of_one_line(plugins, monkeypatch, capsys, error):
    def fail(args):
        raise error

    monkeypatch.setattr(importlib.import_module("flock_sheep"), "run", fail)
    assert main(["sheep"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lsabinet: error: ")
    assert " ".join(str(error).split()) in line


def test_an_error_of_the_program_is_not_hidden(plugins, monkeypatch):
    monkeypatch.setattr(importlib.import_module("flock_sheep"), "run", lambda args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["sheep"])


def test_characters_that_the_terminal_does_not_have(plugins):
    (plugins / "flock_sheep.py").write_text(GOOD.replace("sheep:", "sch\u00e4fchen:"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(plugins), os.environ["PYTHONPATH"]])}
    command = [sys.executable, "-m", "lsabinet_core.cli", "sheep"]
    for encoding, text in (("ascii:strict", b"sch\\xe4fchen: 3\n"), ("utf-8:strict", "sch\u00e4fchen: 3\n".encode())):
        environment["PYTHONIOENCODING"] = encoding
        finished = subprocess.run(command, env=environment, capture_output=True, timeout=60)
        assert (finished.returncode, finished.stdout, finished.stderr) == (0, text, b"")


def test_from_the_shell(plugins):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(plugins), os.environ["PYTHONPATH"]])}
    command = [sys.executable, "-m", "lsabinet_core.cli", "--version"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert finished.stdout == f"{__version__}\n"
    assert "Traceback" not in finished.stderr
