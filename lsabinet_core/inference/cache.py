"""Engines that were built once and are kept on disk for the next start."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from lsabinet_core.files import write_text

log = logging.getLogger(__name__)

Engine = TypeVar("Engine")

ENTRY = "entry.json"
NEW, OLD = ".new-", ".old-"
"""What is being written, and what is being removed."""
ABANDONED_SECONDS = 3600.0


def cache_directory() -> Path:
    """``$LSABINET_CACHE_DIR``, or ``lsabinet`` in the platform's folder for caches; it may not exist yet."""
    if chosen := os.environ.get("LSABINET_CACHE_DIR"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "lsabinet"


@dataclass(frozen=True)
class EngineKey:
    """What an engine was built for, and by what.

    Attributes:
        engine: the backend's name.
        weights: ``Network.fingerprint``.
        size: (H, W) of the input.
        batch: images at a time; None for any number.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        device: where it runs: kind and model.
        version: of the engine and of the deployed form.
        exported: only ``lsabinet export`` makes it, so that it is not removed where it is of no use any more.
    """

    engine: str
    weights: str
    size: tuple[int, int]
    batch: int | None
    precision: str
    device: str
    version: str
    exported: bool = field(default=False, compare=False)

    def document(self) -> dict:
        document = {**asdict(self), "size": list(self.size)}
        del document["exported"]
        return document

    @property
    def folder(self) -> str:
        """A name without the version: an engine of another version lies in the same place, to be replaced."""
        place = {name: value for name, value in self.document().items() if name != "version"}
        digest = hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()
        return f"{self.engine}-{self.size[0]}x{self.size[1]}-{self.precision}-{digest[:16]}"


class EngineCache:
    """Folders of engine files, each written whole or not at all and checked before use.

    Processes may share it: one that replaces an engine disturbs none that reads it by ``load``. A cache that cannot be
    written costs time, not the run: that is logged as a warning.

    Args:
        root: None takes ``cache_directory()``.
    """

    def __init__(self, root: Path | None = None):
        self._root = (cache_directory() if root is None else Path(root)) / "engines"

    def find(self, key: EngineKey) -> Path | None:
        """The folder with the files that ``store`` wrote for the key; None if there is none that is current and whole.

        One that is stale or damaged is discarded with a warning.
        """
        folder = self._root / key.folder
        while (seen := _identity(folder)) is not None:
            try:
                _check(folder, key)
                return folder
            except _Unusable as error:
                # Unless another process has replaced it meanwhile.
                if _identity(folder) == seen:
                    self.discard(key, str(error), remove=error.removable)
                    return None
        return None

    def sizes(self, key: EngineKey) -> list[tuple[int, int]]:
        """Every (H, W) for which there is a current engine that is otherwise the key's."""
        found = []
        for file in sorted(self._root.glob(f"{key.engine}-*-{key.precision}-*/{ENTRY}")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                height, width = json.loads(file.read_text(encoding="utf-8"))["key"]["size"]
                other = replace(key, size=(height, width))
                if file.parent.name == other.folder and self.find(other) is not None:
                    found.append(other.size)
        return found

    def load(self, key: EngineKey, load: Callable[[Path], Engine]) -> Engine | None:
        """What ``load`` makes of the folder of ``key``; None where there is none that is current, whole and loads."""
        while (folder := self.find(key)) is not None:
            seen = _identity(folder)
            try:
                return load(folder)
            except Exception as error:
                # Unless another process has replaced it meanwhile.
                if _identity(folder) == seen:
                    # Whole, and yet the engine does not take it: what can be wrong with it is the engine's secret.
                    self.discard(key, f"cannot be loaded ({type(error).__name__}: {error})")
                    return None
        return None

    def load_or_build(
        self,
        key: EngineKey,
        *,
        load: Callable[[Path], Engine],
        build: Callable[[], Engine],
        store: Callable[[Engine, Path], object],
    ) -> Engine:
        """The engine of ``key``: loaded from its folder, or else built and kept there."""
        if (engine := self.load(key, load)) is not None:
            return engine
        log.info("building %s for %dx%d in %s", key.engine, *key.size, key.precision)
        engine = build()
        self.store(key, lambda folder: store(engine, folder))
        return engine

    def store(self, key: EngineKey, write: Callable[[Path], object]) -> Path | None:
        """Keep an engine: ``write`` puts its files into the folder that it is given.

        Returns:
            Where they are now; None, with a warning, where the cache cannot be written.
        """
        temporary = self._root / f"{NEW}{uuid.uuid4().hex}"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            # As the user's umask has it: others may share the cache.
            temporary.mkdir()
            write(temporary)
            files = {file.name: _sha256(file) for file in sorted(temporary.iterdir())}
            write_text(temporary / ENTRY, json.dumps({"key": key.document(), "files": files}, indent=1))
            for name in files:
                with open(temporary / name, "rb") as stream:
                    os.fsync(stream.fileno())
            return self._publish(temporary, key)
        except OSError as error:
            then = "" if key.exported else ": the next start builds again"
            log.warning("the engine cache %s cannot be written (%s)%s", self._root, error, then)
            return None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _publish(self, temporary: Path, key: EngineKey) -> Path:
        folder, aside = self._root / key.folder, self._root / temporary.name.replace(NEW, OLD)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, aside)
            try:
                os.rename(temporary, folder)
            except OSError:
                # Another process may have put the same engine there meanwhile: then theirs is as good.
                if self.find(key) is None:
                    raise
        except BaseException:
            # What was there is better than nothing.
            with contextlib.suppress(OSError):
                os.rename(aside, folder)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return folder

    def discard(self, key: EngineKey, reason: str, *, remove: bool = True) -> None:
        """Say why an engine is of no use, and remove it if it will be built again."""
        folder = self._root / key.folder
        if key.exported:
            # It stays, and is asked for again.
            if (folder, reason) not in _said:
                log.warning("cached engine %s %s: export it again", folder.name, reason)
            _said.add((folder, reason))
            return
        log.warning("cached engine %s %s: it is built again", folder.name, reason)
        if remove:
            shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what processes have left that were killed while they wrote."""
        for folder in (*self._root.glob(f"{NEW}*"), *self._root.glob(f"{OLD}*")):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)


_said: set[tuple[Path, str]] = set()


class _Unusable(Exception):
    """Says what an engine is; ``removable`` unless the fault is this user's rights."""

    def __init__(self, reason: str, *, removable: bool = True):
        super().__init__(reason)
        self.removable = removable


def _check(folder: Path, key: EngineKey) -> None:
    try:
        entry = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        if entry["key"] != key.document():
            raise _Unusable(f"is stale (built by {entry['key']['version']}, this is {key.version})")
        for name, digest in entry["files"].items():
            if _sha256(folder / name) != digest:
                raise _Unusable(f"is damaged ({name} has changed)")
    except PermissionError as error:
        raise _Unusable(f"cannot be read ({error})", removable=False) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Unusable(f"is damaged ({error})") from None


def _identity(folder: Path) -> tuple[int, int] | None:
    """Tells one folder from another that has taken its name; None where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
