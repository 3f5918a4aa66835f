"""The house's rules that can be read from the source: sizes, directions of imports, safe loading."""

import ast
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lsabinet_core import __version__

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for package in ("lsabinet_core", "lsabinet_ros") for path in (ROOT / package).rglob("*.py"))
MOST_LINES = 400

# Which parts of the core a part may import, besides itself.
BASE = {"errors", "files", "labels", "share", "lsabinet_core"}
ALLOWED = {
    "models": BASE,
    "data": BASE,
    "inference": BASE | {"models"},
    "plots": BASE | {"data", "inference"},
    "evaluation": BASE | {"models", "data", "inference", "plots"},
    "training": BASE | {"models", "data", "inference", "plots", "evaluation"},
    "benchmark": BASE | {"models", "data", "inference", "plots", "evaluation", "training"},
    "cli": BASE | {"models", "data", "inference", "plots", "evaluation", "training", "benchmark"},
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_module = pytest.mark.parametrize("path", MODULES, ids=name_of)
each_core_module = pytest.mark.parametrize(
    "path", [path for path in MODULES if name_of(path).startswith("lsabinet_core/")], ids=name_of
)


def imports(path: Path) -> set[str]:
    """The full names of all modules and members that a file imports, wherever in the file it does."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def part_of(name: str) -> str:
    """``lsabinet_core.models.blocks`` -> ``models``; ``lsabinet_core.share_directory`` -> its module's name."""
    parts = name.split(".")
    known = set(ALLOWED) | BASE
    return parts[1] if len(parts) > 1 and parts[1] in known else "lsabinet_core"


@each_module
def test_a_file_is_one_room(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES, f"{name_of(path)} has {lines} lines: split it by purpose"


@each_module
def test_every_folder_of_modules_is_a_package(path):
    assert (path.parent / "__init__.py").is_file()


@each_core_module
def test_core_knows_nothing_of_ros(path):
    roots = {name.split(".")[0] for name in imports(path)}
    ros = {"rclpy", "lsabinet_ros", "cv_bridge", "launch", "launch_ros", "ament_index_python", "rosbags", "mcap"}
    assert not {root for root in roots if root in ros or root.endswith(("_msgs", "_interfaces"))}


@each_core_module
def test_imports_run_one_way(path):
    _, *parts = path.relative_to(ROOT).with_suffix("").parts
    imported = {part_of(name) for name in imports(path) if name.split(".")[0] == "lsabinet_core"}
    allowed = ALLOWED.get(parts[0], BASE) | {parts[0]}
    assert imported <= allowed, f"{name_of(path)} may not import {sorted(imported - allowed)}"


@each_module
def test_nothing_is_unpickled(path):
    # pickle itself may be imported, for the errors that torch.load raises.
    assert not {name.split(".")[0] for name in imports(path)} & {"dill", "joblib", "shelve"}
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        where = f"{name_of(path)}:{node.lineno}"
        assert function not in ("pickle.load", "pickle.loads", "pickle.Unpickler"), where
        if function == "torch.load":
            assert arguments.get("weights_only") == "True", where
        assert arguments.get("allow_pickle", "False") == "False", where


def test_the_rules_are_read_from_something():
    assert len(MODULES) > 20
    assert {"lsabinet_core.cli.main", "sys"} <= imports(ROOT / "lsabinet_core/cli/__main__.py")


def test_one_version():
    assert ElementTree.parse(ROOT / "package.xml").findtext("version") == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_names_of_test_files_are_unique():
    # pytest imports them by their bare names.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
