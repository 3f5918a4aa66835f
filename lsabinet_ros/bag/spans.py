"""Named parts of a drive, such as night and tunnel, with separate metrics in a report."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import yaml

from lsabinet_core.errors import BagError
from lsabinet_core.files import read_text

SECOND_NS = 1_000_000_000
EPOCH_NS = 100_000_000 * SECOND_NS
"""Times from here on are since 1970; no drive takes three years."""
KEYS = ("name", "from", "to")
_NAME = re.compile(r"[\w -]+")
"""Without dots, which separate the parts of a limit's name, and semicolons, which separate spans in CSV files."""


@dataclass(frozen=True)
class Span:
    """A half-open range of bag time.

    Attributes:
        name: several spans with the same name are one part of the drive.
        from_ns, to_ns: its first nanosecond, and the first one after it: since 1970 from ``EPOCH_NS`` on, otherwise
            since the first message of a bag.
    """

    name: str
    from_ns: int
    to_ns: int

    def contains(self, bag_time_ns: int, start_ns: int) -> bool:
        """Whether a message is in the span.

        Args:
            bag_time_ns: when it was recorded.
            start_ns: when the first message of its bag was recorded.
        """
        time_ns = bag_time_ns if self.from_ns >= EPOCH_NS else bag_time_ns - start_ns
        return self.from_ns <= time_ns < self.to_ns


def names_of(spans: Sequence[Span]) -> tuple[str, ...]:
    """The different names in their order."""
    return tuple(dict.fromkeys(span.name for span in spans))


def spans_at(spans: Sequence[Span], bag_time_ns: int, start_ns: int) -> tuple[str, ...]:
    """The names of the spans that contain a message; see ``Span.contains``."""
    return names_of([span for span in spans if span.contains(bag_time_ns, start_ns)])


def read_spans(path: Path) -> tuple[Span, ...]:
    """Read a YAML file with a list of spans: ``- {name: night, from: 0, to: 90.5}``, times in seconds.

    Raises:
        BagError: the file cannot be read, or an entry is not a valid span; the message gives its number.
    """
    try:
        # Numbers are kept as text: a float does not hold the nanoseconds of a time since 1970.
        content = yaml.load(read_text(path), getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except OSError as error:
        raise BagError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, yaml.YAMLError):
        raise BagError(f"{path} is not a YAML file") from None
    if not isinstance(content, list) or not content:
        raise BagError(f"expected a list of spans such as `- {{name: night, from: 0, to: 90.5}}` in {path}")
    return tuple(_parse(entry, f"{path}, span {number}") for number, entry in enumerate(content, start=1))


def _parse(entry: object, where: str) -> Span:
    if not isinstance(entry, Mapping) or set(entry) != set(KEYS):
        found = ", ".join(map(str, entry)) if isinstance(entry, Mapping) else repr(entry)
        raise BagError(f"{where}: expected the keys {', '.join(KEYS)}, got {found}")
    name = entry["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BagError(f"{where}: expected a name of letters, digits, spaces, hyphens and underscores, got {name!r}")
    from_ns, to_ns = (_nanoseconds(entry[key], f"{where}, {key}") for key in ("from", "to"))
    if from_ns >= to_ns:
        raise BagError(f"{where}: expected `to` later than `from`, got {entry['from']} to {entry['to']}")
    if (from_ns >= EPOCH_NS) != (to_ns >= EPOCH_NS):
        raise BagError(
            f"{where}: expected both times since the start of the bag or both since 1970, "
            f"got {entry['from']} to {entry['to']}"
        )
    return Span(name, from_ns, to_ns)


def _nanoseconds(text: object, where: str) -> int:
    try:
        seconds = Fraction(text) if isinstance(text, str) else Fraction(-1)
    except (ValueError, ZeroDivisionError):
        seconds = Fraction(-1)
    if seconds < 0:
        raise BagError(f"{where}: expected seconds of at least 0, got {text!r}")
    return int(seconds * SECOND_NS)
