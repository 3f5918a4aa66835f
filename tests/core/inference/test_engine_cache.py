"""Engines on disk: found again, whole, or not at all."""

import json
import logging
import os
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lsabinet_core.inference import cache as cache_module
from lsabinet_core.inference.cache import EngineCache, EngineKey, cache_directory

KEY = EngineKey("engine", "abc", (96, 128), 1, "fp32", "cpu", "1.0")


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path)


def store(cache, key=KEY, content=b"numbers"):
    return cache.store(key, lambda folder: (folder / "network.bin").write_bytes(content))


def files_below(path: Path) -> list[str]:
    return sorted(file.name for file in path.rglob("*") if file.is_file())


def test_found_again(cache, tmp_path):
    assert cache.find(KEY) is None
    assert store(cache) == cache.find(KEY)
    assert (cache.find(KEY) / "network.bin").read_bytes() == b"numbers"
    assert files_below(tmp_path) == ["entry.json", "network.bin"]
    store(cache, content=b"newer")
    assert (cache.find(KEY) / "network.bin").read_bytes() == b"newer"


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "other"},
        {"weights": "def"},
        {"size": (128, 96)},
        {"batch": None},
        {"precision": "fp16"},
        {"device": "gpu"},
    ],
)
def test_every_part_of_the_key_counts(cache, change):
    store(cache)
    assert cache.find(replace(KEY, **change)) is None
    assert cache.find(KEY) is not None


def test_another_version_is_stale(cache, tmp_path, caplog):
    store(cache)
    newer = replace(KEY, version="2.0")
    with caplog.at_level(logging.WARNING):
        assert cache.find(newer) is None
    assert "stale (built by 1.0, this is 2.0): it is built again" in caplog.text
    # It is gone rather than left to gather.
    assert not files_below(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "network.bin").write_bytes(b"numberz"),
        lambda folder: (folder / "network.bin").unlink(),
        lambda folder: (folder / "entry.json").write_text("{"),
        lambda folder: (folder / "entry.json").write_text("[]"),
        lambda folder: (folder / "entry.json").unlink(),
        lambda folder: (folder / "entry.json").write_text(json.dumps({"key": KEY.document()})),
    ],
)
def test_damage_is_noticed(cache, damage, caplog):
    store(cache)
    damage(cache.find(KEY))
    with caplog.at_level(logging.WARNING):
        assert cache.find(KEY) is None
    assert "damaged" in caplog.text
    caplog.clear()
    assert cache.find(KEY) is None and not caplog.text
    store(cache)
    assert cache.find(KEY) is not None


def test_what_only_export_makes_is_kept(cache, caplog):
    key = replace(KEY, exported=True)
    assert store(cache, key) is not None
    for _ in range(2):
        assert cache.find(replace(key, version="2.0")) is None
    # Said once, and there for whoever goes back to that version.
    assert caplog.text.count("is stale (built by 1.0, this is 2.0): export it again") == 1
    assert cache.find(key) is not None and cache.find(KEY) is not None
    store(cache, replace(key, version="2.0"))
    assert cache.find(replace(key, version="2.0")) is not None and cache.find(key) is None


def test_sizes(cache, tmp_path):
    for size in ((96, 128), (64, 72)):
        store(cache, replace(KEY, size=size))
    for other in (
        {"weights": "def"},
        {"precision": "fp16"},
        {"version": "2.0"},
        {"batch": 2},
        {"engine": "engine-too"},
    ):
        store(cache, replace(KEY, size=(72, 80), **other))
    (tmp_path / "engines" / "engine-1x1-fp32-0").mkdir()
    (tmp_path / "engines" / "engine-1x1-fp32-0" / "entry.json").write_text("[]")
    assert cache.sizes(KEY) == [(64, 72), (96, 128)]
    assert cache.sizes(replace(KEY, size=(8, 8), exported=True)) == [(64, 72), (96, 128)]


def test_replaced_while_it_is_read(cache, monkeypatch, caplog):
    """What another process has just put there is not taken for the damaged one."""
    store(cache)
    damaged = cache.find(KEY) / "network.bin"
    damaged.write_bytes(b"numberz")
    original = cache_module._check

    def check(folder, key):
        monkeypatch.setattr(cache_module, "_check", original)
        try:
            original(folder, key)
        finally:
            store(cache, content=b"newer")

    monkeypatch.setattr(cache_module, "_check", check)
    assert (cache.find(KEY) / "network.bin").read_bytes() == b"newer" and not caplog.text

    def load(folder):
        content = (folder / "network.bin").read_bytes()
        if content == b"newer":
            store(cache, content=b"newest")
            raise FileNotFoundError("gone")
        return content

    assert cache.load_or_build(KEY, load=load, build=lambda: pytest.fail("built"), store=None) == b"newest"
    assert not caplog.text


def test_readers_beside_a_writer(cache, caplog):
    """None sees half an engine, removes a new one or is told of damage."""
    store(cache)
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            store(cache, content=b"%d" % number * 1000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until = time.monotonic() + 0.5
        found = 0
        while time.monotonic() < until:
            # None between two renames.
            found += cache.find(KEY) is not None
    finally:
        stop.set()
        writer.join()
    assert found > 0 and cache.find(KEY) is not None and not caplog.text


def test_what_cannot_be_replaced_stays(cache, monkeypatch, tmp_path):
    store(cache)
    rename = os.rename

    def refuse(old, new):
        if cache_module.NEW in str(old):
            raise OSError("held by a scanner")
        rename(old, new)

    monkeypatch.setattr(os, "rename", refuse)
    assert store(cache, content=b"newer") is None
    assert (cache.find(KEY) / "network.bin").read_bytes() == b"numbers"
    assert len(list((tmp_path / "engines").iterdir())) == 1


def test_others_may_read_it(cache, tmp_path):
    before = os.umask(0o022)
    try:
        store(cache)
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.find(KEY).stat().st_mode) == 0o755


def test_what_may_not_be_read_stays(cache, monkeypatch, caplog):
    store(cache)
    folder = cache.find(KEY)
    read_bytes = Path.read_bytes

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert cache.find(KEY) is None
    assert "cannot be read ([Errno 13] Permission denied" in caplog.text
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert cache.find(KEY) == folder


def test_what_killed_processes_left_is_swept(cache, tmp_path):
    store(cache)
    left = [tmp_path / "engines" / name for name in (".new-a", ".old-b", ".new-c")]
    for folder in left:
        folder.mkdir()
        (folder / "network.bin").write_bytes(b"x")
    for folder in left[:2]:
        os.utime(folder, (0, 0))
    store(cache)
    # The youngest may be in use.
    assert [folder.exists() for folder in left] == [False, False, True]


def test_built_once(cache, caplog):
    built = []

    def get(load=lambda folder: (folder / "network.bin").read_text()):
        return cache.load_or_build(
            KEY,
            load=load,
            build=lambda: built.append(1) or f"engine {len(built)}",
            store=lambda engine, folder: (folder / "network.bin").write_text(engine),
        )

    assert [get(), get()] == ["engine 1", "engine 1"] and len(built) == 1

    def refuse(folder):
        raise RuntimeError("made for another machine")

    with caplog.at_level(logging.WARNING):
        assert get(refuse) == "engine 2"
    assert "cannot be loaded (RuntimeError: made for another machine): it is built again" in caplog.text
    assert get() == "engine 2"


def test_a_failed_build_leaves_nothing(cache, tmp_path):
    def fail(folder):
        (folder / "half").write_bytes(b"x")
        raise ValueError("no")

    with pytest.raises(ValueError):
        cache.store(KEY, fail)
    assert not files_below(tmp_path) and cache.find(KEY) is None


def test_an_unwritable_cache_costs_only_time(tmp_path, caplog):
    occupied = tmp_path / "occupied"
    occupied.write_text("a file, not a folder")
    cache = EngineCache(occupied)
    with caplog.at_level(logging.WARNING):
        engine = cache.load_or_build(KEY, load=None, build=lambda: "engine", store=lambda engine, folder: None)
    assert engine == "engine"
    assert "cannot be written" in caplog.text and caplog.text.count("the next start builds again") == 1
    assert store(cache, replace(KEY, exported=True)) is None
    assert caplog.text.count("cannot be written") == 2 and caplog.text.count("the next start builds again") == 1


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_directory() == tmp_path / "mine"
    monkeypatch.delenv("LSABINET_CACHE_DIR")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "lsabinet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "lsabinet"
