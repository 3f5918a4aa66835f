"""Which engine was taken on this machine: one small file per question, in the cache."""

import hashlib
import importlib.metadata
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lsabinet_core.cores import usable_cores
from lsabinet_core.files import write_text
from lsabinet_core.inference.cache import cache_directory
from lsabinet_core.inference.deploy import FORM
from lsabinet_core.inference.network import Network

from .common import device_name

log = logging.getLogger(__name__)

PACKAGES = ("openvino", "onnxruntime", "onnxruntime-gpu", "tensorrt")
"""A new version of one of these is a new question."""


@dataclass(frozen=True)
class Choice:
    """An engine and why it was taken; ``milliseconds`` per image of every engine that was compared."""

    backend: str
    reason: str
    milliseconds: dict[str, float]


class ChoiceFile:
    """Where the choice for a network is kept; each of the arguments makes another question.

    Args:
        network: what will run, at its size.
        device, precision, threads: how.
        known: engines that may be chosen.
    """

    def __init__(
        self, network: Network, device: torch.device, precision: str, threads: int, known: Sequence[str]
    ) -> None:
        self._known = known
        self._question = {
            "weights": network.fingerprint,
            "size": list(network.size),
            "any_size": network.any_size,
            "precision": precision,
            "threads": threads,
            "device": f"{device} {device_name(device)}",
            # Processors of one name differ in their instructions, virtual ones most of all.
            "processor": f"{torch.backends.cpu.get_cpu_capability()}, {usable_cores()} cores",
            "versions": _versions(),
        }
        digest = hashlib.sha256(json.dumps(self._question, sort_keys=True).encode()).hexdigest()
        self.path = _directory() / f"{digest[:24]}.json"

    def read(self) -> Choice | None:
        """The choice, or None where there is none yet; a damaged file is none, with a warning."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            choice = Choice(**document["choice"])
            fits = choice.backend in self._known and document["question"] == self._question
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning(
                "the remembered choice of an engine %s is damaged (%s): they are compared again", self.path, error
            )
            return None
        return choice if fits else None

    def write(self, choice: Choice) -> None:
        """Keep the choice; where that is not possible, a warning says so."""
        document = {"question": self._question, "choice": asdict(choice)}
        try:
            write_text(self.path, json.dumps(document, indent=1) + "\n")
        except OSError as error:
            log.warning("the choice of an engine cannot be remembered (%s): the next start compares again", error)

    def forget(self) -> None:
        """Let this choice be made anew."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("the choice of an engine %s cannot be removed (%s)", self.path, error)


def forget_choices() -> None:
    """Let every choice be made anew, because an engine was built that was not there before."""
    shutil.rmtree(_directory(), ignore_errors=True)


def _directory() -> Path:
    return cache_directory() / "choices"


def _versions() -> dict[str, str | int]:
    versions: dict[str, str | int] = {"form": FORM, "torch": torch.__version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
