"""The files for contributors and continuous integration can be parsed, and refer to existing files and commands."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

from lsabinet_core import __version__
from lsabinet_core.cli import VERBS

ROOT = Path(__file__).resolve().parents[2]
GITHUB = sorted((ROOT / ".github").rglob("*.yml"))
WORKFLOW = ROOT / ".github/workflows/ci.yml"
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
DEVCONTAINER = ROOT / ".devcontainer/devcontainer.json"
PRE_COMMIT = ROOT / ".pre-commit-config.yaml"
CALLING = [WORKFLOW, DEVCONTAINER, *DOCKERFILES, ROOT / "CONTRIBUTING.md", ROOT / ".ci/run"]
DISTRIBUTIONS = {"humble", "jazzy", "kilted"}

HERE = r"(?:src/lsabinet_ros/|\.\./|/ros2_ws/src/lsabinet_ros/)"
PLACE = re.compile(rf"(?<![\w./-]){HERE}?((?:scripts|docker|tests|docs|\.ci)/[\w./-]*\w)")
VERB = re.compile(r"\blsabinet (?=([a-z]+)\b)")
EXTRA = re.compile(r"\[([a-z,]+)\]'")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").replace("${{ matrix.distribution }}", "jazzy")


def test_yaml_and_json_parse():
    files = [*GITHUB, PRE_COMMIT, ROOT / "CITATION.cff"]
    assert len(files) >= 6
    for path in files:
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path
    assert isinstance(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"], list)
    assert "build" in json.loads(DEVCONTAINER.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", CALLING, ids=lambda path: path.name)
def test_paths_exist(path):
    places = PLACE.findall(text_of(path))
    assert places
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_verbs_and_extras_exist():
    text = "\n".join(map(text_of, (WORKFLOW, *DOCKERFILES, *GITHUB, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md")))
    # In `docker run lsabinet PROGRAM`, lsabinet is the name of the image.
    verbs = set(VERB.findall(text)) - {"lsabinet", "bash"}
    assert "doctor" in verbs
    assert verbs <= {*VERBS, "bag", "demo"}
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    extras = {extra for group in EXTRA.findall(text) for extra in group.split(",")}
    assert {"dev", "docs"} <= extras
    assert all(f'"{extra}": [' in setup for extra in extras)


def test_jobs_cover_the_supported_versions():
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    assert set(jobs["ros"]["strategy"]["matrix"]["distribution"]) == DISTRIBUTIONS
    assert {path.name.partition(".")[0] for path in DOCKERFILES} == DISTRIBUTIONS
    assert jobs["core"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_each_image_uses_one_distribution(path):
    text = path.read_text(encoding="utf-8")
    name = path.name.partition(".")[0]
    assert f"FROM ros:{name}-ros-base" in text
    assert not {other for other in DISTRIBUTIONS - {name} if other in text}


def test_hooks_have_the_pinned_versions():
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    revisions = {repo["repo"]: repo["rev"] for repo in yaml.safe_load(PRE_COMMIT.read_text())["repos"]}
    assert revisions == {
        "https://github.com/astral-sh/ruff-pre-commit": f"v{pins['ruff']}",
        "https://github.com/codespell-project/codespell": f"v{pins['codespell']}",
    }


def test_modules_that_the_scripts_run_are_declared():
    """Every NAME of ``python -m NAME`` in .ci/run is importable here or belongs to an extra."""
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    modules = set(re.findall(r"-m (\w+)", (ROOT / ".ci/run").read_text()))
    assert {"ruff", "basedpyright", "codespell_lib", "mkdocs"} <= modules
    for module in modules:
        name = module.removesuffix("_lib")
        assert f'"{name}' in setup or importlib.util.find_spec(module)


def test_citation_states_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    (paper,) = citation["references"]
    assert paper["authors"][0]["family-names"] == "Gui"


def test_files_of_the_slow_list_exist():
    lines = (ROOT / "tests/slow.txt").read_text(encoding="utf-8").splitlines()
    files = [line for line in lines if not line.startswith("#")]
    assert len(files) > 10
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_the_quick_marker_is_registered_and_applied(pytestconfig, request):
    assert any(marker.startswith("quick:") for marker in pytestconfig.getini("markers"))
    assert request.node.get_closest_marker("quick") is not None
