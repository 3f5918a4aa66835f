"""``lsabinet bag``: a table of verbs, one module each, with ``HELP``, ``add_arguments(parser)`` and ``run(args)``."""

import argparse
import functools

from lsabinet_core.cli.logs import show_warnings
from lsabinet_ros.bag.cli import compare, evaluate, extract, info, make, play, replay

HELP = "make, inspect, play, replay, evaluate, extract and compare ROS bags (only play and replay need ROS)"

VERBS = {
    "make": make,
    "info": info,
    "play": play,
    "replay": replay,
    "evaluate": evaluate,
    "extract": extract,
    "compare": compare,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, module in VERBS.items():
        verb = verbs.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(verb)
        verb.set_defaults(run=functools.partial(_run_verb, name))


def run(args: argparse.Namespace) -> int:
    """Run the verb that ``args`` selects."""
    return args.run(args)


def _run_verb(name: str, args: argparse.Namespace) -> int:
    show_warnings("lsabinet_ros")
    return VERBS[name].run(args)
