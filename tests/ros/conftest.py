"""ROS tests: each on a domain of its own, local to this machine, with the transport profile that ships."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def reserved_domain(log_directory: Path) -> Iterator[int]:
    """An id that no other test run of this machine uses, set in the environment for as long as the block lasts."""
    # Ids above 101 would put DDS' ports among those that the system gives to outgoing connections.
    ids = range(1, 101)
    first = os.getpid() % len(ids)
    for domain in [*ids[first:], *ids[:first]]:
        lock = socket.socket()
        try:
            lock.bind(("127.0.0.1", 21000 + domain))
        except OSError:
            lock.close()
            continue
        break
    else:
        raise RuntimeError("all ROS domain ids are in use")
    with lock, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("ROS_LOG_DIR", str(log_directory))
        patch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds.xml"))
        for variable in ("ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS", "RMW_IMPLEMENTATION", "ROS_NAMESPACE"):
            patch.delenv(variable, raising=False)
        yield domain


@pytest.fixture
def ros_domain(tmp_path) -> Iterator[int]:
    """A ROS domain id for one test; child processes inherit it through the environment."""
    with reserved_domain(tmp_path) as domain:
        yield domain


@pytest.fixture(scope="module")
def module_ros_domain(tmp_path_factory) -> Iterator[int]:
    """As ``ros_domain``, for the tests of one file that share a process."""
    with reserved_domain(tmp_path_factory.mktemp("ros_log")) as domain:
        yield domain


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory) -> Path:
    """Untrained weights for small frames: masks that are noise, but always the same noise."""
    import torch

    from lsabinet_core.labels import CAMVID
    from lsabinet_core.models import create_model
    from lsabinet_core.models.weights import WeightsMetadata, save_weights

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "noise.safetensors"
    metadata = WeightsMetadata(
        architecture="lsabinet",
        label_set=CAMVID,
        input_size=(64, 96),
        mean=(0.4, 0.4, 0.4),
        std=(0.3, 0.3, 0.3),
    )
    save_weights(path, create_model("lsabinet", 11), metadata)
    return path
