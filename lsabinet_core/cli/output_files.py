"""Checks of the files that a verb writes, made before its work, which may take long."""

import argparse
from pathlib import Path

from lsabinet_core.errors import LsabinetError


def check_output_files(args: argparse.Namespace, *options: str) -> None:
    """Check the given options, such as ``"json"``, each a Path or None: files that the verb writes.

    Raises:
        LsabinetError: a path is a folder, a device or a pipe, lies below a file, or is that of another of these
            options.
    """
    options_by_file: dict[Path, str] = {}
    for option in options:
        path: Path | None = getattr(args, option)
        if path is None:
            continue
        if path.is_dir():
            raise LsabinetError(f"--{option} {path}: expected a file, got a folder")
        if path.exists() and not path.is_file():
            raise LsabinetError(f"--{option} {path}: expected a regular file")
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir():
            raise LsabinetError(f"--{option} {path}: expected a file in a folder, but {above} is a file")
        other = options_by_file.setdefault(path.resolve(), option)
        if other != option:
            raise LsabinetError(f"--{other} and --{option} both write {path}: choose different files")
