"""The modules of the ROS package do not import each other in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "lsabinet_ros").rglob("*.py")
}


def imported(module: str) -> set[str]:
    """The modules of the package that ``module`` imports, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            found.update([source, *(f"{source}.{alias.name}" for alias in node.names)])
    return found & set(MODULES)


def test_no_module_imports_itself_through_others():
    graph = {module: imported(module) for module in MODULES}
    assert "lsabinet_ros.bag.storage" in graph["lsabinet_ros.bag.folder"]
    assert "lsabinet_ros.demo.recorder" in graph["lsabinet_ros.demo.session"], "a relative import within the package"
    # Raises CycleError, which names the modules of the circle.
    TopologicalSorter(graph).prepare()
