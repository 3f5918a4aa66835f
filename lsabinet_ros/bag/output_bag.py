"""A bag of masks, overlays and latencies of the frames of other bags, for Foxglove and RViz."""

import contextlib
from pathlib import Path
from typing import Any

import cv2

from lsabinet_core.errors import BagError
from lsabinet_core.inference import Segmentation, Segmenter
from lsabinet_ros.bag.built_messages import DIAGNOSTICS
from lsabinet_ros.bag.report import STAGES
from lsabinet_ros.bag.samples import BagSample
from lsabinet_ros.bag.storage import COMPRESSED_IMAGE, IMAGE
from lsabinet_ros.bag.topics import without_transport
from lsabinet_ros.bag.writer import BagWriter

JPEG_QUALITY = 80


class OutputBag:
    """Context manager that writes mask, overlay and latency of each frame to a bag while they are computed.

    Headers and bag times are those of the frames, so that the bag can be opened beside the recording. If it cannot be
    written, the evaluation continues.

    Args:
        path: X.mcap; it appears when all frames are in it.
        segmenter: draws the overlays.

    Raises:
        BagError: the bag cannot be created.
    """

    def __init__(self, path: Path, segmenter: Segmenter):
        self._segmenter = segmenter
        self._problem: str | None = None
        self._writer: BagWriter | None = BagWriter(path, overwrite=True, compress=True)

    def __enter__(self) -> "OutputBag":
        if self._writer is not None:
            self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Finish the bag; after an error, remove it."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.__exit__(*error)

    def append(self, sample: BagSample, result: Segmentation) -> None:
        """Write the results of a frame."""
        if self._writer is None:
            return
        try:
            self._write(self._writer, sample, result)
        except BagError as error:
            self._fail(error)

    def close(self) -> str | None:
        """Finish the bag; returns why it could not be written, or None."""
        try:
            self.__exit__(None, None, None)
        except BagError as error:
            self._fail(error)
        return self._problem

    def _fail(self, error: BagError) -> None:
        self._problem = f"no bag of outputs: {error}"
        with contextlib.suppress(BagError, OSError):
            self.__exit__(type(error), error, None)

    def _write(self, writer: BagWriter, sample: BagSample, result: Segmentation) -> None:
        messages, time_ns = writer.messages, sample.bag_time_ns
        topic = without_transport(sample.source.topic)
        header = messages.header(sample.stamp_ns, sample.frame_id)
        writer.write_message(f"{topic}/mask", IMAGE, time_ns, messages.image(header, result.mask, "mono8"))
        overlay = self._segmenter.overlay(sample.image, result.mask)
        _, jpeg = cv2.imencode(".jpg", overlay, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        compressed = messages.compressed_image(header, jpeg, "bgr8; jpeg compressed bgr8")
        # image_transport and RViz expect this name.
        writer.write_message(f"{topic}/overlay/compressed", COMPRESSED_IMAGE, time_ns, compressed)
        stages = {stage: getattr(result.timings, f"{stage}_ms") for stage in (*STAGES, "total")}
        latency = messages.latency(header, stages, self._segmenter.device)
        writer.write_message(f"{topic}/latency", DIAGNOSTICS, time_ns, latency)
