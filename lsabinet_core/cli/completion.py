"""Completion of verbs and options in the shell, where argcomplete is installed."""

import argparse
import os


def offer_completion(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and end the process, where the shell asks for completions; otherwise do nothing."""
    # argcomplete's own variable. Without it, nothing is imported: the command starts as fast as before.
    if "_ARGCOMPLETE" not in os.environ:
        return
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(parser)
