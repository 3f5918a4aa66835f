"""Compresses published images in a separate thread, so that the raw ones are not delayed."""

import array
import threading
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from rclpy.lifecycle import LifecyclePublisher
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from lsabinet_ros.mailbox import Mailbox, Outcome, take_waiting
from lsabinet_ros.worker import WorkerThread

JPEG_QUALITY = 90

MASK_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
"""The fastest PNG compression of a mask, which also gives small files: a class is a run of equal bytes. In a colour
mask, it is not."""
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.11 and later; older ones filter each row
    MASK_PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


class CompressedOutput:
    """The topic ``<topic>/compressed`` beside a topic of images.

    Args:
        publisher: of CompressedImage.
        encoding: encoding of the raw topic, ``mono8`` or ``rgb8``.
        lossless: compress as PNG instead of JPEG.
    """

    def __init__(self, publisher: LifecyclePublisher, encoding: str, *, lossless: bool):
        self._publisher = publisher
        if lossless:
            self._suffix, self._options = ".png", MASK_PNG if encoding == "mono8" else []
        else:
            self._suffix, self._options = ".jpg", [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        # As image_transport writes it; cv2 stores colours as BGR.
        stored = " bgr8" if encoding == "rgb8" else " "
        self._format = f"{encoding}; {'png' if lossless else 'jpeg'} compressed{stored}"
        self.mailbox: Mailbox[tuple[np.ndarray, Header]] = Mailbox()

    @property
    def wanted(self) -> bool:
        """Whether the topic has subscribers."""
        return self._publisher.get_subscription_count() > 0

    def offer(self, pixels: np.ndarray, header: Header) -> None:
        """Queue an image, uint8, (H, W) or BGR (H, W, 3), instead of one that still waits; it is not copied."""
        self.mailbox.put((pixels, header))

    def publish(self, pixels: np.ndarray, header: Header) -> None:
        """Compress and publish an image."""
        data = array.array("B")
        data.frombytes(cv2.imencode(self._suffix, pixels, self._options)[1].data)
        self._publisher.publish(CompressedImage(header=header, format=self._format, data=data))


class Compressor:
    """The thread that serves compressed outputs.

    Args:
        outputs: all of them.
        report: called with an error through which one image was lost.
    """

    def __init__(self, outputs: Sequence[CompressedOutput], report: Callable[[Exception], None]):
        self._outputs = outputs
        self._report = report
        self._worker: WorkerThread | None = None

    def start(self) -> None:
        changed = threading.Condition()
        for output in self._outputs:
            output.mailbox = Mailbox(changed)
        self._worker = WorkerThread("compressed_outputs")
        self._worker.submit(self._serve)

    def stop(self, timeout_s: float) -> None:
        """Drop the waiting images and end the thread; wait up to ``timeout_s`` for the image being compressed."""
        if self._worker is None:
            return
        for output in self._outputs:
            output.mailbox.close()
        self._worker.end(timeout_s)
        self._worker = None

    def _serve(self) -> None:
        mailboxes = {output: output.mailbox for output in self._outputs}
        while images := take_waiting(mailboxes):
            for output, (pixels, header) in images.items():
                try:
                    output.publish(pixels, header)
                    mailboxes[output].finish(Outcome.PUBLISHED)
                except Exception as error:  # noqa: BLE001 OpenCV and the middleware raise errors of many kinds
                    mailboxes[output].finish(Outcome.FAILED)
                    self._report(error)
            del images
