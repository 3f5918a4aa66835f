"""The ids and colours under which a deployment publishes the classes of its network."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from lsabinet_core.errors import LsabinetError
from lsabinet_core.labels import VOID, LabelSet

Color = tuple[int, int, int]

ALL_OTHERS = "*"
"""Key of ``label_remap`` for all classes that no other entry names."""


@dataclass(frozen=True)
class PublishedClass:
    """One value of the published mask.

    Attributes:
        id: 0 to 254.
        name: name of the network's class, or names of several joined by ``+``.
        color: red, green, blue.
    """

    id: int
    name: str
    color: Color


class PublishedLabels:
    """Maps the classes of a network to the published ones.

    Args:
        label_set: the classes of the network.
        label_remap: the parameter ``label_remap``: entries ``CLASS=ID``, separated by commas. CLASS is the id or name
            of a class of the network, or ``*``; ID is 0 to 255, where 255 means that the class is not published. Other
            classes keep their ids.
        palette: the parameter ``palette``: entries ``CLASS=#RRGGBB``. Other classes keep their colours; one that is
            published together with others has that of the first of them.

    Raises:
        LsabinetError: an entry that is not of this form, an unknown class, one that is named twice, or a class without
            an entry whose id another class is mapped to.
    """

    def __init__(self, label_set: LabelSet, label_remap: str = "", palette: str = ""):
        ids = _published_ids(label_set, label_remap)
        chosen = dict(_entries(label_set, "palette", palette, "#RRGGBB", _color))
        members = {id: [index for index, other in enumerate(ids) if other == id] for id in sorted({*ids} - {VOID})}
        colors = {
            # Of the classes that share an id, one whose colour was chosen comes before the others.
            id: next((chosen[index] for index in indices if index in chosen), label_set.colors[indices[0]])
            for id, indices in members.items()
        }
        self.name = label_set.name
        self.classes = tuple(
            PublishedClass(id, "+".join(label_set.names[index] for index in indices), colors[id])
            for id, indices in members.items()
        )
        """The published classes, in the order of their ids."""
        self.drawn = dataclasses.replace(
            label_set, colors=tuple(colors.get(id, own) for id, own in zip(ids, label_set.colors, strict=True))
        )
        """The classes of the network in the colours of the published ones, to draw what ``visible`` returns."""
        self._ids = _table(dict(enumerate(ids)))
        self._visible = _table({index: index for index, id in enumerate(ids) if id != VOID})
        count = len(label_set)
        self._keeps_ids = ids == list(range(count))
        self._shows_all = VOID not in ids

    def visible(self, mask: np.ndarray) -> np.ndarray:
        """The mask of the network's ids, uint8 (H, W), with 255 for the classes that are not published."""
        return mask if self._shows_all else cv2.LUT(mask, self._visible)

    def published(self, mask: np.ndarray) -> np.ndarray:
        """The published ids for a mask, uint8 (H, W), of the network's ids."""
        return mask if self._keeps_ids else cv2.LUT(mask, self._ids)


def _table(ids: dict[int, int]) -> np.ndarray:
    table = np.full(256, VOID, np.uint8)
    for index, id in ids.items():
        table[index] = id
    return table


def _published_ids(label_set: LabelSet, label_remap: str) -> list[int]:
    """The published id of each class of the network."""
    given = dict(_entries(label_set, "label_remap", label_remap, "ID", _id))
    rest = given.pop(None, None)
    ids = [given.get(index, index if rest is None else rest) for index in range(len(label_set))]
    for index in range(len(label_set)):
        if rest is None and index not in given and index in given.values():
            raise LsabinetError(
                f"label_remap: expected an entry for {label_set.names[index]} as well, because another class is mapped "
                f"to its id {index}, got {label_remap!r}"
            )
    return ids


def _entries(
    label_set: LabelSet, parameter: str, text: str, form: str, parse: Callable[[str], object]
) -> Iterator[tuple[int | None, Any]]:
    """The index of the class, or None for ``*``, and the value of each entry of a parameter."""
    seen = set()
    for entry in filter(None, (part.strip() for part in text.split(","))):
        key, separator, written = (part.strip() for part in entry.rpartition("="))
        value = parse(written)
        if not separator or value is None:
            raise LsabinetError(f"{parameter}: expected entries CLASS={form}, separated by commas, got {entry!r}")
        index = _index(label_set, key) if key != ALL_OTHERS or parameter != "label_remap" else None
        if index == VOID:
            names = ", ".join(f"{index} {name}" for index, name in enumerate(label_set.names))
            raise LsabinetError(f"{parameter}: expected a class of the network ({names}), got {key!r}")
        if index in seen:
            raise LsabinetError(f"{parameter}: expected one entry per class, got a second one, {entry!r}")
        seen.add(index)
        yield index, value


def _index(label_set: LabelSet, key: str) -> int:
    """The id of the class with the name or id ``key``; 255 if there is none."""
    if key in label_set.names:
        return label_set.names.index(key)
    return int(key) if key.isascii() and key.isdigit() and int(key) < len(label_set) else VOID


def _id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) <= VOID else None


def _color(text: str) -> Color | None:
    if not re.fullmatch("#[0-9A-Fa-f]{6}", text):
        return None
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue
