"""Files are written completely or not at all, and text files of other editors can be read."""

import codecs
import errno
import os
import threading
from pathlib import Path

import pytest

from lsabinet_core.files import atomic_folder, atomic_path, read_text, write_text


def test_threads_may_write_the_same_file_at_once(tmp_path):
    path = tmp_path / "same.txt"
    texts = [str(number) * 50_000 for number in range(8)]
    inside = threading.Barrier(len(texts))
    temporaries, errors = set(), []

    def write(text):
        try:
            with atomic_path(path) as temporary:
                temporaries.add(temporary)
                temporary.write_text(text[:100])
                inside.wait(30)
                temporary.write_text(text)
        except BaseException as error:  # noqa: BLE001 - the test checks that there is none
            errors.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(temporaries) == len(texts)
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["same.txt"]


@pytest.mark.parametrize("name", ["n" * 251 + ".png", "ü" * 125 + ".png", "n" * 255])
def test_file_names_of_the_maximum_length(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        assert name.endswith("n") or temporary.suffix == Path(name).suffix
        temporary.write_text("content")
    assert (tmp_path / name).read_text() == "content"
    assert len(os.listdir(tmp_path)) == 1


def test_an_error_keeps_the_existing_file(tmp_path):
    path = tmp_path / "kept.txt"
    write_text(path, "before")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["kept.txt"]


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="expected a regular file") as caught:
            write_text(tmp_path / name, "content")
        assert caught.value.filename == str(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_symbolic_link_stays(tmp_path):
    (tmp_path / "link.txt").symlink_to(Path("deep") / "target.txt")
    for content in ("first", "second"):
        write_text(tmp_path / "link.txt", content)
        assert (tmp_path / "link.txt").is_symlink()
        assert (tmp_path / "deep" / "target.txt").read_text() == content
    assert os.listdir(tmp_path / "deep") == ["target.txt"]


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "mask.png") as temporary:
        # Writing to /dev/full fails as on a full disk.
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"content")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "mask.png"))
    assert os.strerror(errno.ENOSPC) in str(caught.value)
    assert "mask.png" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_folders_are_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "folder"
    with atomic_folder(path) as temporary:
        (temporary / "a.txt").write_text("a")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert (path / "a.txt").read_text() == "a"
    # An existing folder is not replaced.
    with pytest.raises(FileExistsError) as caught, atomic_folder(path) as temporary:
        (temporary / "b.txt").write_text("b")
    assert caught.value.filename == str(path)
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "half") as temporary:
        (temporary / "c.txt").write_text("c")
        raise ZeroDivisionError
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "new",
        "new/folder",
        "new/folder/a.txt",
    ]


def test_errors_of_other_files_keep_their_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "out.txt"):
        (tmp_path / "input.txt").read_text()
    assert Path(caught.value.filename).name == "input.txt"
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "out.txt"):
        pass
    assert Path(caught.value.filename).name == "out.txt", "the block did not write the file"
    with pytest.raises(BrokenPipeError) as caught, atomic_path(tmp_path / "out.txt"):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    assert caught.value.filename is None


def test_the_rename_is_flushed(tmp_path, monkeypatch):
    """Otherwise the old file may reappear after a power failure."""
    flushed, fsync = [], os.fsync

    def watch(descriptor):
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_text(tmp_path / "out.txt", "content")
    content, folder = flushed
    assert Path(content).parent == tmp_path
    assert folder == str(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "Straße\r\n".encode(),
        codecs.BOM_UTF8 + "Straße\r\n".encode(),
        codecs.BOM_UTF16_LE + "Straße\r\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "Straße\r\n".encode("utf-16-be"),
    ],
)
def test_supported_encodings(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    assert read_text(tmp_path / "list.txt") == "Straße\r\n"


@pytest.mark.parametrize("content", [b"\xff", b"Stra\xdfe", codecs.BOM_UTF16_LE + b"a"])
def test_invalid_encodings_are_rejected(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "list.txt")
