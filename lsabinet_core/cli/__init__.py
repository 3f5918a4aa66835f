"""The ``lsabinet`` command: a table of verbs, one module each.

A verb is a module with ``HELP`` (one line), ``add_arguments(parser)`` and ``run(args)``, which returns the exit status
(None is 0). It imports heavy libraries inside ``run``, so that ``--help`` answers at once. Other packages add verbs
through the entry point group ``lsabinet.verbs``. Only the verb that runs is imported; the help imports all verbs, and
leaves out those that cannot be imported.
"""

import argparse
import importlib
import io
import os
import sys
import threading
from collections.abc import Sequence
from importlib import metadata
from types import ModuleType

from lsabinet_core.cli.completion import offer_completion
from lsabinet_core.cli.logs import show_warnings
from lsabinet_core.cli.plugins import load_verb, set_up_verb
from lsabinet_core.errors import LsabinetError, one_line
from lsabinet_core.inference.backends import BUILDER_THREAD

VERBS = (
    "doctor",
    "models",
    "train",
    "runs",
    "plot",
    "ablate",
    "average",
    "evaluate",
    "compare",
    "predict",
    "synthetic",
    "export",
    "benchmark",
    "tables",
    "zoo",
)
ENTRY_POINTS = "lsabinet.verbs"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 1 for an error that the user can fix, 2 for wrong usage, 130 (Ctrl-C).

    Args:
        argv: verb and arguments; None takes those of the process, which this call may then end.
    """
    if argv is not None:
        return _main(list(argv))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As on standard error: names that the terminal's encoding does not have are no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    status = _main(sys.argv[1:])
    if any(thread.name == BUILDER_THREAD for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _main(argv: list[str]) -> int:
    show_warnings()
    try:
        try:
            args = _parser(argv).parse_args(argv)
            return args.run(args) or 0
        finally:
            _flush_output()
    except LsabinetError as error:
        print(f"lsabinet: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output went away (`| head`).
        return 1
    except OSError as error:
        # A full disk, a folder that may not be written: the system's message names the file.
        print(f"lsabinet: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lsabinet: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from lsabinet_core.inference.backends.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        print(
            f"lsabinet: error: not enough memory ({one_line(error)}): use smaller images or batches or fewer processes",
            file=sys.stderr,
        )
        return 1


def _flush_output() -> None:
    """Write what is still in the buffer of standard output. Raise OSError if that fails."""
    # Standard output may be closed (`>&-`).
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        # Python flushes again when it exits, and would report that failure in lines of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lsabinet", description="Real-time semantic segmentation for vehicles.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(run=_without_verb(parser))
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    for name, module in _verbs(argv).items():
        set_up_verb(module, verbs.add_parser(name, help=module.HELP, description=module.HELP))
    offer_completion(parser)
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


def _verbs(argv: Sequence[str]) -> dict[str, ModuleType]:
    """The verb that ``argv`` asks for, or all that can be loaded where it asks for none of them."""
    plugins: dict[str, metadata.EntryPoint] = {}
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        if entry.name not in VERBS:
            plugins.setdefault(entry.name, entry)
    asked = next((argument for argument in argv if not argument.startswith("-")), None)
    if asked in plugins:
        return {asked: load_verb(plugins[asked])}
    names = [asked] if asked in VERBS else VERBS
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    if asked not in VERBS:
        for name, entry in plugins.items():
            try:
                modules[name] = load_verb(entry)
            except LsabinetError as error:
                print(f"lsabinet: warning: {error}", file=sys.stderr)
    return modules
