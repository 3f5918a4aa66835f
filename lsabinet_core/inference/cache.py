"""Engines that were built once and are kept on disk for the next start."""

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from lsabinet_core.files import write_text

log = logging.getLogger(__name__)

Engine = TypeVar("Engine")

ENTRY = "entry.json"


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
    """

    engine: str
    weights: str
    size: tuple[int, int]
    batch: int | None
    precision: str
    device: str
    version: str

    def document(self) -> dict:
        return {**asdict(self), "size": list(self.size)}

    @property
    def folder(self) -> str:
        """A name without the version: an engine of another version lies in the same place, to be replaced."""
        place = {name: value for name, value in self.document().items() if name != "version"}
        digest = hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()
        return f"{self.engine}-{self.size[0]}x{self.size[1]}-{self.precision}-{digest[:16]}"


class EngineCache:
    """Folders of engine files, each written whole or not at all and checked before use.

    A cache that cannot be written costs time, not the run: that is logged as a warning.

    Args:
        root: None takes ``cache_directory()``.
    """

    def __init__(self, root: Path | None = None):
        self._root = (cache_directory() if root is None else Path(root)) / "engines"

    def find(self, key: EngineKey) -> Path | None:
        """The folder with the files that ``store`` wrote for the key; None if there is none that is current and whole.

        A stale or damaged one is removed with a warning.
        """
        folder = self._root / key.folder
        if not folder.is_dir():
            return None
        try:
            entry = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
            if entry["key"] != key.document():
                raise _Unusable(f"is stale (built by {entry['key']['version']}, this is {key.version})")
            for name, digest in entry["files"].items():
                if _sha256(folder / name) != digest:
                    raise _Unusable(f"is damaged ({name} has changed)")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.discard(key, f"is damaged ({error})")
            return None
        except _Unusable as error:
            self.discard(key, str(error))
            return None
        return folder

    def load_or_build(
        self,
        key: EngineKey,
        *,
        load: Callable[[Path], Engine],
        build: Callable[[], Engine],
        store: Callable[[Engine, Path], None],
    ) -> Engine:
        """The engine of ``key``: loaded from its folder, or else built and kept there."""
        folder = self.find(key)
        if folder is not None:
            try:
                return load(folder)
            except Exception as error:
                # Whole, and yet the engine does not take it: what can be wrong with it is the engine's secret.
                self.discard(key, f"cannot be loaded ({type(error).__name__}: {error})")
        log.info("building %s for %dx%d in %s", key.engine, *key.size, key.precision)
        engine = build()
        self.store(key, lambda folder: store(engine, folder))
        return engine

    def store(self, key: EngineKey, write: Callable[[Path], None]) -> None:
        """Keep an engine: ``write`` puts its files into the folder that it is given."""
        temporary = None
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
            write(temporary)
            files = {file.name: _sha256(file) for file in sorted(temporary.iterdir())}
            write_text(temporary / ENTRY, json.dumps({"key": key.document(), "files": files}, indent=1))
            for name in files:
                with open(temporary / name, "rb") as stream:
                    os.fsync(stream.fileno())
            folder = self._root / key.folder
            shutil.rmtree(folder, ignore_errors=True)
            try:
                os.rename(temporary, folder)
            except OSError:
                # Another process may have put the same engine there meanwhile: then theirs is as good.
                if not folder.is_dir():
                    raise
        except OSError as error:
            log.warning("the engine cache %s cannot be written (%s): the next start builds again", self._root, error)
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    def discard(self, key: EngineKey, reason: str) -> None:
        """Remove an engine and say why; it will be built again."""
        folder = self._root / key.folder
        log.warning("cached engine %s %s: it is built again", folder.name, reason)
        shutil.rmtree(folder, ignore_errors=True)


class _Unusable(Exception):
    pass


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
