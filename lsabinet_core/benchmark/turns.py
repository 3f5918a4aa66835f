"""Starts subjects, measures them interleaved and closes them; a failure of one does not stop the others."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from lsabinet_core.errors import LsabinetError

from .interleaved import Timing, time_interleaved
from .subjects import Subject

Key = TypeVar("Key", bound=Hashable)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Measured:
    """Timings of one subject by measured quantity, and its final description."""

    spent: dict[str, Timing]
    description: dict[str, Any]


def measure(
    starts: Mapping[Key, Callable[[], Subject]],
    *,
    rounds: int,
    warmup: int,
    device: torch.device,
    progress: Progress,
) -> tuple[dict[Key, Measured], dict[Key, str]]:
    """Start every subject, and measure those that start in interleaved rounds.

    Args:
        starts: functions that create the subjects, by name.
        rounds: measured calls of each subject.
        warmup: unmeasured calls of each subject, after the first.
        device: device of the subjects; synchronised around each call.
        progress: called with ``building`` or ``measuring``, steps done, total steps.

    Returns:
        The measurements, and the reasons of failures, one line each.
    """
    subjects: dict[Key, Subject] = {}
    failures: dict[Key, str] = {}
    try:
        for number, (key, start) in enumerate(starts.items(), 1):
            try:
                subjects[key] = start()
            except Exception as error:  # noqa: BLE001 - a failing engine is reported in the table
                failures[key] = one_line(error)
            progress("building", number, len(starts))
        turns = _take_turns(subjects, failures, rounds, warmup, device, progress)
        measured = {}
        for key, found in turns.items():
            spent = {name: Timing(times_ms=[turn[name] for turn in found[-rounds:]]) for name in found[0]}
            measured[key] = Measured(spent, subjects[key].describe())
        return measured, failures
    finally:
        for subject in subjects.values():
            subject.close()


def _take_turns(
    subjects: dict[Key, Subject],
    failures: dict[Key, str],
    rounds: int,
    warmup: int,
    device: torch.device,
    progress: Progress,
) -> dict[Key, list[dict[str, float]]]:
    """All turns of the subjects that do not fail; the others are added to ``failures``."""
    if not subjects:
        return {}
    turns: dict[Key, list[dict[str, float]]] = {key: [] for key in subjects}

    def work(key: Key) -> None:
        if key in failures:
            return
        try:
            turns[key].append(subjects[key].turn())
        except Exception as error:  # noqa: BLE001 - a failing engine is reported in the table
            failures[key] = one_line(error)

    time_interleaved(
        {key: lambda key=key: work(key) for key in subjects},
        rounds=rounds,
        warmup=warmup,
        device=device,
        progress=lambda done, total: progress("measuring", done, total),
    )
    return {key: found for key, found in turns.items() if key not in failures}


def one_line(error: Exception) -> str:
    """The reason of a failure: our own errors unchanged, other errors as their type and first line."""
    if isinstance(error, LsabinetError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
