"""ROS tests: each has its own domain, is local to this machine and uses the shipped transport profile."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from ros_domains import reserved_domain

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def _domain(log_directory: Path) -> Iterator[int]:
    with reserved_domain(log_directory) as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds.xml"))
        for variable in ("ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS", "RMW_IMPLEMENTATION", "ROS_NAMESPACE"):
            patch.delenv(variable, raising=False)
        yield domain


@pytest.fixture
def ros_domain(tmp_path) -> Iterator[int]:
    """A ROS domain id for one test; child processes inherit it through the environment."""
    with _domain(tmp_path) as domain:
        yield domain


@pytest.fixture(scope="module")
def module_ros_domain(tmp_path_factory) -> Iterator[int]:
    """As ``ros_domain``, for all tests of a file, which share a node."""
    with _domain(tmp_path_factory.mktemp("ros_log")) as domain:
        yield domain


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory) -> Path:
    """Untrained weights for small frames; the masks are noise of all classes, but reproducible.

    Of all networks, ESPNet starts fastest in every engine.
    """
    import torch

    from lsabinet_core.labels import CAMVID
    from lsabinet_core.models import create_model
    from lsabinet_core.models.weights import WeightsMetadata, save_weights

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "noise.safetensors"
    metadata = WeightsMetadata(
        architecture="espnet",
        label_set=CAMVID,
        input_size=(64, 96),
        mean=(0.4, 0.4, 0.4),
        std=(0.3, 0.3, 0.3),
    )
    save_weights(path, create_model("espnet", 11), metadata)
    return path
