"""Engines that run the network; ``base.Backend`` is their interface.

A backend takes uint8 frames and returns logits for ``masks_from_logits``; normalisation is part of the deployed network
(``lsabinet_core.inference.deploy``).
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from lsabinet_core.cores import threads_for_engine
from lsabinet_core.errors import BackendError
from lsabinet_core.inference.forks import claim_process

from .engines import ENGINES, engines_of_format

if TYPE_CHECKING:
    # Parsers and the unconfigured node need the names below without waiting for the import of PyTorch.
    from lsabinet_core.inference.artefact import Artefact

    from .base import Backend

DEFAULT_BACKEND = "auto"
"""The default engine. Code that needs the uncompiled reference names ``torch``."""

BUILDER_THREAD = "engine_builder"
"""Name of the threads that build engines in the background. A build cannot be interrupted, and its native code aborts
the process if it ends during interpreter shutdown: programs exit with ``os._exit`` while such a thread is alive."""


def list_backends() -> list[str]:
    """Names that ``create_backend`` accepts."""
    return sorted(ENGINES)


def create_backend(name: str, *, device: str = "auto", precision: str = "auto", threads: int = 0) -> "Backend":
    """Create an engine by name, without loading a network.

    Args:
        name: one of ``list_backends()``.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp32 on the CPU, fp16 on a GPU), ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        threads: maximum number of CPU threads that the engine computes with; 0 leaves the engine's own choice, or the
            number of usable cores if a container's CPU quota leaves fewer than the engine sees.

    Raises:
        BackendError: the name is unknown, the engine is not installed, the engine does not support the device or
            precision, or the process was forked from one that has run a network.
    """
    claim_process()
    if name not in ENGINES:
        raise BackendError(f"expected backend to be one of {', '.join(list_backends())}, got {name!r}")
    engine = ENGINES[name]
    factory: Callable[..., Backend] = getattr(import_module(engine.module), engine.class_name)
    return factory(device=device, precision=precision, threads=threads_for_engine(threads))


def engine_for(artefact: "Artefact", name: str) -> str:
    """The engine that runs an exported model: ``name``, or the default engine of its format if ``name`` is ``auto``.

    Raises:
        BackendError: the engine does not read the format.
    """
    engines = engines_of_format(artefact.format)
    if name in engines:
        return name
    if name == "auto":
        return engines[0]
    raise BackendError(
        f"{artefact.path.name} is a {artefact.format} export: expected backend {' or '.join(engines)}, got {name!r}"
    )
