"""Evaluate many bags at a time, each in its own process."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from lsabinet_core.errors import BagError
from lsabinet_core.files import read_text, write_text
from lsabinet_ros.bag.fleet_worker import TEMPORARY
from lsabinet_ros.bag.folder import is_storage_file
from lsabinet_ros.bag.gate import read_report

ATTEMPTS = 2
"""Maximum number of attempts for a bag whose process is killed, for example for lack of memory."""
POLL_S = 0.1
LOG = "log.txt"
"""File for the output of a bag's process, in the folder of its report."""
REPORTS = ("report.json", "replay.json")
"""Files that mark a folder as the output of a command rather than a folder of drives."""


@dataclass(frozen=True)
class BagResult:
    """The outcome of one bag.

    Attributes:
        bag: path of the bag.
        folder: folder of its report.
        status: exit status of its process; negative for the signal that killed it.
        message: last line of its log if it failed; empty otherwise.
    """

    bag: Path
    folder: Path
    status: int
    message: str = ""

    @property
    def done(self) -> bool:
        """Whether there is a report on the whole bag or on its readable part."""
        return self.status in (0, 3)


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """Replace each folder of bags with the bags in it, at any depth; a bag stays as it is.

    Raises:
        BagError: a folder without any bag.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or _is_bag(path):
            found.append(path)
            continue
        inside = sorted(_bags_in(path))
        if not inside:
            raise BagError(f"no bag in {path}: expected rosbag2 folders, .mcap, .db3 or .bag files")
        found += inside
    return list(dict.fromkeys(found))


def _is_bag(folder: Path) -> bool:
    """Whether a folder is one rosbag2 rather than a folder of bags; without metadata.yaml, judged by the file names."""
    if (folder / "metadata.yaml").is_file():
        return True
    files = [file for file in folder.iterdir() if is_storage_file(file)]
    return bool(files) and all(re.fullmatch(rf"{re.escape(folder.name)}(_\d+)?\..*", file.name) for file in files)


def _bags_in(folder: Path) -> Iterator[Path]:
    if any((folder / name).is_file() for name in REPORTS):
        return  # its bags are outputs
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue  # an unfinished bag
        if entry.is_dir():
            yield from [entry] if _is_bag(entry) else _bags_in(entry)
        elif is_storage_file(entry) or entry.suffix == ".bag":
            yield entry


TaskT = TypeVar("TaskT")


class Workers(Protocol, Generic[TaskT]):
    """What evaluates the bags of a fleet: processes of this machine, or of a cluster."""

    @property
    def at_once(self) -> int:
        """Maximum number of tasks that run at the same time."""
        ...

    def start(self, bag: Path, folder: Path, options: Sequence[str]) -> TaskT:
        """Start ``lsabinet bag evaluate`` on one bag.

        Args:
            folder: an existing folder for its report and for ``log.txt``, its output.
            options: its options except for ``--out``.
        """
        ...

    def wait(self, tasks: Sequence[TaskT]) -> Sequence[TaskT]:
        """The tasks that have ended; waits for up to ``POLL_S`` for one."""
        ...

    def status(self, task: TaskT) -> int:
        """The exit status of a task that has ended; negative for the signal that killed it.

        Its files are in its folder afterwards.
        """
        ...


class LocalWorkers:
    """Processes on this machine, which end with this one, even if it is killed.

    Args:
        count: maximum number of processes at the same time.
    """

    def __init__(self, count: int):
        self.at_once = count
        self._running: list[subprocess.Popen] = []

    def __enter__(self) -> "LocalWorkers":
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._running:
            process.kill()
            process.wait()
            _close_pipe(process)

    def start(self, bag: Path, folder: Path, options: Sequence[str]) -> subprocess.Popen:
        process = start_process(bag, folder, options)
        self._running.append(process)
        return process

    def wait(self, tasks: Sequence[subprocess.Popen]) -> Sequence[subprocess.Popen]:
        ended = [task for task in tasks if task.poll() is not None]
        if not ended:
            time.sleep(POLL_S)
        return ended

    def status(self, task: subprocess.Popen) -> int:
        self._running.remove(task)
        _close_pipe(task)
        return task.returncode


def start_process(
    bag: Path, folder: Path, options: Sequence[str], *, cwd: Path | None = None, temporary: bool = False
) -> subprocess.Popen:
    """Start the process that evaluates one bag and ends with this one.

    Args:
        bag, folder, options: as in ``Workers.start``.
        cwd: its working folder; None for that of this process.
        temporary: whether ``folder`` is removed if this process ends first.
    """
    command = [
        *(sys.executable, "-m", "lsabinet_ros.bag.fleet_worker"),
        *((TEMPORARY, str(folder)) if temporary else ()),
        *("bag", "evaluate", str(bag), "--out", str(folder), *options),
    ]
    with open(folder / LOG, "wb") as log:
        # The pipe ends with this process, and the worker with the pipe.
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            # Ray kills the process group of a worker that it ends, and then nobody would remove the folder.
            start_new_session=temporary,
        )


def _close_pipe(process: subprocess.Popen) -> None:
    assert process.stdin is not None, "it is a pipe"
    process.stdin.close()


def evaluate_fleet(
    bags: Sequence[Path],
    out: Path,
    options: Sequence[str],
    *,
    workers: Workers,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[BagResult]:
    """Run ``lsabinet bag evaluate`` for each bag.

    The report of a bag is in ``out/bags/NAME``, with the file ``done.json`` when it is finished. A bag whose process
    was killed is tried again.

    Args:
        bags: the bags.
        out: folder of the reports.
        options: options of ``lsabinet bag evaluate`` except for ``--out``.
        workers: processes that evaluate the bags.
        resume: whether to skip bags that are finished with these options.
        progress: called with the number of finished bags and of all bags.
    """
    results: dict[Path, BagResult] = {}
    waiting: list[tuple[Path, int]] = []
    for bag in bags:
        finished = _finished(bag, _folder_of(bag, out), options) if resume else None
        if finished is None:
            waiting.append((bag, 1))
        else:
            results[bag] = finished
    running: dict = {}
    while waiting or running:
        while waiting and len(running) < workers.at_once:
            bag, attempt = waiting.pop(0)
            folder = _folder_of(bag, out)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "done.json").unlink(missing_ok=True)
            running[workers.start(bag, folder, options)] = bag, attempt
        for task in workers.wait(list(running)):
            bag, attempt = running.pop(task)
            status = workers.status(task)
            if status < 0 and attempt < ATTEMPTS:
                waiting.append((bag, attempt + 1))
                continue
            results[bag] = _result(bag, _folder_of(bag, out), status, attempt)
            _note(results[bag], options)
            if progress is not None:
                progress(len(results), len(bags))
    return [results[bag] for bag in bags]


def _result(bag: Path, folder: Path, status: int, attempt: int) -> BagResult:
    if status in (0, 3):
        return BagResult(bag, folder, status)
    if status < 0:
        return BagResult(bag, folder, status, f"its process was killed by signal {-status}, {attempt} times")
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return BagResult(bag, folder, status, lines[-1].removeprefix("lsabinet: error: ") if lines else "")


def _folder_of(bag: Path, out: Path) -> Path:
    """Folder for the report of a bag: its name and a part of the hash of its path, because names may repeat."""
    digest = hashlib.sha256(os.fsencode(bag.resolve())).hexdigest()[:8]
    return out / "bags" / f"{bag.name}-{digest}"


def _state_of(bag: Path, options: Sequence[str]) -> dict:
    # Of the options, those that name files or folders: weights, spans, labels.
    files = [file for path in [bag, *map(Path, filter(None, options))] for file in _files_of(path)]
    stats = [file.stat() for file in files if file.exists()]
    return {"options": list(options), "files": [[stat.st_size, stat.st_mtime_ns] for stat in stats]}


def _files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _note(result: BagResult, options: Sequence[str]) -> None:
    if result.done:
        content = {"status": result.status, **_state_of(result.bag, options)}
        write_text(result.folder / "done.json", json.dumps(content) + "\n")


def _finished(bag: Path, folder: Path, options: Sequence[str]) -> BagResult | None:
    """The result of an earlier run with the same options on the same files."""
    try:
        content = json.loads(read_text(folder / "done.json"))
        read_report(folder)
        state = _state_of(bag, options)
        same = {key: content[key] for key in state} == state
        return BagResult(bag, folder, content["status"]) if same else None
    except (OSError, ValueError, KeyError, TypeError, BagError):
        return None
