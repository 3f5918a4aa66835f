"""Packaging: two Python packages, the ``lsabinet`` command, and the files by which ROS 2 finds the package.

``pip install .`` and ``colcon build`` put the same tree under their prefix: ``share/lsabinet_ros/`` with launch/,
config/ and weights/, the resource marker, and ``lib/lsabinet_ros/segmentation`` for ``ros2 run``.
"""

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

PACKAGE = "lsabinet_ros"
ROOT = Path(__file__).resolve().parent
# Name, version, maintainer and licence are written once, where ROS needs them literally.
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()


def shared(folder: str) -> list[tuple[str, list[str]]]:
    """Each folder below ``folder`` as a data_files entry: (its place under share/, its files)."""
    below: dict[Path, list[str]] = {}
    for path in sorted((ROOT / folder).rglob("*")):
        relative = path.relative_to(ROOT)
        hidden = any(part.startswith((".", "__pycache__")) for part in relative.parts)
        if path.is_file() and not hidden:
            below.setdefault(relative.parent, []).append(relative.as_posix())
    return [(f"share/{PACKAGE}/{parent.as_posix()}", files) for parent, files in below.items()]


class BuildWithCommit(build_py):
    """Writes into the package of which commit it is, ``-dirty`` where files were changed, for the records of trainings:
    ``$LSABINET_COMMIT`` where it is built from a copy, else what git says of this folder."""

    def run(self):
        super().run()
        commit = os.environ.get("LSABINET_COMMIT") or self._ask_git()
        # Setuptools before 64, as Ubuntu 22.04 has it, knows no editable mode.
        if commit and not getattr(self, "editable_mode", False):
            (Path(self.build_lib) / "lsabinet_core" / "commit.txt").write_text(f"{commit}\n", encoding="ascii")

    @staticmethod
    def _ask_git() -> str:
        if not (ROOT / ".git").exists():
            return ""
        command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
        try:
            return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
        except OSError:
            return ""


setup(
    cmdclass={"build_py": BuildWithCommit},
    name=MANIFEST.findtext("name"),
    version=MANIFEST.findtext("version"),
    description=MANIFEST.findtext("description"),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license=MANIFEST.findtext("license"),
    license_files=["LICENSE"],
    maintainer=MANIFEST.findtext("maintainer"),
    maintainer_email=MANIFEST.find("maintainer").get("email"),
    packages=find_packages(include=["lsabinet_core", "lsabinet_core.*", "lsabinet_ros", "lsabinet_ros.*"]),
    # Type checkers of other programs read the annotations of packages that have a py.typed.
    package_data={"lsabinet_core": ["py.typed"], "lsabinet_ros": ["py.typed"], "lsabinet_ros.bag": ["page.html"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"lib/{PACKAGE}", ["scripts/segmentation"]),
        *shared("launch"),
        *shared("config"),
        *shared("weights"),
    ],
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.6",
        "numpy>=1.26",
        "opencv-python-headless>=4.8",
        "safetensors>=0.4.3",
        "pyyaml>=6.0",
        "rich>=13.0",
        "pydantic>=2.5",
        "rosbags>=0.11",
        "mcap>=1.1",
        "zstandard>=0.20",
        "jinja2>=3.1",
    ],
    extras_require={
        "render": ["numba>=0.60"],
        "video": ["av>=15.0"],
        "completion": ["argcomplete>=3.0"],
        "train": ["tensorboard>=2.16", "matplotlib>=3.8"],
        # rclpy and the messages as wheels, for machines without a ROS 2 distribution; never beside a sourced one.
        "ros": [
            "ros-jazzy-rclpy[fastrtps]==7.1.6; python_version >= '3.11'",
            "ros-jazzy-common-interfaces==5.3.6; python_version >= '3.11'",
        ],
        "ray": ["ray[client]>=2.60"],
        "openvino": ["openvino>=2024.4", "nncf>=2.15"],
        "onnx": ["onnx>=1.16", "onnxscript>=0.5", "onnxruntime>=1.18"],
        "docs": [
            "mkdocs-material>=9.5; python_version >= '3.11'",
            "mkdocstrings[python]>=0.26; python_version >= '3.11'",
        ],
        # colcon builds ament_python packages with `setup.py install`, which setuptools 80 dropped.
        "dev": [
            "pytest>=8.0",
            "pytest-xdist>=3.6",
            "pytest-cov>=7.0",
            "hypothesis>=6.100",
            "torchmetrics>=1.4",
            "cityscapesScripts>=2.2",
            "ruff>=0.9",
            "codespell>=2.4",
            "basedpyright>=1.40",
            "colcon-common-extensions>=0.3",
            "setuptools>=70.1,<80",
        ],
    },
    entry_points={
        "console_scripts": ["lsabinet = lsabinet_core.cli:main"],
        "lsabinet.verbs": ["bag = lsabinet_ros.bag.cli", "demo = lsabinet_ros.demo.cli"],
        "lsabinet.benchmarks": ["node = lsabinet_ros.benchmark.cli"],
        "lsabinet.sources": [f"{suffix} = lsabinet_ros.bag.frames:BagSource" for suffix in ("mcap", "db3", "bag")],
        "lsabinet.doctor": ["ros = lsabinet_ros.doctor:sections"],
    },
    zip_safe=True,
)
