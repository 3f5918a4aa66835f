"""``lsabinet doctor``: the page says what the system says, and a fault is a line on it, not its end."""

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lsabinet_core import __version__
from lsabinet_core.cli import doctor, main
from lsabinet_core.inference.backends import list_backends
from lsabinet_core.models.weights import list_weights, read_metadata


@pytest.fixture
def page(capsys):
    """The document that ``lsabinet doctor --json`` prints."""

    def run() -> dict:
        assert main(["doctor", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def plugins(monkeypatch):
    """Stand-ins for other packages' entry points: (name=load, ...)."""

    def install(**loads):
        entries = [SimpleNamespace(name=name, load=load) for name, load in loads.items()]
        monkeypatch.setattr(
            doctor.metadata, "entry_points", lambda group: entries if group == doctor.ENTRY_POINTS else []
        )

    return install


def test_versions_machine_and_weights(page):
    document = page()
    assert document["lsabinet"]["version"] == __version__
    software = document["software"]
    assert software["python"].startswith(platform.python_version())
    # The compiled numpy has no separate version; the distribution's is the same.
    assert (software["numpy"], software["torch"]) == (np.__version__, torch.__version__)
    assert document["machine"]["cores"] == os.cpu_count()
    assert 0 < document["machine"]["available_memory_bytes"] <= document["machine"]["memory_bytes"]
    assert document["weights"] == {name: read_metadata(name).licence for name in list_weights()}
    assert document["gpu"]["torch_sees"] == [
        torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
    ]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags of /proc/cpuinfo have these names on x86 only")
def test_instructions_are_those_that_pytorch_finds(page):
    instructions = page()["machine"]["instructions"]
    assert ("avx512f" in instructions) == (torch.backends.cpu.get_cpu_capability() == "AVX512")
    assert ("avx2" in instructions) == (torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"))


def test_every_engine_is_available_or_has_a_reason(page):
    engines = page()["engines"]
    assert list(engines) == list_backends()
    assert engines["torch"]["available"] is True
    if not torch.cuda.is_available():
        assert engines["cuda-graph"]["available"] is False
        assert "CUDA" in engines["cuda-graph"]["reason"]


def test_an_engine_that_is_not_installed_names_its_package(page, monkeypatch):
    # Python takes None for a module that cannot be found.
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    engine = page()["engines"]["onnxruntime"]
    assert engine["available"] is False
    assert "pip install" in engine["reason"]


def test_the_table_has_every_label_of_the_document(page, tmp_path, capsys):
    path = tmp_path / "page.json"
    assert main(["doctor", "--json", str(path)]) == 0
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    document = json.loads(path.read_text())
    assert list(document) == list(page())
    for name, values in document.items():
        assert name in printed
        for label in values:
            assert any(line.startswith(f"{label.removesuffix('_bytes')} ") for line in printed)
    assert f"version              {__version__}" in printed


def test_a_fault_is_a_line_of_the_page(page, monkeypatch):
    def broken():
        raise OSError("share is missing")

    monkeypatch.setattr("lsabinet_core.models.weights.list_weights", broken)
    document = page()
    assert document["weights"] == {"error": "OSError: share is missing"}
    assert document["engines"]["torch"]["available"] is True


def test_other_packages_add_sections(page, plugins):
    def broken():
        raise ImportError("no such module")

    plugins(good=lambda: lambda: {"extra": lambda: {"answer": 42}}, bad=broken)
    document = page()
    assert document["extra"] == {"answer": 42}
    assert document["bad"] == {"error": "ImportError: no such module"}


@pytest.mark.parametrize(("mode", "others"), [(0o700, False), (0o755, False), (0o775, True), (0o777, True)])
def test_cache_folder_and_who_may_write_it(page, tmp_path, monkeypatch, mode, others):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(folder))
    cache = page()["cache"]
    assert (cache["exists"], cache["writable"], cache["own"]) == (True, True, True)
    assert cache["others_may_write"] is others


def test_a_cache_that_cannot_be_made(page, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path / "file" / "cache"))
    cache = page()["cache"]
    assert (cache["exists"], cache["writable"]) == (False, False)


def test_the_users_name_is_not_on_the_page(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert doctor.shown(tmp_path / "cache" / "lsabinet") == "~/cache/lsabinet"
    assert doctor.shown(Path("/opt/cache")) == "/opt/cache"


def test_two_distributions_of_one_module_are_both_shown(monkeypatch):
    versions = {"opencv-python-headless": "4.8.1", "opencv-python": "4.9.0"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor.metadata, "version", version)
    found = doctor._software()
    assert found["opencv"] == "4.8.1 (opencv-python-headless), 4.9.0 (opencv-python)"
