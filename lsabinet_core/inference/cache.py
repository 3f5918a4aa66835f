"""Engines that are built once and kept on disk for the next start.

Compiled engines are code that runs with the rights of the user, so the cache uses none that another user may have
written. The digests in an entry detect damage, not malice: whoever can write an engine can replace its digest as well.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import stat
import sys
import tempfile
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
"""Prefixes of folders that are being written and removed."""
ABANDONED_SECONDS = 3600.0


def cache_directory() -> Path:
    """``$LSABINET_CACHE_DIR``, or ``lsabinet`` in the platform's cache folder; it may not exist yet.

    A user without a home directory, as in some containers, gets a folder for temporary files.
    """
    if chosen := os.environ.get("LSABINET_CACHE_DIR"):
        return Path(chosen)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        # EngineCache uses nothing in it that another user has written.
        user = os.getuid() if hasattr(os, "getuid") else 0
        return Path(tempfile.gettempdir()) / f"lsabinet-{user}"
    return base / "lsabinet"


def others_may_write(path: Path) -> str | None:
    """The reason why users other than this one and root may change a file or folder of the cache, and the remedy; None
    if they may not.

    The parent folders of the cache's root are not checked: see ``EngineCache``.
    """
    if os.name != "posix":
        return None
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user: set LSABINET_CACHE_DIR to a folder of your own"
    shared = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid))
    # In a folder with the sticky bit, such as /tmp, others cannot replace what is not theirs.
    if shared and not (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
        return f"others may write to {path}: run chmod -R go-w on it, or set LSABINET_CACHE_DIR to a folder of your own"
    return None


def _is_private_group(number: int) -> bool:
    """Whether a group is the private group that many systems create per user, without other members."""
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return number == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine was built for and with.

    Attributes:
        engine: name of the backend.
        weights: ``Network.fingerprint``.
        size: (H, W) of the input.
        batch: images per call; None for any number.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        device: type and model of the device.
        version: versions of the engine and of the deployed network.
        exported: only ``lsabinet export`` makes this engine, so it is kept even when it can no longer be used.
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
        """Folder name; it does not depend on the version, so that a new version replaces the engine of an old one."""
        place = {name: value for name, value in self.document().items() if name != "version"}
        digest = hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()
        return f"{self.engine}-{self.size[0]}x{self.size[1]}-{self.precision}-{digest[:16]}"


class EngineCache:
    """Folders of engine files, each written atomically and checked before use.

    Processes may share the cache: replacing an engine does not disturb processes that read it with ``load``. Users may
    share it if only root, or the user who runs the program, can write to it; engines are not used if others can write
    to their folder or to one between it and the cache's root. A cache that cannot be written costs time, but does not
    end the program: a warning is logged.

    Args:
        root: folder of the cache; None: ``cache_directory()``.
    """

    def __init__(self, root: Path | None = None):
        self._root = (cache_directory() if root is None else Path(root)) / "engines"

    def find(self, key: EngineKey) -> Path | None:
        """The folder of the files that ``store`` wrote for the key; None if there is no current, intact one.

        A stale or damaged one is discarded with a warning.
        """
        folder = self._root / key.folder
        while (seen := _identity(folder)) is not None:
            try:
                _check(folder, key)
                return folder
            except _Unusable as error:
                # Do not discard a folder with which another process has replaced it meanwhile.
                if _identity(folder) == seen:
                    self.discard(key, str(error), remove=error.removable)
                    return None
        return None

    def sizes(self, key: EngineKey) -> list[tuple[int, int]]:
        """Every (H, W) with a current engine for which the rest of the key matches."""
        found = []
        for file in sorted(self._root.glob(f"{key.engine}-*-{key.precision}-*/{ENTRY}")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                height, width = json.loads(file.read_text(encoding="utf-8"))["key"]["size"]
                other = replace(key, size=(height, width))
                if file.parent.name == other.folder and self.find(other) is not None:
                    found.append(other.size)
        return found

    def load(self, key: EngineKey, load: Callable[[Path], Engine]) -> Engine | None:
        """The result of ``load`` for the folder of ``key``; None if there is no current, intact engine that loads."""
        while (folder := self.find(key)) is not None:
            seen = _identity(folder)
            try:
                return load(folder)
            except Exception as error:  # noqa: BLE001 - engines raise classes of their own
                # Do not discard a folder with which another process has replaced it meanwhile.
                if _identity(folder) == seen:
                    # The files are intact, but the engine rejects them for reasons of its own.
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
        """Load the engine of ``key`` from its folder, or build and store it."""
        if (engine := self.load(key, load)) is not None:
            return engine
        log.info("building %s for %dx%d in %s", key.engine, *key.size, key.precision)
        engine = build()
        self.store(key, lambda folder: store(engine, folder))
        return engine

    def store(self, key: EngineKey, write: Callable[[Path], object]) -> Path | None:
        """Store an engine: ``write`` writes its files to the given folder.

        Returns:
            The final folder; None, with a warning, if the cache cannot be written.
        """
        temporary = self._root / f"{NEW}{uuid.uuid4().hex}"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            # The umask decides whether others may read the cache.
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
                # Another process may have stored the same engine meanwhile, which is just as good.
                if self.find(key) is None:
                    raise
        except BaseException:
            # Put the old engine back: it is better than none.
            with contextlib.suppress(OSError):
                os.rename(aside, folder)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return folder

    def discard(self, key: EngineKey, reason: str, *, remove: bool = True) -> None:
        """Log why an engine cannot be used, and remove it if it will be rebuilt."""
        folder = self._root / key.folder
        # An engine that stays would be reported at every search: log it only once.
        stays = key.exported or not remove
        if not stays or (folder, reason) not in _logged:
            then = "" if not remove else ": export it again" if key.exported else ": it will be rebuilt"
            log.warning("cached engine %s %s%s", folder.name, reason, then)
        if stays:
            _logged.add((folder, reason))
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove folders left behind by processes that were killed while writing."""
        for folder in (*self._root.glob(f"{NEW}*"), *self._root.glob(f"{OLD}*")):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)


_logged: set[tuple[Path, str]] = set()


class _Unusable(Exception):
    """The reason why an engine cannot be used; ``removable`` unless it is a matter of file permissions."""

    def __init__(self, reason: str, *, removable: bool = True):
        super().__init__(reason)
        self.removable = removable


def _check(folder: Path, key: EngineKey) -> None:
    try:
        # All folders from the cache's root down, because whoever can write to one can replace its contents.
        for path in (folder.parent.parent, folder.parent, folder, *folder.iterdir()):
            if (reason := others_may_write(path)) is not None:
                raise _Unusable(f"is not used, because {reason}", removable=False)
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
    """Distinguishes a folder from a later one of the same name; None if it does not exist."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
