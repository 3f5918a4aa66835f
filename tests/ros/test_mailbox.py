"""The newest-frame slot, the loop that empties one or several, and the thread it runs in."""

import threading
import time

import pytest

from lsabinet_core.errors import FrameError
from lsabinet_ros.mailbox import FrameCounts, Mailbox, Outcome, take_waiting
from lsabinet_ros.worker import WorkerThread, serve


def balance(counts: FrameCounts) -> bool:
    return counts.received == sum(
        (counts.published, counts.dropped, counts.rejected, counts.failed, counts.in_flight)
    ) and counts.in_flight in (0, 1)


def test_newest_item_replaces_the_older():
    mailbox = Mailbox()
    for item in (1, 2, 3):
        mailbox.put(item)
    assert mailbox.counts == FrameCounts(received=2, dropped=2, waiting=1)
    assert mailbox.take() == 3
    assert mailbox.counts == FrameCounts(received=3, dropped=2, in_flight=1)
    mailbox.finish(Outcome.PUBLISHED)
    assert mailbox.counts == FrameCounts(received=3, dropped=2, published=1)


def test_no_item_is_given_twice():
    mailbox = Mailbox()
    mailbox.put("frame")
    assert mailbox.take() == "frame"
    mailbox.finish(Outcome.PUBLISHED)
    assert mailbox.take(timeout_s=0.01) is None


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.PUBLISHED, FrameCounts(received=1, published=1)),
        (Outcome.REJECTED, FrameCounts(received=1, rejected=1)),
        (Outcome.FAILED, FrameCounts(received=1, failed=1)),
        (Outcome.UNWANTED, FrameCounts(received=1, dropped=1, unwanted=1)),
        (Outcome.DISCARDED, FrameCounts(received=1, dropped=1)),
    ],
)
def test_outcomes_are_counted(outcome, expected):
    mailbox = Mailbox()
    mailbox.put("frame")
    mailbox.take()
    mailbox.finish(outcome)
    assert mailbox.counts == expected


def test_close_drops_the_waiting_item_and_wakes_the_taker():
    mailbox = Mailbox()
    taken = []
    taker = threading.Thread(target=lambda: taken.append(mailbox.take()))
    taker.start()
    mailbox.close()
    taker.join(10)
    assert taken == [None]
    mailbox = Mailbox()
    mailbox.put("frame")
    mailbox.close()
    assert mailbox.counts == FrameCounts(received=1, dropped=1)
    assert mailbox.take() is None


def test_counts_balance_at_every_moment_under_load():
    mailbox = Mailbox()
    processed, errors, snapshots = [], [], []

    def process(items: dict[int, int]):
        (item,) = items.values()
        processed.append(item)
        if item % 5 == 0:
            raise FrameError("bad")
        yield 0, ValueError("broken") if item % 7 == 0 else Outcome.PUBLISHED

    server = threading.Thread(
        target=serve, args=([mailbox], process, lambda index, error: errors.append((index, error)))
    )
    server.start()
    for item in range(1, 3001):
        mailbox.put(item)
        snapshots.append(mailbox.counts)
    end = time.monotonic() + 10
    while mailbox.counts.waiting or mailbox.counts.in_flight:
        assert time.monotonic() < end
        time.sleep(0.001)
    counts = mailbox.counts
    mailbox.close()
    server.join(10)
    assert all(map(balance, snapshots)) and balance(counts)
    assert processed == sorted(set(processed)) and processed[-1] == 3000
    assert counts.received == 3000
    assert counts.dropped == 3000 - len(processed)
    assert counts.rejected == sum(item % 5 == 0 for item in processed)
    assert counts.failed == sum(item % 7 == 0 and item % 5 != 0 for item in processed)
    assert len(errors) == counts.rejected + counts.failed


def test_all_that_waits_is_taken_together_and_an_empty_mailbox_delays_nobody():
    changed = threading.Condition()
    first, silent, last = mailboxes = [Mailbox(changed) for _ in range(3)]
    assert take_waiting(mailboxes, timeout_s=0.01) == {}
    for item in (1, 2):
        first.put(item)
    last.put(3)
    assert take_waiting(mailboxes) == {0: 2, 2: 3}
    assert [mailbox.counts.in_flight for mailbox in mailboxes] == [1, 0, 1]
    # The last is still in work when the first has a frame again.
    first.finish(Outcome.PUBLISHED)
    taken = []
    taker = threading.Thread(target=lambda: taken.append(take_waiting(mailboxes)))
    taker.start()
    first.put(4)
    taker.join(10)
    assert taken == [{0: 4}]
    assert silent.counts == FrameCounts()
    silent.close()
    assert take_waiting(mailboxes) == {}


def test_an_error_costs_the_items_it_is_about():
    changed = threading.Condition()
    mailboxes = [Mailbox(changed) for _ in range(4)]
    errors = []

    def process(items):
        assert items == {0: "bad", 1: "good", 2: "lost", 3: "lost"}
        yield 0, FrameError("bad")
        assert mailboxes[0].counts.rejected == 1
        yield 1, Outcome.PUBLISHED
        # The only way out of the loop, and what waits then is dropped.
        mailboxes[0].put("late")
        for mailbox in mailboxes:
            mailbox.close()
        raise RuntimeError("device lost")

    for mailbox, item in zip(mailboxes, ("bad", "good", "lost", "lost")):
        mailbox.put(item)
    serve(mailboxes, process, lambda index, error: errors.append((index, str(error))))
    assert [mailbox.counts for mailbox in mailboxes] == [
        FrameCounts(received=2, rejected=1, dropped=1),
        FrameCounts(received=1, published=1),
        FrameCounts(received=1, failed=1),
        FrameCounts(received=1, failed=1),
    ]
    assert errors == [(0, "bad"), (2, "device lost"), (3, "device lost")]


def test_worker_thread_runs_jobs_in_order_in_one_thread():
    worker = WorkerThread()
    futures = [worker.submit(threading.get_ident) for _ in range(3)]
    failing = worker.submit(lambda: 1 / 0)
    assert len({future.result(10) for future in futures}) == 1
    assert futures[0].result() != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        failing.result(10)
    assert worker.submit(lambda: "still there").result(10) == "still there"
    assert worker.end(10) is True


def test_busy_worker_thread_is_left_alone():
    worker = WorkerThread()
    go_on = threading.Event()
    job = worker.submit(go_on.wait)
    assert worker.end(0.05) is False
    go_on.set()
    assert job.result(10) is True
