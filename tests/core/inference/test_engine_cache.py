"""The engine cache returns a stored engine only if it is current, intact and safe to run."""

import json
import logging
import os
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

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


def test_stored_engine_is_found(cache, tmp_path):
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
def test_every_field_of_the_key_matters(cache, change):
    store(cache)
    assert cache.find(replace(KEY, **change)) is None
    assert cache.find(KEY) is not None


def test_engine_of_another_version_is_stale(cache, tmp_path, caplog):
    store(cache)
    newer = replace(KEY, version="2.0")
    with caplog.at_level(logging.WARNING):
        assert cache.find(newer) is None
    assert "stale (built by 1.0, this is 2.0): it will be rebuilt" in caplog.text
    # The stale engine was removed.
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
def test_damage_is_detected(cache, damage, caplog):
    store(cache)
    damage(cache.find(KEY))
    with caplog.at_level(logging.WARNING):
        assert cache.find(KEY) is None
    assert "damaged" in caplog.text
    caplog.clear()
    assert cache.find(KEY) is None
    assert not caplog.text
    store(cache)
    assert cache.find(KEY) is not None


def test_stale_exported_engine_is_kept(cache, caplog):
    key = replace(KEY, exported=True)
    assert store(cache, key) is not None
    for _ in range(2):
        assert cache.find(replace(key, version="2.0")) is None
    # Logged only once, and kept for users who return to that version.
    assert caplog.text.count("is stale (built by 1.0, this is 2.0): export it again") == 1
    assert cache.find(key) is not None
    assert cache.find(KEY) is not None
    store(cache, replace(key, version="2.0"))
    assert cache.find(replace(key, version="2.0")) is not None
    assert cache.find(key) is None


def test_sizes_with_current_engines(cache, tmp_path):
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


def test_engine_replaced_during_a_check_is_kept(cache, monkeypatch, caplog):
    """An engine just stored by another process is not mistaken for the damaged one."""
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
    assert (cache.find(KEY) / "network.bin").read_bytes() == b"newer"
    assert not caplog.text

    def load(folder):
        content = (folder / "network.bin").read_bytes()
        if content == b"newer":
            store(cache, content=b"newest")
            raise FileNotFoundError("gone")
        return content

    assert cache.load_or_build(KEY, load=load, build=lambda: pytest.fail("built"), store=None) == b"newest"
    assert not caplog.text


def test_concurrent_readers_and_writer(cache, caplog):
    """No reader sees an incomplete engine, removes a new one or logs damage."""
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
            # None is possible between two renames.
            found += cache.find(KEY) is not None
    finally:
        stop.set()
        writer.join()
    assert found > 0
    assert cache.find(KEY) is not None
    assert not caplog.text


def test_engine_that_cannot_be_replaced_is_kept(cache, monkeypatch, tmp_path):
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


def test_umask_controls_read_access(cache, tmp_path):
    before = os.umask(0o022)
    try:
        store(cache)
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.find(KEY).stat().st_mode) == 0o755


@pytest.mark.parametrize("place", ["cache", "engines", "entry", "file"])
@pytest.mark.parametrize("mode", [0o022, 0o002, 0o020], ids=oct)
def test_engine_writable_by_others_is_rejected(cache, tmp_path, monkeypatch, caplog, place, mode):
    """Compiled engines are code, so others must not be able to replace them."""
    monkeypatch.setattr(cache_module, "_is_private_group", lambda number: False)
    store(cache)
    folder = cache.find(KEY)
    path = {"cache": tmp_path, "engines": folder.parent, "entry": folder, "file": folder / "network.bin"}[place]
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(before | mode)
    for _ in range(2):
        assert cache.find(KEY) is None
        assert cache.load(KEY, lambda folder: pytest.fail("loaded")) is None
    (warning,) = caplog.messages
    assert str(path) in warning
    assert "chmod -R go-w" in warning
    assert "LSABINET_CACHE_DIR" in warning
    path.chmod(before)
    assert cache.find(KEY) == folder


def test_engine_of_another_user_is_rejected_unless_root(cache, monkeypatch, caplog):
    store(cache)
    folder = cache.find(KEY)
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    # The temporary folders of the tests belong to root in a container, and to this user elsewhere.
    assert (cache.find(KEY) == folder) == (owner == 0)
    original = Path.stat

    def owned_by_another(path, **options):
        status = list(original(path, **options))
        status[stat.ST_UID] = 54321
        return os.stat_result(status)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", owned_by_another)
        assert cache.find(KEY) is None
    assert "belongs to another user" in caplog.text
    assert "LSABINET_CACHE_DIR" in caplog.text


def test_cache_in_a_shared_temporary_folder(cache, tmp_path, caplog):
    """Example: /tmp, in which other users can create folders but not replace ours."""
    store(cache)
    tmp_path.chmod(0o1777)
    assert cache.find(KEY) is not None
    assert not caplog.text


def test_private_group_may_write(monkeypatch):
    """Many systems have a umask that lets the group write, and give each user a group without other members."""
    grp, pwd = pytest.importorskip("grp"), pytest.importorskip("pwd")
    user = SimpleNamespace(pw_gid=1000, pw_name="ada")
    monkeypatch.setattr(pwd, "getpwuid", lambda number: user)
    for group, private in (
        (SimpleNamespace(gr_name="ada", gr_mem=[]), True),
        (SimpleNamespace(gr_name="ada", gr_mem=["ada"]), True),
        (SimpleNamespace(gr_name="ada", gr_mem=["bob"]), False),
        (SimpleNamespace(gr_name="users", gr_mem=[]), False),
    ):
        monkeypatch.setattr(grp, "getgrgid", lambda number, group=group: group)
        assert cache_module._is_private_group(1000) == private
    assert not cache_module._is_private_group(1001)


def test_unreadable_engine_is_kept(cache, monkeypatch, caplog):
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


def test_folders_of_killed_processes_are_removed(cache, tmp_path):
    store(cache)
    left = [tmp_path / "engines" / name for name in (".new-a", ".old-b", ".new-c")]
    for folder in left:
        folder.mkdir()
        (folder / "network.bin").write_bytes(b"x")
    for folder in left[:2]:
        os.utime(folder, (0, 0))
    store(cache)
    # The newest folder may be in use.
    assert [folder.exists() for folder in left] == [False, False, True]


def test_engine_is_built_once(cache, caplog):
    built = []

    def get(load=lambda folder: (folder / "network.bin").read_text()):
        return cache.load_or_build(
            KEY,
            load=load,
            build=lambda: built.append(1) or f"engine {len(built)}",
            store=lambda engine, folder: (folder / "network.bin").write_text(engine),
        )

    assert [get(), get()] == ["engine 1", "engine 1"]
    assert len(built) == 1

    def refuse(folder):
        raise RuntimeError("made for another machine")

    with caplog.at_level(logging.WARNING):
        assert get(refuse) == "engine 2"
    assert "cannot be loaded (RuntimeError: made for another machine): it will be rebuilt" in caplog.text
    assert get() == "engine 2"


def test_failed_build_leaves_no_files(cache, tmp_path):
    def fail(folder):
        (folder / "half").write_bytes(b"x")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.store(KEY, fail)
    assert not files_below(tmp_path)
    assert cache.find(KEY) is None


def test_unwritable_cache_only_logs_a_warning(tmp_path, caplog):
    occupied = tmp_path / "occupied"
    occupied.write_text("a file, not a folder")
    cache = EngineCache(occupied)
    with caplog.at_level(logging.WARNING):
        engine = cache.load_or_build(KEY, load=None, build=lambda: "engine", store=lambda engine, folder: None)
    assert engine == "engine"
    assert "cannot be written" in caplog.text
    assert caplog.text.count("the next start builds again") == 1
    assert store(cache, replace(KEY, exported=True)) is None
    assert caplog.text.count("cannot be written") == 2
    assert caplog.text.count("the next start builds again") == 1


def test_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_directory() == tmp_path / "mine"
    monkeypatch.delenv("LSABINET_CACHE_DIR")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "lsabinet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "lsabinet"


def test_cache_directory_of_a_user_without_a_home(monkeypatch, tmp_path):
    for name in ("LSABINET_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    # No entry in the user database.
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_directory() == tmp_path / "lsabinet-4000000000"
