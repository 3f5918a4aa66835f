"""The folder of a run: what is in it, and how it is opened.

recipe.yaml            every setting, resolved
run.json               command, data set, seed, versions, git commit; for each session what it found and decided:
                       number of images, device, precision, input pipeline, threads, whether the step is compiled
metrics.jsonl          one line every few iterations, one after each validation
checkpoint.pt          state for --resume
last.safetensors       weights after the latest validation (the final ones at the end)
ema.safetensors        their moving average at that time, with ema_decay; then it is what was validated
best.safetensors       the validated weights with the highest validation mIoU so far
summary.json           figures, once the run is complete
tensorboard/           curves, where tensorboard is installed
"""

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import torch

import lsabinet_core
from lsabinet_core.errors import TrainingError
from lsabinet_core.files import write_text

from .recipe import Recipe, load_recipe, save_recipe

try:
    import fcntl
except ImportError:
    # Windows.
    fcntl = None

PACKAGES = ("safetensors", "pydantic", "PyYAML", "rich")
"""Whose versions are recorded beside those of PyTorch, NumPy and OpenCV."""


class RunFolder:
    """Paths and records of one run."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoint.pt"
        self.last = self.path / "last.safetensors"
        self.ema = self.path / "ema.safetensors"
        self.best = self.path / "best.safetensors"
        self.recipe = self.path / "recipe.yaml"
        self.tensorboard = self.path / "tensorboard"
        self._metrics = self.path / "metrics.jsonl"
        self._run = self.path / "run.json"
        self._summary = self.path / "summary.json"

    def create(self, recipe: Recipe, facts: dict) -> None:
        """Start a new run, also in place of one that failed before its first checkpoint.

        Raises:
            TrainingError: there is one already, or another process trains in the folder.
        """
        if self.is_finished:
            raise TrainingError(f"{self.path} holds a finished run: choose another --out, or delete it")
        if self.recipe.exists() and self.checkpoint.exists():
            raise TrainingError(f"{self.path} holds a run already: go on with --resume, or choose another --out")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{self.path} cannot be made: {error.strerror}") from None
        with self.lock():
            self._metrics.unlink(missing_ok=True)
            write_text(self._run, json.dumps({**facts, **_environment()}, indent=1))
            write_text(self.recipe, save_recipe(recipe))

    def open(self) -> tuple[Recipe, dict]:
        """Recipe and facts of a run that exists. Raises TrainingError where there is none."""
        if not (self.recipe.is_file() and self._run.is_file()):
            raise TrainingError(f"{self.path} holds no run to resume: start it without --resume")
        return load_recipe(self.recipe), self._read_run()

    def truncate_metrics(self, iteration: int) -> None:
        """Drop the records past ``iteration``, which a resumed run will write again.

        Raises:
            TrainingError: another process trains in the folder, whose records they are.
        """
        if self._metrics.exists():
            with self.lock():
                lines = self._metrics.read_text(encoding="utf-8").splitlines()
                kept = [line for line in lines if _iteration(line) <= iteration]
                write_text(self._metrics, "".join(f"{line}\n" for line in kept))

    def validated(self) -> dict[int, float | None]:
        """mIoU in 0..1 of every validation in the records, by iteration; None where it is undefined."""
        lines = self._metrics.read_text(encoding="utf-8").splitlines() if self._metrics.exists() else []
        records = [json.loads(line) for line in lines if '"val"' in line and _iteration(line) < float("inf")]
        return {record["iteration"]: record["val"]["miou"] for record in records}

    def begin_session(self, facts: dict) -> list[str]:
        """Note in run.json on what the run goes on from here; within ``lock``.

        Args:
            facts: what the recipe leaves open, as it was decided: ``device``, ``precision``, ``input_pipeline``.

        Returns:
            names of what differs from the first session, of those facts, the recipe, the threads, the commit of the
            source and PyTorch's version.
        """
        for half_written in self.path.glob(".*.tmp*"):
            # Of a session that was killed.
            half_written.unlink()
        document = self._read_run()
        sessions = document.setdefault("sessions", [])
        recipe = hashlib.sha256(self.recipe.read_bytes()).hexdigest()
        sessions.append({**_environment(), **facts, "recipe_sha256": recipe})
        write_text(self._run, json.dumps(document, indent=1))
        first, last = sessions[0], sessions[-1]
        names = {"recipe_sha256": "recipe", "git_commit": "git commit"}
        keys = (*facts, "threads", *names)
        differences = [names.get(key, key) for key in keys if first.get(key, last[key]) != last[key]]
        return differences + (["PyTorch"] if first["versions"]["torch"] != last["versions"]["torch"] else [])

    def check_images(self, counts: dict[str, int]) -> None:
        """Compare with what the first session found; what it did not note is passed over.

        Args:
            counts: ``train_images`` and ``val_images``.

        Raises:
            TrainingError: another number of images: a resumed run would go through another order.
        """
        had = (self._read_run().get("sessions") or [{}])[0]
        for name, count in counts.items():
            if had.get(name, count) != count:
                raise TrainingError(
                    f"{self.path} was begun with {had[name]} {name.replace('_', ' ')}, now there are {count}: "
                    "bring the data set back, or start a new run with another --out"
                )

    def note(self, **facts) -> None:
        """Add to the record of the session what it has decided later: ``compiled``."""
        document = self._read_run()
        document["sessions"][-1].update(facts)
        write_text(self._run, json.dumps(document, indent=1))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this folder. Raises TrainingError where one does."""
        with open(self.path / ".lock", "w") as file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(f"another process trains in {self.path}: wait for it, or end it") from None
            except OSError:
                # A file system without locks.
                pass
            _locks.add(file)
            try:
                yield
            finally:
                _locks.discard(file)

    def record(self, **values) -> None:
        with self._metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**values, "time": round(time.time(), 3)}) + "\n")

    @property
    def is_finished(self) -> bool:
        return self._summary.is_file()

    def finish(self, summary: dict) -> None:
        write_text(self._summary, json.dumps(summary, indent=1))

    def _read_run(self) -> dict:
        try:
            document = json.loads(self._run.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            document = None
        if not isinstance(document, dict):
            raise TrainingError(f"{self._run} is damaged: expected what `lsabinet train` wrote; choose another --out")
        return document


_locks: set[IO] = set()


def _leave_locks() -> None:
    """A lock is held until every process that has the file open closes it: also a worker that outlives a killed run."""
    for file in _locks:
        file.close()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks)


def _iteration(line: str) -> float:
    try:
        return json.loads(line)["iteration"]
    except (ValueError, KeyError):
        # The last line of a run that was killed may be half written.
        return float("inf")


def _environment() -> dict:
    return {
        "command": " ".join(sys.argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **_git_state(),
        "versions": {
            "lsabinet": lsabinet_core.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            **{name.lower(): metadata.version(name) for name in PACKAGES},
        },
        "machine": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "threads": torch.get_num_threads(),
    }


def _git_state() -> dict:
    """The commit of the source and whether files were changed since; None where the source is not under git."""
    # An installed package may lie within some other checkout, whose commit says nothing.
    if _git("ls-files", "--error-unmatch", Path(lsabinet_core.__file__).name) is None:
        # Written by setup.py where the package was built from a checkout.
        built = Path(lsabinet_core.__file__).with_name("commit.txt")
        commit, _, dirty = built.read_text(encoding="ascii").strip().partition("-") if built.exists() else ("", "", "")
        return {"git_commit": commit or None, "git_changed": bool(dirty) if commit else None}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": _git("rev-parse", "HEAD"), "git_changed": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    folder = Path(lsabinet_core.__file__).parent
    try:
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
