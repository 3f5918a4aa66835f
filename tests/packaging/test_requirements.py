"""Every imported package is declared in setup.py, and every declared one is pinned for continuous integration."""

import ast
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from catkin_pkg.package import parse_package
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
# Modules whose name differs from that of their distribution.
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "yaml": "pyyaml"}


def canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def declared() -> dict[str, list[Requirement]]:
    """The requirements in setup.py by extra; the key "" holds those of the package itself."""
    call = next(
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "setup"
    )
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    by_extra = {"": ast.literal_eval(arguments["install_requires"])} | ast.literal_eval(arguments["extras_require"])
    return {extra: [Requirement(text) for text in texts] for extra, texts in by_extra.items()}


DECLARED = declared()


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def modules_imported_by(folder: str) -> set[str]:
    """The imported top-level modules that belong neither to Python nor to this project."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names and not name.startswith("lsabinet_")}


def test_package_xml_is_valid():
    warnings: list[str] = []
    package = parse_package(ROOT / "package.xml", warnings=warnings)
    package.validate(warnings=warnings)
    assert not warnings
    assert package.package_format == 3
    assert package.get_build_type() == "ament_python"
    assert "<?xml-model " in (ROOT / "package.xml").read_text()


@pytest.mark.parametrize("folder", ["lsabinet_core", "lsabinet_ros", "launch"])
def test_every_import_is_declared(folder):
    extras = ("", "render", "video", "completion", "train", "onnx", "openvino", "ray")
    names = {canonical(requirement.name) for extra in extras for requirement in DECLARED[extra]}
    if folder != "lsabinet_core":
        manifest = ElementTree.parse(ROOT / "package.xml").getroot()
        names |= {canonical(depend.text) for depend in manifest.iter("exec_depend")}
    imported = modules_imported_by(folder)
    assert imported
    assert not {name for name in imported if canonical(DISTRIBUTIONS.get(name, name)) not in names}


def test_each_requirement_has_one_lower_bound():
    for extra, requirements in DECLARED.items():
        for requirement in requirements:
            operators = sorted(specifier.operator for specifier in requirement.specifier)
            # colcon needs `setup.py install`, which setuptools 80 dropped; the ROS wheels are pinned to one release.
            expected = ["=="] if extra == "ros" else ["<", ">="] if requirement.name == "setuptools" else [">="]
            assert operators == expected, str(requirement)


@pytest.mark.parametrize(
    "extra", ["", "render", "video", "completion", "train", "onnx", "openvino", "ray", "docs", "dev"]
)
def test_every_requirement_is_pinned_within_its_bounds(extra):
    for requirement in DECLARED[extra]:
        found = [pin for pin in pins() if canonical(pin.name) == canonical(requirement.name)]
        assert found, f"constraints.txt has no {requirement.name}"
        for pin in found:
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            assert requirement.specifier.contains(specifier.version), f"{pin} is outside {requirement}"
