"""Latency by stage and memory over time, by hand, and without the warm-up."""

import json
import mmap
from fractions import Fraction

import numpy as np
from bag_cases import SIZE, run_cli, samples, write

from lsabinet_core.inference import Segmentation, Timings
from lsabinet_core.labels import CAMVID
from lsabinet_ros.bag.evaluation import evaluate_bags
from lsabinet_ros.bag.frame_results import FrameResult
from lsabinet_ros.bag.memory import resident_mib
from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.samples import FrameSource
from lsabinet_ros.bag.timeline import MAX_STRETCHES, as_timeline


class Bag:
    start_ns = 10**18


class Source:
    bag = Bag()


def frame_of(source, index):
    timings = Timings(1.0, float(index), 2.0)
    nothing = (None, None, None, np.zeros(11), None, None, None)
    return FrameResult(source, index, Bag.start_ns + index * 10**9, *nothing, timings, memory_mib=100.0 + index)


def test_stretches_by_hand():
    left, right = Source(), Source()
    frames = [frame_of(left, i) for i in range(12)] + [frame_of(right, i) for i in range(3)]
    rows = as_timeline(frames, [left, right])
    assert [(row["source"], row["frames"], row["from_s"], row["to_s"]) for row in rows] == [
        (0, 10, 0, 9),
        (0, 2, 10, 11),
        (1, 3, 0, 2),
    ]
    assert rows[0]["latency_ms"]["inference"]["p50"] == 4.5
    assert rows[1]["latency_ms"]["total"]["mean"] == 13.5
    assert [row["memory_mib"] for row in rows] == [109, 111, 102]


def test_a_long_drive_has_a_limited_number_of_stretches():
    source = Source()
    rows = as_timeline([frame_of(source, i) for i in range(9_999)], [source])
    assert len(rows) <= MAX_STRETCHES
    assert sum(row["frames"] for row in rows) == 9_999
    assert rows[-1]["to_s"] == 9_998


class ColdSegmenter:
    """Takes a second for the first frame of a size, and 5 ms for every other one."""

    label_set = CAMVID

    def __init__(self):
        self._warm = set()

    def warm_up(self, size):
        self.segment([np.zeros((*size, 3), np.uint8)], confidence=False)

    def segment(self, frames, confidence):
        (frame,) = frames
        size = frame.shape[:2]
        inference_ms = 5.0 if size in self._warm else 1000.0
        self._warm.add(size)
        return [Segmentation(np.zeros(size, np.uint8), None, Timings(0.0, inference_ms, 0.0))]

    def network_size(self, size):
        return size

    def describe(self):
        return {}


def test_the_warm_up_is_in_no_stretch(tmp_path):
    path = write(tmp_path / "drive.mcap", samples(3, labelled=lambda index: False), rate=Fraction(4))
    with open_bag(path) as bag:
        source = FrameSource(bag, "/camera/image_raw", None, CAMVID)
        found = evaluate_bags(ColdSegmenter(), [source])
        (row,) = as_timeline(found.frames, found.sources)
    assert row["latency_ms"]["inference"]["p99"] == 5
    assert (row["from_s"], row["to_s"]) == (0, 0.5)


def test_memory_is_that_of_the_process():
    before = resident_mib()
    # Not from the heap, which may have as much free memory that is resident already.
    with mmap.mmap(-1, 64 << 20) as block:
        block.write(b"1" * len(block))
        assert resident_mib() - before > 56


def test_the_report_has_a_timeline(tmp_path, weights):
    path = write(tmp_path / "drive.mcap", samples(2, size=SIZE))
    options = ("--weights", weights, "--device", "cpu", "--backend", "torch", "--out", tmp_path / "out")
    assert run_cli("evaluate", path, *options) == 0
    (row,) = json.loads((tmp_path / "out" / "report.json").read_text())["timeline"]
    assert row["latency_ms"]["total"]["count"] == row["frames"] == 2
    assert row["memory_mib"] > 50
    assert "Memory of the process" in (tmp_path / "out" / "report.md").read_text()
