"""Verbs of other packages, which register them as entry points."""

import argparse
from importlib import metadata
from types import ModuleType

from lsabinet_core.errors import LsabinetError


def load_verb(entry: metadata.EntryPoint) -> ModuleType:
    """The module of a verb; raises LsabinetError if it cannot be imported or is not a verb."""
    try:
        module = entry.load()
        # Try it on a parser of its own, so that an invalid verb does not break the help of the others.
        set_up_verb(module, argparse.ArgumentParser(description=module.HELP))
        return module
    # The import of another package's module may raise any error, or even exit.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a foreign module raises anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        origin = entry.dist.name if entry.dist is not None else entry.value
        raise LsabinetError(
            f"verb {entry.name!r} of package {origin} cannot be loaded ({reason}): fix or uninstall it"
        ) from None


def set_up_verb(module: ModuleType, verb: argparse.ArgumentParser) -> None:
    """Add the arguments of a verb to its parser, and the function that runs it."""
    module.add_arguments(verb)
    # A verb with sub-verbs sets ``run`` on those.
    if verb.get_default("run") is None:
        verb.set_defaults(run=module.run)
