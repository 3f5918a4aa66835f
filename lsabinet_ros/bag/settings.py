"""Options for writing a bag and exit statuses; separate from the code, so that the command line shows them at once."""

from dataclasses import dataclass, replace

STORAGES = ("mcap", "sqlite3")
COMPRESSIONS = ("jpeg", "png")

INCOMPLETE = 3
"""Exit status if a bag is damaged and its readable part was processed."""
FAILED = 4
"""Exit status if a limit of a gate is violated."""


@dataclass(frozen=True)
class BagSettings:
    """How frames are written to a bag.

    Attributes:
        storage: ``mcap`` or ``sqlite3``; None follows the suffix of the path, and is mcap for a folder.
        compression: None for sensor_msgs/Image (bgr8); ``jpeg`` or ``png`` for sensor_msgs/CompressedImage.
        quality: JPEG quality, 1 to 100.
        image_topic: name of the image topic; with compression, ``/compressed`` is appended as image_transport does.
        label_topic: name of the label topic (sensor_msgs/Image, mono8, 255 = void).
        frame_id: frame_id of every header.
    """

    storage: str | None = None
    compression: str | None = None
    quality: int = 90
    image_topic: str = "/camera/image_raw"
    label_topic: str = "/camera/labels"
    frame_id: str = "camera"

    @property
    def info_topic(self) -> str:
        """Topic of the CameraInfo, beside the images."""
        return f"{self.image_topic.rpartition('/')[0]}/camera_info"

    def of_camera(self, name: str) -> "BagSettings":
        """The same for one of several cameras, with topics in a namespace of its own."""
        return replace(self, image_topic=f"/{name}/image_raw", label_topic=f"/{name}/labels", frame_id=name)


DEFAULT_SETTINGS = BagSettings()
