"""The figures printed in Tables 1 to 4 of the LSA-BiNet paper, as far as available, and those that must be wrong.

Gui et al., "Local-Semantic Attentive Bidirectional Bottleneck Network with Residual Feature Augmentation for Realtime
Semantic Segmentation", ICIC 2025. Speeds and the mIoU on Cityscapes are from its abstract. Figures that are not
available are None; none is taken from elsewhere.
"""

from dataclasses import dataclass

NETWORK = "lsabinet"
NOT_IN_PAPER = ("ddrnet23_slim", "pidnet_s")
"""Networks of this package that the paper does not compare with."""

TITLES = {
    "lsabinet": "LSA-BiNet",
    "segnet": "SegNet",
    "enet": "ENet",
    "sqnet": "SQNet",
    "espnet": "ESPNet",
    "espnetv2": "ESPNetv2",
    "cgnet": "CGNet",
    "icnet": "ICNet",
    "edanet": "EDANet",
    "lednet": "LEDNet",
    "dabnet": "DABNet",
    "esnet": "ESNet",
    "lcnet": "LCNet",
    "erfnet": "ERFNet",
    "swiftnet": "SwiftNet",
    "ddrnet23_slim": "DDRNet-23-slim",
    "pidnet_s": "PIDNet-S",
}
"""Display names of the networks, as in their papers."""

NOTES = {
    "abstract": "from the abstract; speeds are those of a Tesla P40",
    "camvid flops": "printed among figures for 512x1024, but equal to the count at 360x480 with 11 classes: "
    "multiply-accumulates including normalisation and activation. Counted the same way it is 26.77 G at 512x1024 with "
    "19 classes, and twice as many FLOPs",
    "macs": "multiply-accumulates at 360x480 with 11 classes, including normalisation and activation",
    "flops": "counted differently from the rest of its column: close to twice the GMACs at 512x1024; counted like the "
    "other rows it is 3.49 G at 360x480",
    "icnet test": "the paper prints 7.8 as ICNet's test figure, which is its number of parameters in millions; it is "
    "not known in which table",
    "icnet parameters": "not this network's: ICNet with half of its kernels, as published, has 6.70 million",
    "lednet parameters": "not this network's: as published it has 0.92 million",
    "esp flops": "well below twice the GMACs at 512x1024, to which most rows of the column are close",
    "class column": 'the column "class" repeats the column Road; 72.74 is the mean of the printed classes, as claimed',
    "table 2": "compared in the paper's Table 2, which prints neither parameters nor FLOPs",
    "not in the paper": "not in the paper",
    "not printed": "not in the paper, which prints six of the eight combinations",
}
"""Why a figure must be wrong, or how it was obtained, by the key that a ``Figure`` refers to."""


@dataclass(frozen=True)
class Figure:
    """A figure as printed, and the key of a remark in ``NOTES``."""

    text: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Printed:
    """A row of one of the paper's tables.

    Attributes:
        parameters_m: parameters in millions.
        flops_g: "FLOPs" in G; counting rules differ between rows.
        miou: mIoU in percent.
        fps: images per second on a Tesla P40.
        note: a remark on the whole row.
    """

    parameters_m: Figure = Figure()
    flops_g: Figure = Figure()
    miou: Figure = Figure()
    fps: Figure = Figure()
    note: str | None = None


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables.

    Attributes:
        number: 1 to 4.
        title: subject of the comparison.
        dataset: ``cityscapes`` or ``camvid``.
        size: (H, W) in pixels, the default of ``lsabinet tables``.
        rows: by network, or in Table 4 by the enabled modules, named as by ``lsabinet ablate``.
        notes: remarks on the whole table.
    """

    number: int
    title: str
    dataset: str
    size: tuple[int, int]
    rows: dict[str, Printed]
    notes: tuple[str, ...] = ()


# Millions of parameters and "FLOPs" in G of Tables 1 and 3.
_COSTS = {
    "segnet": Printed(Figure("29.5"), Figure("652.5")),
    "enet": Printed(Figure("0.36"), Figure("8.7")),
    "sqnet": Printed(Figure("16.3"), Figure("288.2")),
    "espnet": Printed(Figure("0.36"), Figure("6.9", "esp flops")),
    "espnetv2": Printed(Figure("1.3"), Figure("7.4", "esp flops")),
    "cgnet": Printed(Figure("0.49"), Figure("14.0")),
    "icnet": Printed(Figure("7.8", "icnet parameters"), Figure("14.2"), Figure(None, "icnet test")),
    "edanet": Printed(Figure("0.68"), Figure("17.9")),
    "lednet": Printed(Figure("0.95", "lednet parameters"), Figure("23.0")),
    "dabnet": Printed(Figure("0.76"), Figure("20.9")),
    "esnet": Printed(Figure("1.66"), Figure("48.7")),
    "lcnet": Printed(Figure("0.51"), Figure("15.9")),
    "erfnet": Printed(note="table 2"),
    "swiftnet": Printed(Figure("11.8"), Figure("52.0")),
}
_ROW_LIST = (
    "It is not known which rows Tables 1 to 3 have: every network that the paper compares with is measured here."
)
_COLUMNS = (
    "The paper's FLOPs are not comparable between rows: most are close to twice the GMACs at 512x1024, LSA-BiNet's to "
    "the GMACs at 360x480. Its speeds were measured on different GPUs."
)

TABLES = {
    1: PaperTable(
        1,
        "networks on Cityscapes",
        "cityscapes",
        (512, 1024),
        {
            NETWORK: Printed(
                Figure("1.84"), Figure("8.81", "camvid flops"), Figure("72.74", "abstract"), Figure("51.08", "abstract")
            ),
            **_COSTS,
        },
        (_COLUMNS, _ROW_LIST),
    ),
    2: PaperTable(
        2,
        "IoU of each class of Cityscapes",
        "cityscapes",
        (512, 1024),
        {
            NETWORK: Printed(miou=Figure("72.74", "class column")),
            **{name: Printed(miou=row.miou) for name, row in _COSTS.items()},
        },
        (_ROW_LIST, "The printed IoU of the individual classes is not available."),
    ),
    3: PaperTable(
        3,
        "networks on CamVid",
        "camvid",
        (360, 480),
        {
            NETWORK: Printed(
                Figure("1.84"), Figure("8.81", "macs"), Figure("68.53", "abstract"), Figure("79.62", "abstract")
            ),
            **_COSTS,
        },
        (_COLUMNS, _ROW_LIST),
    ),
    4: PaperTable(
        4,
        "modules of LSA-BiNet on CamVid",
        "camvid",
        (360, 480),
        {
            "baseline": Printed(Figure("0.75"), Figure("20.9", "flops")),
            "lrfa": Printed(Figure("0.80"), Figure("3.50", "macs")),
            "svfm": Printed(Figure("1.44"), Figure("5.14", "macs")),
            "rcad": Printed(Figure("1.12"), Figure("7.15", "macs")),
            "lrfa+svfm": Printed(Figure("1.48"), Figure("5.15", "macs")),
            "lrfa+svfm+rcad": Printed(Figure("1.84"), Figure("8.81", "macs")),
        },
        ("The printed mIoU of the combinations is not available.",),
    ),
}
