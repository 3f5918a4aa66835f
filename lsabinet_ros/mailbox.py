"""The newest-frame slot between a subscription and the worker, and the count of what became of every frame."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Outcome(Enum):
    """What became of a frame that the worker took."""

    PUBLISHED = "published"
    REJECTED = "rejected"
    FAILED = "failed"
    UNWANTED = "unwanted"
    DISCARDED = "discarded"


@dataclass(frozen=True)
class FrameCounts:
    """Frames since the counters were last reset. At every moment
    ``received == published + dropped + rejected + failed + in_flight``, with ``in_flight`` 0 or 1.

    A frame that still waits in the slot is counted when it leaves it: taken by the worker, or replaced by a newer one.

    Attributes:
        received: all frames that left the slot.
        published: segmented, and the results published.
        dropped: replaced by a newer frame, left over at a stop, or wanted by no subscriber.
        rejected: not an image that could be decoded.
        failed: an error during inference or publishing.
        in_flight: with the worker now.
        waiting: in the slot now; not yet part of ``received``.
        unwanted: the part of ``dropped`` for which no output had a subscriber.
    """

    received: int = 0
    published: int = 0
    dropped: int = 0
    rejected: int = 0
    failed: int = 0
    in_flight: int = 0
    waiting: int = 0
    unwanted: int = 0


class Mailbox(Generic[Item]):
    """One slot: a newer item replaces an older one, so that the taker never works on a stale frame.

    Safe for one thread that puts and one that takes and finishes; anyone may read ``counts``.

    Args:
        changed: shared by the mailboxes that one taker waits for at once (``take_waiting``); None for one of its own.
    """

    def __init__(self, changed: threading.Condition | None = None):
        self._changed = threading.Condition() if changed is None else changed
        self._item: Item | None = None
        self._counts = FrameCounts()
        self._closed = False

    @property
    def counts(self) -> FrameCounts:
        """A consistent snapshot."""
        with self._changed:
            return replace(self._counts, waiting=int(self._item is not None))

    def put(self, item: Item) -> None:
        """Leave ``item`` for the taker; one that still waits is dropped."""
        with self._changed:
            if self._item is not None:
                self._count(received=1, dropped=1)
            self._item = item
            self._changed.notify()

    def take(self, timeout_s: float | None = None) -> Item | None:
        """Wait for an item and take it; None when the mailbox was closed or the time is over.

        Every item taken must be given back to ``finish``.
        """
        return take_waiting([self], timeout_s).get(0)

    def finish(self, outcome: Outcome) -> None:
        """Count what became of the item taken last."""
        with self._changed:
            if outcome is Outcome.UNWANTED:
                self._count(in_flight=-1, dropped=1, unwanted=1)
            elif outcome is Outcome.DISCARDED:
                self._count(in_flight=-1, dropped=1)
            else:
                self._count(in_flight=-1, **{outcome.value: 1})

    def close(self) -> None:
        """Drop a waiting item and wake the taker with None."""
        with self._changed:
            if self._item is not None:
                self._item = None
                self._count(received=1, dropped=1)
            self._closed = True
            self._changed.notify_all()

    def _count(self, **changes: int) -> None:
        self._counts = replace(self._counts, **{name: getattr(self._counts, name) + n for name, n in changes.items()})


def take_waiting(mailboxes: Sequence[Mailbox[Item]], timeout_s: float | None = None) -> dict[int, Item]:
    """Wait until any of the mailboxes has an item, and take the items of all that have one.

    Every item taken must be given back to its mailbox's ``finish``.

    Args:
        mailboxes: all made with the same condition.
        timeout_s: the longest wait; None has no limit.

    Returns:
        Items by the mailbox's index; empty when one of the mailboxes was closed or the time is over.
    """
    changed = mailboxes[0]._changed
    with changed:
        changed.wait_for(lambda: any(m._closed or m._item is not None for m in mailboxes), timeout_s)
        if any(mailbox._closed for mailbox in mailboxes):
            return {}
        items = {}
        for index, mailbox in enumerate(mailboxes):
            if mailbox._item is not None:
                items[index], mailbox._item = mailbox._item, None
                mailbox._count(received=1, in_flight=1)
        return items
