"""The workers of a fleet on a Ray cluster: one task per bag, whose files are returned to the driver.

The driver is the process of the command. A task runs the same process as a worker of this machine does, in a temporary
folder of its node, and puts the files of the report into Ray's object store in chunks, from which the driver writes
them. Nodes need the bags at the same paths, and the same version of this package.
"""

import contextlib
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsabinet_core import __version__
from lsabinet_core.commit import source_state
from lsabinet_core.cores import usable_cores
from lsabinet_core.errors import BagError
from lsabinet_core.files import atomic_path
from lsabinet_ros.bag.fleet import LOG, POLL_S, start_process

CONNECT_S = 30.0
"""How long a cluster may take to answer."""
CHUNK = 8 << 20
"""Maximum number of bytes of a file in one object."""
OBJECT_STORE = 256 << 20
"""Bytes of memory for objects in a cluster of this machine; Ray writes further objects to the disk."""
LOST = -int(signal.SIGKILL)
"""Status of a task whose process or node is gone."""


_CONNECT = """
import sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    sys.exit(" ".join(str(error).split()))
"""


class RayWorkers:
    """The processes of a Ray cluster.

    Args:
        address: ``local`` for a cluster of this machine's usable cores that ends with this object, ``auto`` for the
            cluster that this machine is a node of, HOST:PORT of such a cluster, or ray://HOST:PORT of any.
        cores: CPUs that Ray reserves for each bag.
        gpu: whether Ray reserves a GPU for each bag.

    Raises:
        BagError: Ray is not installed, the cluster cannot be reached, or none of its nodes has that many CPUs.
    """

    def __init__(self, address: str, *, cores: int, gpu: bool = False):
        if importlib.util.find_spec("ray") is None:
            raise BagError("--ray needs the package ray, which is not installed: pip install 'lsabinet_ros[ray]'")
        if address == "local":
            _secure_local_cluster()
        import ray

        self._cores = cores
        self._folders: dict[Any, Path] = {}
        with contextlib.ExitStack() as stack:
            options: dict[str, Any] = {}
            if address == "local":
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lsabinet_ray_"))
                options = {
                    "num_cpus": usable_cores(),
                    "object_store_memory": OBJECT_STORE,
                    "include_dashboard": False,
                    "_temp_dir": folder,
                }
            else:
                _check_answers(address)
            stack.callback(ray.shutdown)
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
                nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            # Ray raises errors of many kinds, depending on the cause and the kind of connection.
            except Exception as error:
                raise BagError(f"--ray {address}: no connection to the cluster: {_first_line(error)}") from error
            if not any(node.get("CPU", 0) >= cores and node.get("GPU", 0) >= gpu for node in nodes):
                raise BagError(
                    f"--ray {address}: expected a node with {cores} CPUs (--threads)"
                    + (" and a GPU (--device), got none" if gpu else ", got none")
                )
            self._close = stack.pop_all().close
        # The fleet starts a lost task again and counts the attempts.
        self._evaluate = ray.remote(num_cpus=cores, num_gpus=int(gpu), max_retries=0)(evaluate_on_node)

    def __enter__(self) -> "RayWorkers":
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    @property
    def at_once(self) -> int:
        """Twice the tasks that fit into the cluster, so that no node waits, and an autoscaling cluster grows."""
        import ray

        return 2 * max(1, int(ray.cluster_resources().get("CPU", 0)) // self._cores)

    def start(self, bag: Path, folder: Path, options: Sequence[str]) -> Any:
        task = self._evaluate.remote(str(bag), list(options), str(Path.cwd()), version())
        self._folders[task] = folder
        return task

    def wait(self, tasks: Sequence[Any]) -> Sequence[Any]:
        import ray

        return ray.wait(list(tasks), timeout=POLL_S)[0]

    def status(self, task: Any) -> int:
        """The exit status of a task that has ended, whose files are in its folder afterwards.

        Raises:
            BagError: its node has not the same package.
        """
        import ray
        from ray import exceptions

        folder = self._folders.pop(task)
        try:
            result: NodeResult = ray.get(task)
            for name, chunks in result.files:
                with atomic_path(folder / name) as path, open(path, "wb") as stream:
                    for chunk in chunks:
                        stream.write(ray.get(chunk))
        except exceptions.RayTaskError as error:
            raise BagError(
                f"--ray: a node cannot evaluate bags with this package: {_first_line(error.cause)}"
            ) from error
        except exceptions.RayError:
            return LOST
        if result.version != version():
            raise BagError(
                f"--ray: the node {result.node} has lsabinet_ros {result.version}, this command is of {version()}: "
                "install the same on all nodes"
            )
        return result.status


@dataclass(frozen=True)
class NodeResult:
    """What a task returns.

    Attributes:
        node: name of the machine.
        version: version of the package there.
        status: exit status of the process.
        files: name of each file of the report, relative to its folder, and references to its chunks.
    """

    node: str
    version: str
    status: int = 1
    files: Sequence[tuple[str, Sequence[Any]]] = ()


def evaluate_on_node(bag: str, options: list[str], cwd: str, driver_version: str) -> NodeResult:
    """The task: evaluate one bag on the node that this runs on.

    Args:
        bag: path of the bag.
        options: options of ``lsabinet bag evaluate`` except for ``--out``.
        cwd: working folder of the driver, to which relative paths refer.
        driver_version: ``version()`` of the driver; a node with another version evaluates nothing.
    """
    result = NodeResult(socket.gethostname(), version())
    if result.version != driver_version:
        return result
    folder = Path(tempfile.mkdtemp(prefix="lsabinet_report_"))
    try:
        if not Path(cwd).is_dir():
            (folder / LOG).write_text(f"the node {result.node} has no folder {cwd}, in which the command runs")
            return NodeResult(result.node, result.version, 1, _stored(folder))
        process = start_process(Path(bag), folder, options, cwd=Path(cwd), temporary=True)
        return NodeResult(result.node, result.version, process.wait(), _stored(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def version() -> str:
    """Version and commit of this package."""
    return f"{__version__} ({source_state()['git_commit'] or 'unknown commit'})"


def _stored(folder: Path) -> list[tuple[str, list[Any]]]:
    import ray

    stored = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(file, "rb") as stream:
            chunks = [ray.put(chunk) for chunk in iter(lambda: stream.read(CHUNK), b"")]
        stored.append((str(file.relative_to(folder)), chunks))
    return stored


def _secure_local_cluster() -> None:
    """Disable usage statistics in a cluster of this machine, and keep others from sending tasks to it.

    Ray reads these variables when it is imported. A token that Ray creates itself would stay in the home folder.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _check_answers(address: str) -> None:
    """Raise BagError unless the cluster accepts a connection. Ray itself would try for ever, deaf to signals."""
    try:
        run = subprocess.run(
            [sys.executable, "-c", _CONNECT, address], capture_output=True, text=True, timeout=CONNECT_S
        )
    except subprocess.TimeoutExpired:
        raise BagError(
            f"--ray {address}: no Ray cluster answers there within {CONNECT_S:.0f} s; expected HOST:PORT of its head, "
            "ray://HOST:PORT, auto or local"
        ) from None
    if run.returncode:
        reason = next(iter(run.stderr.strip().splitlines()[-1:]), "")
        raise BagError(
            f"--ray {address}: no connection to the cluster: {reason} (one with authentication needs the token, and "
            "RAY_AUTH_MODE=token)"
        )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
