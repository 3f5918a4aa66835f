"""Refuses to compute in a forked copy of a process that has already computed, because it would hang.

A fork copies the memory of a process, but only the calling thread: the engines' thread pools and locks are copied, but
their threads are not. New programs, started with ``subprocess`` or with the start methods "spawn" and "forkserver" of
``multiprocessing``, are not affected.
"""

import os

from lsabinet_core.errors import BackendError

MEND = 'start processes with multiprocessing.get_context("spawn") or "forkserver", and make a Segmenter in each'

_forks = 0
"""Number of forks of this process and its ancestors since this module was imported."""
_claimed_at: int | None = None
"""Value of ``_forks`` when the first engine was created, in this process or in the one it was forked from."""


def claim_process() -> int:
    """Record that this process computes; returns the argument for ``is_copied``.

    Raises:
        BackendError: the process was forked from one that had already computed.
    """
    global _claimed_at
    if _claimed_at is None:
        _claimed_at = _forks
    if _claimed_at != _forks:
        raise BackendError(
            f"expected a separate process, got one that was forked after its parent had run a network: {MEND}"
        )
    return _claimed_at


def is_copied(claim: int) -> bool:
    """Whether the process has been forked since ``claim_process`` returned ``claim``."""
    return claim != _forks


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)
