"""Engines on disk: found again, whole, or not at all."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from lsabinet_core.inference.cache import EngineCache, EngineKey, cache_directory

KEY = EngineKey("engine", "abc", (96, 128), 1, "fp32", "cpu", "1.0")


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path)


def store(cache, key=KEY, content=b"numbers"):
    cache.store(key, lambda folder: (folder / "network.bin").write_bytes(content))


def files_below(path: Path) -> list[str]:
    return sorted(file.name for file in path.rglob("*") if file.is_file())


def test_found_again(cache, tmp_path):
    assert cache.find(KEY) is None
    store(cache)
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
    assert "cannot be written" in caplog.text


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
