"""The frames of a bag as a source for the core's verbs."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest
from bag_cases import samples, write

from lsabinet_core.data.sample import Sample
from lsabinet_core.errors import BagError, FrameError
from lsabinet_core.inference import sources
from lsabinet_core.inference.sources import open_source


@pytest.fixture
def _installed(monkeypatch):
    """The entry points of setup.py, which an installation registers."""
    added = [EntryPoint(name, "lsabinet_ros.bag.frames:BagSource", sources.ENTRY_POINTS) for name in ("mcap", "db3")]
    monkeypatch.setattr(sources.metadata, "entry_points", lambda group: added if group == sources.ENTRY_POINTS else [])


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(("name", "storage"), [("drive.mcap", None), ("drive", "sqlite3")])
@pytest.mark.parametrize("compressed", [None, "png"])
def test_frames_without_labels(tmp_path, name, storage, compressed):
    frames = samples(4)
    path = write(tmp_path / name, frames, storage=storage, compression=compressed)
    source = open_source(path)
    assert (source.kind, source.count, source.fps) == ("bag", 4, None)
    found = dict(source)
    source.close()
    assert list(found) == [f"drive_{index:06d}" for index in range(4)]
    for frame, right in zip(found.values(), frames, strict=True):
        assert np.array_equal(frame, right.image)
    assert source.unreadable == {}


@pytest.mark.usefixtures("_installed")
def test_damaged_frames_are_left_out(tmp_path, monkeypatch):
    path = write(tmp_path / "drive.mcap", samples(3))
    source = open_source(path)
    deserialize, seen = source._bag.deserialize, []

    def fails_once(message):
        seen.append(message)
        if len(seen) == 2:
            raise BagError("corrupt")
        return deserialize(message)

    monkeypatch.setattr(source._bag, "deserialize", fails_once)
    assert [name for name, _ in source] == ["drive_000000", "drive_000002"]
    assert [reason.endswith("corrupt") for reason in source.unreadable.values()] == [True]
    source.close()


@pytest.mark.usefixtures("_installed")
def test_no_frames(tmp_path):
    path = write(
        tmp_path / "labels.mcap", [Sample(s.image, s.label, s.name) for s in samples(1)], image_topic="/labels"
    )
    with pytest.raises(BagError, match="no image topic"):
        open_source(path)


def test_without_a_package_that_reads_bags(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.metadata, "entry_points", lambda group: [])
    with pytest.raises(FrameError, match="not a video"):
        open_source(write(tmp_path / "drive.mcap", samples(1)))
