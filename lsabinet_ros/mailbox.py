"""The slot for the newest frame between a subscription and the worker, and the count of frames by outcome."""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Generic, TypeVar

Item = TypeVar("Item")
Key = TypeVar("Key")


class Outcome(Enum):
    """How the processing of a frame ended.

    Attributes:
        PUBLISHED: segmented, and the results were published.
        REJECTED: the message is not an image that can be decoded.
        FAILED: an error during inference or publishing.
        UNWANTED: no output has a subscriber.
        TOO_OLD: older than the limit when its turn came; nothing was computed.
        DISCARDED: segmented after the node had been stopped; nothing was published.
    """

    PUBLISHED = "published"
    REJECTED = "rejected"
    FAILED = "failed"
    UNWANTED = "unwanted"
    TOO_OLD = "too_old"
    DISCARDED = "discarded"


@dataclass(frozen=True)
class FrameCounts:
    """Number of frames since the counters were last reset. At every moment
    ``received == published + dropped + rejected + failed + in_flight``, with ``in_flight`` 0 or 1.

    A frame is counted when it leaves the slot: when the worker takes it or a newer frame replaces it. One that comes
    too soon for the slot is counted at once.

    Attributes:
        received: all frames that have left the slot.
        published: frames that were segmented and whose results were published.
        dropped: the sum of ``replaced``, ``over_rate``, ``unwanted``, ``too_old`` and ``stopped``.
        rejected: frames that could not be decoded.
        failed: frames lost to an error during inference or publishing.
        in_flight: frames that the worker is processing.
        waiting: frames in the slot; not yet part of ``received``.
        replaced: frames that a newer one replaced.
        over_rate: frames that came too soon after another one.
        unwanted: frames for which no output had a subscriber.
        too_old: frames that were older than the limit when their turn came.
        stopped: frames that were left when the node was stopped.
    """

    received: int = 0
    published: int = 0
    dropped: int = 0
    rejected: int = 0
    failed: int = 0
    in_flight: int = 0
    waiting: int = 0
    replaced: int = 0
    over_rate: int = 0
    unwanted: int = 0
    too_old: int = 0
    stopped: int = 0


class Mailbox(Generic[Item]):
    """One slot in which a newer item replaces an older one, so that the taker never works on a stale frame.

    One thread may put items in while another one takes (``take_waiting``) and finishes them; any thread may read
    ``counts``.

    Args:
        changed: the condition shared by all mailboxes that are taken from together; None for a mailbox on its own.
    """

    def __init__(self, changed: threading.Condition | None = None):
        self._changed = threading.Condition() if changed is None else changed
        self._item: Item | None = None
        self._counts = FrameCounts()
        self._closed = False

    @property
    def counts(self) -> FrameCounts:
        """A consistent snapshot of the counters."""
        with self._changed:
            return replace(self._counts, waiting=int(self._item is not None))

    def put(self, item: Item) -> None:
        """Put ``item`` into the slot; an item that is still there is dropped."""
        with self._changed:
            if self._item is not None:
                self._count(received=1, dropped=1, replaced=1)
            self._item = item
            self._changed.notify()

    def skip(self) -> None:
        """Count an item that is not put into the slot, because it came too soon."""
        with self._changed:
            self._count(received=1, dropped=1, over_rate=1)

    def finish(self, outcome: Outcome) -> None:
        """Count the outcome of the item that was taken last."""
        with self._changed:
            if outcome in (Outcome.UNWANTED, Outcome.TOO_OLD):
                self._count(in_flight=-1, dropped=1, **{outcome.value: 1})
            elif outcome is Outcome.DISCARDED:
                self._count(in_flight=-1, dropped=1, stopped=1)
            else:
                self._count(in_flight=-1, **{outcome.value: 1})

    def close(self) -> None:
        """Drop a waiting item and wake the taker, for which there are no more items."""
        with self._changed:
            if self._item is not None:
                self._item = None
                self._count(received=1, dropped=1, stopped=1)
            self._closed = True
            self._changed.notify_all()

    def _count(self, **changes: int) -> None:
        self._counts = replace(self._counts, **{name: getattr(self._counts, name) + n for name, n in changes.items()})


def take_waiting(
    mailboxes: Mapping[Key, Mailbox[Item]],
    timeout_s: float | None = None,
    most: int | None = None,
    gather_s: float = 0.0,
    awaited: Collection[Key] = (),
) -> dict[Key, Item]:
    """Wait until at least one of the mailboxes has an item, and take the items that are waiting.

    Each item must later be reported to ``finish`` of its mailbox.

    Args:
        mailboxes: mailboxes that share one condition, by a key of the caller's choice.
        timeout_s: maximum time to wait; None waits without limit.
        most: maximum number of items, taken from the first mailboxes that have one; None takes all.
        gather_s: how long to wait after that for items in ``awaited``, until there are ``most``.
        awaited: the keys of the mailboxes that are worth waiting for.

    Returns:
        The items by the keys of their mailboxes, in the order of ``mailboxes``; empty if one of the mailboxes is
        closed or the time is over.
    """
    boxes = mailboxes.values()
    changed = next(iter(boxes))._changed
    with changed:
        changed.wait_for(lambda: any(box._closed or box._item is not None for box in boxes), timeout_s)
        others = [mailboxes[key] for key in awaited]
        changed.wait_for(
            lambda: (
                any(box._closed for box in boxes)
                or all(box._item is not None for box in others)
                or sum(box._item is not None for box in boxes) == most
            ),
            gather_s,
        )
        if any(box._closed for box in boxes):
            return {}
        items = {}
        for key, box in mailboxes.items():
            if box._item is not None and len(items) != most:
                items[key], box._item = box._item, None
                box._count(received=1, in_flight=1)
        return items
