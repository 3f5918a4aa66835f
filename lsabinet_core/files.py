"""Atomic writes of files and folders (temporary name, then rename), and reading of text in any Unicode encoding."""

import codecs
import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; on success, flush the file to disk and rename it to ``path``.

    On an error the temporary file is removed and ``path`` is left unchanged. The temporary name keeps the suffix,
    because OpenCV and other libraries choose the format by it. It is unique across threads and across machines that
    share a disk, and it is short regardless of the length of ``path``. Missing parent folders are created. If ``path``
    is a symbolic link, it stays, and the file that it names is written.

    Raises:
        OSError: the file cannot be written, or ``path`` is a device, a pipe or a socket. ``filename`` is ``path`` if it
            was unset or the temporary path.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp{path.suffix}")
    with errors_name(path, temporary):
        if target.exists() and not (target.is_file() or target.is_dir()):
            # The renamed file would replace a device such as /dev/null, for all programs of the machine.
            raise OSError(errno.EINVAL, "expected a regular file", str(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with open(temporary, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        _flush_folder(target.parent)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a new temporary folder next to ``path``; on success, rename it to ``path``, which must not exist.

    On an error the temporary folder is removed. Missing parent folders are created.

    Raises:
        OSError: as ``atomic_path``, or the folder exists.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with errors_name(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.mkdir()
            yield temporary
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            os.rename(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _flush_folder(path.parent)


@contextlib.contextmanager
def errors_name(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Set ``filename`` to ``path`` in an OSError that has none (such as "disk full") or that names ``temporary``."""
    try:
        yield
    except OSError as error:
        named = None if error.filename is None else os.fspath(error.filename)
        # A broken pipe does not concern this file.
        if error.errno in (None, errno.EPIPE) or named not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _flush_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power failure, where the file system supports it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: str | os.PathLike) -> str:
    """Read a text file as UTF-8, or as UTF-16 if it starts with that byte order mark.

    Windows editors and PowerShell write UTF-8 or UTF-16 with a byte order mark, which is removed.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: the file is neither UTF-8 nor UTF-16.
    """
    content = Path(path).read_bytes()
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf_16 else "utf-8-sig")
