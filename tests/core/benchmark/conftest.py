"""Fixtures of the benchmark tests: a separate engine cache, and subjects with given durations."""

import pytest


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(autouse=True)
def _no_cache_of_the_user(engine_cache, monkeypatch):
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(engine_cache))


class Pretended:
    """A subject whose turns report the given durations, in order."""

    def __init__(self, turns, **description):
        self._turns = iter(turns)
        self._description = {"backend": "torch", "engine": "an engine", "precision": "fp32", **description}
        self.closed = False

    def turn(self):
        turn = next(self._turns)
        if isinstance(turn, Exception):
            raise turn
        return turn

    def describe(self):
        return self._description

    def close(self):
        self.closed = True


@pytest.fixture
def pretended():
    """``Pretended``: (turns, **description)."""
    return Pretended
