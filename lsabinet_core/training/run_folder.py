"""The folder of a run: its files, and how a run is created and resumed.

recipe.yaml            every setting, resolved
run.json               command, data set, seed, versions, git commit; for each session the number of images, device,
                       precision, input pipeline, threads, and whether the step is compiled
metrics.jsonl          one record every few iterations and one after each validation
checkpoint.pt          state for --resume
last.safetensors       weights at the latest validation (at the end: the final weights)
ema.safetensors        moving average of the weights at that time (with ema_decay), which is then the validated network
best.safetensors       the validated weights with the highest validation mIoU so far
summary.json           final figures, once the run is complete
tensorboard/           curves, where tensorboard is installed
"""

import contextlib
import hashlib
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import torch

import lsabinet_core
from lsabinet_core.commit import source_state
from lsabinet_core.errors import TrainingError
from lsabinet_core.files import errors_name, write_text

from .recipe import Recipe, load_recipe, save_recipe

try:
    import fcntl
except ImportError:
    # Windows.
    fcntl = None

PACKAGES = ("safetensors", "pydantic", "PyYAML", "rich")
"""Packages whose versions are recorded in addition to those of PyTorch, NumPy and OpenCV."""


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
        """Start a new run, or restart one that failed before its first checkpoint.

        Raises:
            TrainingError: the folder already holds a run, or another process trains in it.
        """
        if self.is_finished:
            raise TrainingError(f"{self.path} holds a finished run: choose another --out, or delete it")
        if self.recipe.exists() and self.checkpoint.exists():
            raise TrainingError(f"{self.path} already holds a run: continue with --resume, or choose another --out")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{self.path} cannot be created: {error.strerror}") from None
        with self.lock():
            self._metrics.unlink(missing_ok=True)
            write_text(self._run, json.dumps({**facts, **_environment()}, indent=1))
            write_text(self.recipe, save_recipe(recipe))

    def open(self) -> tuple[Recipe, dict]:
        """Recipe and facts of an existing run. Raises TrainingError if there is no run."""
        if not (self.recipe.is_file() and self._run.is_file()):
            raise TrainingError(f"{self.path} holds no run to resume: start the run without --resume")
        return load_recipe(self.recipe), self._read_run()

    def truncate_metrics(self, iteration: int) -> None:
        """Drop the records after ``iteration``, which a resumed run will write again.

        Raises:
            TrainingError: another process is training in the folder and still writing these records.
        """
        if self._metrics.exists():
            with self.lock():
                lines = self._metrics.read_text(encoding="utf-8").splitlines()
                kept = [line for line in lines if _iteration(line) <= iteration]
                write_text(self._metrics, "".join(f"{line}\n" for line in kept))

    def validated(self) -> dict[int, float | None]:
        """Recorded mIoU in 0..1 of every validation, by iteration; None where undefined."""
        lines = self._metrics.read_text(encoding="utf-8").splitlines() if self._metrics.exists() else []
        records = [json.loads(line) for line in lines if '"val"' in line and _iteration(line) < float("inf")]
        return {record["iteration"]: record["val"]["miou"] for record in records}

    def begin_session(self, facts: dict) -> list[str]:
        """Record in run.json the environment in which the run continues; call it while holding ``lock``.

        Args:
            facts: decisions that the recipe leaves open: ``device``, ``precision``, ``input_pipeline``.

        Returns:
            names of the values that differ from the first session, among those facts, the recipe, the number of
            threads, the git commit and PyTorch's version.
        """
        for half_written in self.path.glob(".*.tmp*"):
            # A file left behind by a session that was killed.
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
        """Check the number of images against the first session, if it was recorded.

        Args:
            counts: ``train_images`` and ``val_images``.

        Raises:
            TrainingError: the number of images changed, so a resumed run would visit them in another order.
        """
        had = (self._read_run().get("sessions") or [{}])[0]
        for name, count in counts.items():
            if had.get(name, count) != count:
                raise TrainingError(
                    f"{self.path} started with {had[name]} {name.replace('_', ' ')}, now there are {count}: "
                    "restore the data set, or start a new run with another --out"
                )

    def note(self, **facts: Any) -> None:
        """Add decisions made after the start of the session to its record: ``compiled``."""
        document = self._read_run()
        document["sessions"][-1].update(facts)
        write_text(self._run, json.dumps(document, indent=1))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Prevent other processes from training in this folder. Raises TrainingError if one already does."""
        with open(self.path / ".lock", "w") as file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(f"another process trains in {self.path}: wait for it, or stop it") from None
            except OSError:
                # The file system does not support locks.
                pass
            _locks.add(file)
            try:
                yield
            finally:
                _locks.discard(file)

    def record(self, **values: Any) -> None:
        with errors_name(self._metrics), self._metrics.open("a", encoding="utf-8") as stream:
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
            raise TrainingError(f"{self._run} is corrupt: expected a file of `lsabinet train`; choose another --out")
        return document


_locks: set[IO] = set()


def _leave_locks() -> None:
    """Close inherited lock files: a worker that outlives a killed run would otherwise keep its folder locked."""
    for file in _locks:
        file.close()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks)


def _iteration(line: str) -> float:
    try:
        return json.loads(line)["iteration"]
    except (ValueError, KeyError):
        # The last line may be incomplete if the run was killed.
        return float("inf")


def _environment() -> dict:
    return {
        "command": shlex.join(sys.argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **source_state(),
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
