"""Rules of the project that can be checked in the source: directions of imports, and safe loading."""

import ast
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lsabinet_core import __version__

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for package in ("lsabinet_core", "lsabinet_ros") for path in (ROOT / package).rglob("*.py"))

# The parts of the core that each part may import, in addition to itself.
BASE = {"errors", "files", "labels", "share", "lsabinet_core"}
ALLOWED = {
    # The package itself imports its public names on demand.
    "__init__": BASE | {"models", "inference"},
    "models": BASE,
    "data": BASE,
    "inference": BASE | {"models", "data"},
    "plots": BASE | {"data", "inference"},
    "evaluation": BASE | {"models", "data", "inference", "plots"},
    "training": BASE | {"models", "data", "inference", "plots", "evaluation"},
    "benchmark": BASE | {"models", "data", "inference", "plots", "evaluation", "training"},
    "reproduce": BASE | {"models", "data", "inference", "plots", "evaluation", "training", "benchmark"},
    "cli": BASE | {"models", "data", "inference", "plots", "evaluation", "training", "benchmark", "reproduce"},
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_module = pytest.mark.parametrize("path", MODULES, ids=name_of)
each_core_module = pytest.mark.parametrize(
    "path", [path for path in MODULES if name_of(path).startswith("lsabinet_core/")], ids=name_of
)


def imports(path: Path) -> set[str]:
    """The full names of all modules and members that a file imports, at any level of nesting."""
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
    """The part of an imported name: ``models`` for ``lsabinet_core.models.blocks``; ``lsabinet_core`` for the
    package's own members."""
    parts = name.split(".")
    known = set(ALLOWED) | BASE
    return parts[1] if len(parts) > 1 and parts[1] in known else "lsabinet_core"


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


def import_cycles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of more than one module, and modules that import themselves (Tarjan, 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_modules: list[str] = []
    found = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        open_modules.append(module)
        for other in graph[module]:
            if other not in order:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in open_modules:
                lowest[module] = min(lowest[module], order[other])
        if lowest[module] == order[module]:
            start = open_modules.index(module)
            cycle = set(open_modules[start:])
            del open_modules[start:]
            if len(cycle) > 1 or module in graph[module]:
                found.append(cycle)

    for module in graph:
        if module not in order:
            visit(module)
    return found


def test_import_cycles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}, "f": {"a", "e"}}
    assert import_cycles(graph) == [{"b", "c"}, {"e"}]


def test_there_are_no_import_cycles():
    """Imports inside functions and for type checkers count as well: modules of a cycle cannot be understood alone."""
    modules = {}
    for path in MODULES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path

    def module_of(name: str) -> str | None:
        """The module that an imported name denotes or belongs to; None if it is not ours."""
        while name and name not in modules:
            name = name.rpartition(".")[0]
        return name or None

    graph = {module: {module_of(name) for name in imports(path)} - {None} for module, path in modules.items()}
    assert sum(map(len, graph.values())) > len(graph)
    assert import_cycles(graph) == []


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


def test_modules_and_their_imports_are_found():
    assert len(MODULES) > 20
    assert {"lsabinet_core.cli.main", "sys"} <= imports(ROOT / "lsabinet_core/cli/__main__.py")


def test_versions_are_equal():
    assert ElementTree.parse(ROOT / "package.xml").findtext("version") == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_names_of_test_files_are_unique():
    # pytest imports them by their bare names.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
