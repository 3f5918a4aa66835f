"""``lsabinet doctor``: the installation and the machine, for a bug report.

A page is made of sections, each a function that returns ``{label: value}`` with JSON values; a label that ends in
``_bytes`` is printed as MiB or GiB. A section that fails becomes a line with the error, so that a broken installation
can be described as well. Other packages add sections through the entry point group ``lsabinet.doctor``: a function that
returns ``{name: section}``.
"""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from lsabinet_core.errors import LsabinetError

HELP = "describe the installation and the machine on one page, for a bug report"

ENTRY_POINTS = "lsabinet.doctor"

SOFTWARE = {
    "torch": ("torch",),
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "openvino": ("openvino",),
    "nncf": ("nncf",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt": ("tensorrt",),
    "numba": ("numba",),
    "rosbags": ("rosbags",),
}
"""Distributions that may provide a module; the first one installed gives the version."""

MODULES = {"opencv": "cv2"}
"""Modules whose names differ from those in ``SOFTWARE``."""

INSTRUCTIONS = (
    *("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
"""Flags of /proc/cpuinfo that decide how fast a network runs: those of x86, then those of Arm."""

Section = Callable[[], dict]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="F",
        help="print JSON instead of the page; with F, print the page and write JSON to this file",
    )


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.files import write_text

    document = {}
    for name, values in _page():
        document[name] = values
        if args.json != "-":
            # At once, because a later section may end the process if a library was built for another processor.
            print(_table(name, values), flush=True)
    text = json.dumps(document, indent=1) + "\n"
    if args.json == "-":
        print(text, end="")
    elif args.json:
        write_text(Path(args.json), text)
    return 0


def _page() -> Iterator[tuple[str, dict]]:
    """Every section with its values, those that load libraries last."""
    sections: dict[str, Section] = {"lsabinet": _package, "software": _software, "machine": _machine, "cache": _cache}
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        try:
            sections.update(entry.load()())
        except Exception as error:  # noqa: BLE001 - a broken part is a line of the report
            sections[entry.name] = partial(dict, error=_reason(error))
    sections |= {"gpu": _gpu, "weights": _weights, "engines": _engines}
    for name, section in sections.items():
        try:
            yield name, section()
        except Exception as error:  # noqa: BLE001 - a broken part is a line of the report
            yield name, {"error": _reason(error)}


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _package() -> dict:
    import lsabinet_core
    from lsabinet_core.commit import source_state

    state = source_state()
    return {
        "version": lsabinet_core.__version__,
        "commit": state["git_commit"],
        "files_changed_since": state["git_changed"],
        "package": shown(Path(lsabinet_core.__file__).parent),
    }


def _software() -> dict:
    return {
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "executable": shown(Path(sys.executable)),
        "system": _system(),
        **{label: _version(label, distributions) for label, distributions in SOFTWARE.items()},
        # What torch-compile calls on a CPU.
        "cxx_compiler": next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "clang++", "c++"))), None),
    }


def _system() -> str:
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel


def _version(label: str, distributions: tuple[str, ...]) -> str | None:
    """Versions of the installed distributions, which may be several by mistake; None if there is none."""
    found = []
    for name in distributions:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(version if name == label else f"{version} ({name})")
    if not found and importlib.util.find_spec(MODULES.get(label, label)) is not None:
        # Like Ubuntu's python3-opencv.
        return "installed without a version"
    return ", ".join(found) or None


def _machine() -> dict:
    from lsabinet_core.cores import usable_cores

    info = _first_processor()
    flags = (info.get("flags") or info.get("Features") or "").split()
    # Only Unix systems report the pages of physical memory.
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    return {
        "processor": info.get("model name") or platform.processor() or None,
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "instructions": [name for name in INSTRUCTIONS if name in flags] if flags else None,
        "memory_bytes": pages,
        "available_memory_bytes": _available_memory(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
    }


def _first_processor() -> dict[str, str]:
    """/proc/cpuinfo up to the first empty line; empty if there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _available_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _cache() -> dict:
    from lsabinet_core.inference.cache import cache_directory

    path = cache_directory()
    # The first run creates a missing folder, if the folder above allows it.
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    status = existing.stat()
    return {
        "folder": shown(path),
        "exists": existing == path,
        "writable": os.access(existing, os.W_OK | os.X_OK) and existing.is_dir(),
        "mode": stat.filemode(status.st_mode),
        "own": status.st_uid == os.getuid() if hasattr(os, "getuid") else None,
        "others_may_write": bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)),
    }


def _gpu() -> dict:
    driver = _nvidia_smi()
    import torch

    return {
        "nvidia_smi": driver,
        "torch_built_for_cuda": torch.version.cuda,
        "torch_sees": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def _nvidia_smi() -> list[str] | str:
    """Name, driver and memory of each GPU, whether or not PyTorch can use it."""
    if shutil.which("nvidia-smi") is None:
        return "not found"
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _reason(error)
    return result.stdout.splitlines() if result.returncode == 0 else (result.stderr or result.stdout).strip()


def _weights() -> dict:
    from lsabinet_core.models.weights import list_weights, read_metadata

    found = {}
    for name in list_weights():
        try:
            found[name] = read_metadata(name).licence
        except Exception as error:  # noqa: BLE001 - a broken part is a line of the report
            found[name] = _reason(error)
    return found


def _engines() -> dict:
    from lsabinet_core.inference.backends import create_backend, list_backends

    found = {}
    for name in list_backends():
        try:
            backend = create_backend(name)
        except Exception as error:  # noqa: BLE001 - a broken part is a line of the report
            reason = str(error) if isinstance(error, LsabinetError) else _reason(error)
            found[name] = {"available": False, "reason": reason}
        else:
            found[name] = {"available": True, "device": str(backend.device), "precision": backend.precision}
            backend.close()
    return found


def shown(path: Path) -> str:
    """A path without the name of the user, because the page may be published."""
    try:
        home = Path.home()
    except RuntimeError:
        # A user without a home directory, as in some containers.
        return str(path)
    return str(Path("~") / path.relative_to(home)) if path.is_relative_to(home) else str(path)


def _table(name: str, values: dict) -> str:
    labels = [label.removesuffix("_bytes") for label in values]
    width = max(map(len, labels), default=0)
    rows = (f"  {label:{width}}  {_words(value, key)}" for label, (key, value) in zip(labels, values.items()))
    return "\n".join([name, *rows, ""])


def _words(value: Any, label: str = "") -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if label.endswith("_bytes"):
        return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"
    if isinstance(value, dict):
        return ", ".join(map(_words, value.values()))
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return str(value)
