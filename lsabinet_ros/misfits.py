"""Finds settings that have no effect on a node: parameters with unknown names, parameter files for other nodes."""

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml


def unknown_parameters(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """One line for each of ``names`` that is not a parameter, with the most similar of the ``known`` ones."""
    lines = []
    for name in sorted(set(names) - set(known)):
        similar = difflib.get_close_matches(name, known, n=1)
        hint = f": did you mean {similar[0]!r}?" if similar else ""
        lines.append(f"there is no parameter {name!r}, so its value is ignored{hint}")
    return lines


def parameter_files(arguments: Sequence[str]) -> list[Path]:
    """The parameter files among the ROS arguments of a command line."""
    files, within = [], False
    for argument, following in itertools.pairwise([*arguments, ""]):
        if argument in ("--ros-args", "--"):
            within = argument == "--ros-args"
        elif within and argument == "--params-file" and following:
            files.append(Path(following))
    return files


def file_for_other_nodes(path: Path, node: str) -> str | None:
    """Why a parameter file sets nothing for a node, in one line; None if it does.

    Args:
        path: a file that rcl has accepted.
        node: the node's name with its namespace, such as ``/veh/segmentation``.
    """
    keys = list(_node_keys(yaml.safe_load(path.read_text(encoding="utf-8")) or {}))
    if not keys or any(_matches(key, node) for key in keys):
        return None
    return (
        f"{path} sets no parameter of this node, {node}: its parameters are those of {', '.join(keys)}; use the key "
        f"/** or {node}"
    )


def _node_keys(tree: Mapping, prefix: str = "") -> Iterator[str]:
    """The full names, with wildcards, of the nodes for which a file has parameters; namespaces may be nested."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            name = f"{prefix}/{str(key).strip('/')}"
            if "ros__parameters" in value:
                yield name
            yield from _node_keys({k: v for k, v in value.items() if k != "ros__parameters"}, name)


def _matches(key: str, node: str) -> bool:
    """Whether a key applies to a node: ``*`` is any one name, ``/**`` any number of them."""
    pattern = re.escape(key).replace(r"/\*\*", r"(/\w+)*").replace(r"\*", r"\w+")
    return re.fullmatch(pattern, node) is not None
