"""``lsabinet benchmark``: how fast the package is here; one sub-verb for each thing that is measured."""

import argparse

from lsabinet_core.cli import benchmark_train

HELP = "measure how fast training is on this machine"

VERBS = {"train": benchmark_train}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)
    for name, module in VERBS.items():
        verb = verbs.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)


def run(args: argparse.Namespace) -> int:
    """Run the sub-verb that ``args`` names."""
    return args.run(args)
