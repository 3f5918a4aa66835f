"""The ``lsabinet`` command: a table of verbs, one module each.

A verb is a module with ``HELP`` (one line), ``add_arguments(parser)`` and ``run(args)``, which returns the exit status
(None is 0). It imports what is heavy inside ``run``, so that ``--help`` answers at once. Other packages add verbs
through the entry point group ``lsabinet.verbs``.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from lsabinet_core.errors import LsabinetError

VERBS = (
    "models",
    "train",
    "runs",
    "plot",
    "ablate",
    "evaluate",
    "compare",
    "predict",
    "export",
    "benchmark",
    "tables",
    "zoo",
)
ENTRY_POINTS = "lsabinet.verbs"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 1 for an error that the user can mend, 2 for wrong usage, 130."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except LsabinetError as error:
        print(f"lsabinet: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output went away (`| head`); a further write at exit would raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # A full disk, a folder that may not be written: the system's message names the file.
        print(f"lsabinet: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lsabinet: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lsabinet", description="Real-time semantic segmentation for vehicles.")
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    parser.set_defaults(run=_without_verb(parser))
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    for name, module in _verbs().items():
        verb = verbs.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(verb)
        # A verb with verbs of its own sets run on those.
        if verb.get_default("run") is None:
            verb.set_defaults(run=module.run)
    return parser


def _without_verb(parser: argparse.ArgumentParser):
    def run(args: argparse.Namespace) -> int:
        if args.version:
            from lsabinet_core import __version__

            print(__version__)
            return 0
        parser.print_help(sys.stderr)
        return 2

    return run


def _verbs() -> dict[str, object]:
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in VERBS}
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        modules.setdefault(entry.name, entry.load())
    return modules
