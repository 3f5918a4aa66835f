"""``lsabinet doctor``: the report agrees with the system, and includes faults instead of stopping at them."""

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
def report(capsys):
    """Run ``lsabinet doctor --json``; returns the printed document."""

    def run() -> dict:
        assert main(["doctor", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def plugins(monkeypatch):
    """Install stand-ins for the entry points of other packages: (name=load, ...)."""

    def install(**loads):
        entries = [SimpleNamespace(name=name, load=load) for name, load in loads.items()]
        monkeypatch.setattr(
            doctor.metadata, "entry_points", lambda group: entries if group == doctor.ENTRY_POINTS else []
        )

    return install


def test_versions_machine_and_weights(report):
    document = report()
    assert document["lsabinet"]["version"] == __version__
    software = document["software"]
    assert software["python"].startswith(platform.python_version())
    # For NumPy, the version of the module and that of its distribution are the same.
    assert (software["numpy"], software["torch"]) == (np.__version__, torch.__version__)
    assert document["machine"]["cores"] == os.cpu_count()
    assert 0 < document["machine"]["available_memory_bytes"] <= document["machine"]["memory_bytes"]
    assert document["weights"] == {name: read_metadata(name).licence for name in list_weights()}
    assert document["gpu"]["torch_sees"] == [
        torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
    ]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags of /proc/cpuinfo have these names on x86 only")
def test_instructions_agree_with_pytorch(report):
    instructions = report()["machine"]["instructions"]
    assert ("avx512f" in instructions) == (torch.backends.cpu.get_cpu_capability() == "AVX512")
    assert ("avx2" in instructions) == (torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"))


def test_every_engine_is_available_or_has_a_reason(report):
    engines = report()["engines"]
    assert list(engines) == list_backends()
    assert engines["torch"]["available"] is True
    if not torch.cuda.is_available():
        assert engines["cuda-graph"]["available"] is False
        assert "CUDA" in engines["cuda-graph"]["reason"]


def test_missing_engine_names_the_package_to_install(report, monkeypatch):
    # Python treats None in sys.modules as a module that cannot be found.
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    engine = report()["engines"]["onnxruntime"]
    assert engine["available"] is False
    assert "pip install" in engine["reason"]


def test_text_output_contains_every_entry_of_the_document(report, tmp_path, capsys):
    path = tmp_path / "report.json"
    assert main(["doctor", "--json", str(path)]) == 0
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    document = json.loads(path.read_text())
    assert list(document) == list(report())
    for name, values in document.items():
        assert name in printed
        for label in values:
            assert any(line.startswith(f"{label.removesuffix('_bytes')} ") for line in printed)
    assert f"version              {__version__}" in printed


def test_failing_section_is_reported(report, monkeypatch):
    def broken():
        raise OSError("share is missing")

    monkeypatch.setattr("lsabinet_core.models.weights.list_weights", broken)
    document = report()
    assert document["weights"] == {"error": "OSError: share is missing"}
    assert document["engines"]["torch"]["available"] is True


def test_other_packages_add_sections(report, plugins):
    def broken():
        raise ImportError("no such module")

    plugins(good=lambda: lambda: {"extra": lambda: {"answer": 42}}, bad=broken)
    document = report()
    assert document["extra"] == {"answer": 42}
    assert document["bad"] == {"error": "ImportError: no such module"}


@pytest.mark.parametrize(("mode", "others"), [(0o700, False), (0o755, False), (0o775, True), (0o777, True)])
def test_cache_folder_and_its_permissions(report, tmp_path, monkeypatch, mode, others):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(folder))
    cache = report()["cache"]
    assert (cache["exists"], cache["writable"], cache["own"]) == (True, True, True)
    assert cache["others_may_write"] is others


def test_cache_folder_that_cannot_be_created(report, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path / "file" / "cache"))
    cache = report()["cache"]
    assert (cache["exists"], cache["writable"]) == (False, False)


def test_home_folder_is_abbreviated_to_hide_the_user_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert doctor.shown(tmp_path / "cache" / "lsabinet") == "~/cache/lsabinet"
    assert doctor.shown(Path("/opt/cache")) == "/opt/cache"
    monkeypatch.delenv("HOME")
    # No entry in the user database.
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    assert doctor.shown(tmp_path / "cache") == str(tmp_path / "cache")


def test_both_distributions_of_one_module_are_listed(monkeypatch):
    versions = {"opencv-python-headless": "4.8.1", "opencv-python": "4.9.0"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor.metadata, "version", version)
    found = doctor._software()
    assert found["opencv"] == "4.8.1 (opencv-python-headless), 4.9.0 (opencv-python)"
