"""The slot for the newest frame, taking from one or several of them, and the worker's thread."""

import threading
import time

import pytest

from lsabinet_ros.mailbox import FrameCounts, Mailbox, Outcome, take_waiting
from lsabinet_ros.worker import WorkerThread


def take(mailbox: Mailbox, timeout_s: float | None = None):
    """The item of a single mailbox; None if it is closed or the time is over."""
    return take_waiting({"only": mailbox}, timeout_s).get("only")


def is_balanced(counts: FrameCounts) -> bool:
    ended = counts.published + counts.dropped + counts.rejected + counts.failed
    reasons = counts.replaced + counts.over_rate + counts.unwanted + counts.too_old + counts.stopped
    return counts.dropped == reasons and counts.in_flight in (0, 1) and counts.received == ended + counts.in_flight


def test_a_newer_item_replaces_an_older_one():
    mailbox = Mailbox()
    for item in (1, 2, 3):
        mailbox.put(item)
    assert mailbox.counts == FrameCounts(received=2, dropped=2, replaced=2, waiting=1)
    assert take(mailbox) == 3
    assert mailbox.counts == FrameCounts(received=3, dropped=2, replaced=2, in_flight=1)
    mailbox.finish(Outcome.PUBLISHED)
    assert mailbox.counts == FrameCounts(received=3, dropped=2, replaced=2, published=1)


def test_items_that_come_too_soon_are_counted_and_replace_none():
    mailbox = Mailbox()
    mailbox.put(1)
    mailbox.skip()
    assert mailbox.counts == FrameCounts(received=1, dropped=1, over_rate=1, waiting=1)
    assert take(mailbox) == 1


def test_no_item_is_taken_twice():
    mailbox = Mailbox()
    mailbox.put("frame")
    assert take(mailbox) == "frame"
    mailbox.finish(Outcome.PUBLISHED)
    assert take(mailbox, timeout_s=0.01) is None


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.PUBLISHED, FrameCounts(received=1, published=1)),
        (Outcome.REJECTED, FrameCounts(received=1, rejected=1)),
        (Outcome.FAILED, FrameCounts(received=1, failed=1)),
        (Outcome.UNWANTED, FrameCounts(received=1, dropped=1, unwanted=1)),
        (Outcome.TOO_OLD, FrameCounts(received=1, dropped=1, too_old=1)),
        (Outcome.DISCARDED, FrameCounts(received=1, dropped=1, stopped=1)),
    ],
)
def test_outcomes_are_counted(outcome, expected):
    mailbox = Mailbox()
    mailbox.put("frame")
    take(mailbox)
    mailbox.finish(outcome)
    assert mailbox.counts == expected


def test_close_drops_the_waiting_item_and_wakes_the_taker():
    mailbox = Mailbox()
    taken = []
    taker = threading.Thread(target=lambda: taken.append(take(mailbox)))
    taker.start()
    mailbox.close()
    taker.join(10)
    assert taken == [None]
    mailbox = Mailbox()
    mailbox.put("frame")
    mailbox.close()
    assert mailbox.counts == FrameCounts(received=1, dropped=1, stopped=1)
    assert take(mailbox) is None


def pair() -> dict[str, Mailbox]:
    changed = threading.Condition()
    return {"a": Mailbox(changed), "b": Mailbox(changed)}


@pytest.mark.parametrize("action", ["put", "close"])
def test_items_are_gathered_until_the_awaited_are_there_or_there_will_be_none(action):
    boxes, taken = pair(), []
    boxes["a"].put(1)
    taker = threading.Thread(target=lambda: taken.append(take_waiting(boxes, gather_s=60, awaited=["a", "b"])))
    taker.start()
    assert taken == []
    if action == "put":
        boxes["a"].put(2)
        boxes["b"].put(3)
    else:
        boxes["b"].close()
    taker.join(30)
    assert taken == [{"a": 2, "b": 3} if action == "put" else {}]


@pytest.mark.parametrize(
    "options",
    [
        {"gather_s": 60, "awaited": []},
        {"gather_s": 60, "awaited": ["a"]},
        {"gather_s": 60, "awaited": ["a", "b"], "most": 1},
        {"gather_s": 0.01, "awaited": ["a", "b"]},
        {"gather_s": 0, "awaited": ["a", "b"]},
    ],
)
def test_items_that_are_not_worth_waiting_for(options):
    boxes, taken = pair(), []
    boxes["a"].put(1)
    taker = threading.Thread(target=lambda: taken.append(take_waiting(boxes, **options)))
    taker.start()
    taker.join(30)
    assert taken == [{"a": 1}]
    boxes["a"].close()


def test_counts_are_balanced_at_every_moment_under_load():
    mailbox = Mailbox()
    outcomes = (Outcome.PUBLISHED, Outcome.REJECTED, Outcome.FAILED)
    taken, snapshots = [], []

    def work():
        while (item := take(mailbox)) is not None:
            taken.append(item)
            mailbox.finish(outcomes[item % 3])

    worker = threading.Thread(target=work)
    worker.start()
    for item in range(1, 3001):
        mailbox.put(item)
        snapshots.append(mailbox.counts)
    end = time.monotonic() + 10
    while mailbox.counts.waiting or mailbox.counts.in_flight:
        assert time.monotonic() < end
        time.sleep(0.001)
    counts = mailbox.counts
    mailbox.close()
    worker.join(10)
    assert all(map(is_balanced, [*snapshots, counts]))
    assert taken == sorted(set(taken))
    assert taken[-1] == 3000
    assert counts.received == 3000
    assert counts.dropped == 3000 - len(taken)
    figures = [sum(item % 3 == remainder for item in taken) for remainder in range(3)]
    assert [counts.published, counts.rejected, counts.failed] == figures


def test_all_waiting_items_are_taken_together_and_an_empty_mailbox_delays_no_other():
    changed = threading.Condition()
    mailboxes = {name: Mailbox(changed) for name in ("front", "silent", "rear")}
    front, silent, rear = mailboxes.values()
    assert take_waiting(mailboxes, timeout_s=0.01) == {}
    for item in (1, 2):
        front.put(item)
    rear.put(3)
    assert take_waiting(mailboxes) == {"front": 2, "rear": 3}
    assert [mailbox.counts.in_flight for mailbox in mailboxes.values()] == [1, 0, 1]
    # The rear item is still in flight when the next front item arrives.
    front.finish(Outcome.PUBLISHED)
    taken = []
    taker = threading.Thread(target=lambda: taken.append(take_waiting(mailboxes)))
    taker.start()
    front.put(4)
    taker.join(10)
    assert taken == [{"front": 4}]
    assert silent.counts == FrameCounts()
    # Nothing is taken any more once one of them is closed.
    rear.put(5)
    silent.close()
    assert take_waiting(mailboxes) == {}


def test_no_more_items_are_taken_than_asked_for():
    changed = threading.Condition()
    mailboxes = {name: Mailbox(changed) for name in ("front", "left", "rear")}
    for name in ("front", "rear"):
        mailboxes[name].put(name)
    assert take_waiting(mailboxes, most=1) == {"front": "front"}
    assert mailboxes["rear"].counts == FrameCounts(waiting=1)
    assert take_waiting(mailboxes, most=2) == {"rear": "rear"}


def test_the_worker_thread_runs_functions_in_order_in_one_thread():
    worker = WorkerThread()
    futures = [worker.submit(threading.get_ident) for _ in range(3)]
    failing = worker.submit(lambda: 1 / 0)
    assert {future.result(10) for future in futures} == {worker.ident}
    assert worker.ident != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        failing.result(10)
    assert worker.submit(lambda: "still running").result(10) == "still running"
    assert worker.end(10) is True


def test_a_busy_worker_thread_is_not_waited_for_longer_than_the_timeout():
    worker = WorkerThread()
    go_on = threading.Event()
    job = worker.submit(go_on.wait)
    assert worker.end(0.05) is False
    go_on.set()
    assert job.result(10) is True
