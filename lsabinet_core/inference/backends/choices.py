"""The cached choice of an engine on this machine: one small file per network and setting."""

import contextlib
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

from .choose import computes_in_bf16, device_name
from .engines import ENGINES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The chosen engine, its precision and the reason; ``milliseconds`` per image of all compared engines, by name or
    ``trial.label``."""

    backend: str
    precision: str
    reason: str
    milliseconds: dict[str, float]


class ChoiceFile:
    """The file with the choice for one network and one combination of ``device``, ``precision`` and ``threads``.

    Args:
        network: the network that will run, at its size.
        device, precision, threads: as requested by the user.
        known: engines that may be chosen; a new one invalidates the choice.
    """

    def __init__(
        self, network: Network, device: torch.device, precision: str, threads: int, known: Sequence[str]
    ) -> None:
        self._question = {
            "weights": network.fingerprint,
            "size": list(network.size),
            "any_size": network.any_size,
            "requested_precision": precision,
            "threads": threads,
            "device": f"{device} {device_name(device)}",
            # Processors of the same name, especially virtual ones, may support different instructions.
            "processor": f"{torch.backends.cpu.get_cpu_capability()}, {usable_cores()} cores",
            "bf16": computes_in_bf16(device),
            "engines": list(known),
            "versions": _versions(),
        }
        digest = hashlib.sha256(json.dumps(self._question, sort_keys=True).encode()).hexdigest()
        self.path = _directory() / f"{digest[:24]}.json"

    def read(self) -> Choice | None:
        """The choice, or None if there is none; logs a warning if the file is corrupt."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            choice = Choice(**document["choice"])
            fits = choice.backend in self._question["engines"] and document["question"] == self._question
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("cached engine choice %s is corrupt (%s); comparing the engines again", self.path, error)
            return None
        return choice if fits else None

    def write(self, choice: Choice) -> None:
        """Save the choice; logs a warning if that fails."""
        document = {"question": self._question, "choice": asdict(choice)}
        try:
            write_text(self.path, json.dumps(document, indent=1) + "\n")
        except OSError as error:
            log.warning("the engine choice cannot be cached (%s); the next start compares the engines again", error)

    def forget(self) -> None:
        """Remove this choice, so that the engines are compared again."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("cached engine choice %s cannot be removed (%s)", self.path, error)


def forget_choices() -> None:
    """Remove all choices, because an engine was built that did not take part in them."""
    shutil.rmtree(_directory(), ignore_errors=True)


def _directory() -> Path:
    return cache_directory() / "choices"


def _versions() -> dict[str, str | int]:
    versions: dict[str, str | int] = {"form": FORM, "torch": torch.__version__}
    # A version change of any of these packages invalidates the choice.
    for package in dict.fromkeys(name for engine in ENGINES.values() for name in engine.distributions):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
