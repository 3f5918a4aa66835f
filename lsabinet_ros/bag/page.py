"""The report on an evaluation of bags as one HTML file, ``report.html``, which needs no other file and no network.

The page of the merged report on many bags links to those of the bags.
"""

import base64
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined

from lsabinet_core.evaluation.latency import STATISTICS
from lsabinet_core.files import write_text
from lsabinet_ros.bag.evaluation import BagEvaluation
from lsabinet_ros.bag.frame_results import FrameResult
from lsabinet_ros.bag.gate import Verdict
from lsabinet_ros.bag.merged_report import page_of
from lsabinet_ros.bag.report import spans_table
from lsabinet_ros.bag.samples import FrameSource
from lsabinet_ros.bag.worst_frames import CRITERIA, Pictures, legend

WIDTH, HEIGHT = 900, 160
"""Size of the plots in SVG units; the page scales them."""
MAX_POINTS = 600
"""Maximum number of points of a line; more would not be visible."""
TICKS = 5
"""Number of time labels below a plot."""

PLOTS = {
    "miou": ("mIoU of each labelled frame, %", lambda frame: None if frame.miou is None else 100 * frame.miou),
    "flicker": (
        "Flicker: pixels that change their class, %",
        lambda frame: None if frame.flicker is None else 100 * frame.flicker,
    ),
    "consistency": (
        "Temporal consistency with the previous frame, %",
        lambda frame: None if frame.consistency is None else 100 * frame.consistency,
    ),
    "confidence": (
        "Mean confidence, %",
        lambda frame: None if frame.confidence is None else 100 * frame.confidence,
    ),
    "agreement": (
        "Agreement with the second network, % of the pixels",
        lambda frame: None if frame.agreement is None else 100 * frame.agreement.pixels,
    ),
    "latency": ("Latency without reading and decoding, ms", lambda frame: frame.timings.total_ms),
    "preprocess": ("Preprocessing, ms", lambda frame: frame.timings.preprocess_ms),
    "inference": ("Inference, ms", lambda frame: frame.timings.inference_ms),
    "postprocess": ("Postprocessing, ms", lambda frame: frame.timings.postprocess_ms),
    "memory": ("Memory of the process, MiB", lambda frame: frame.memory_mib),
}
"""Title of a plot over time, and the value of a frame, or None. The keys include those of CRITERIA."""


def write_page(
    path: Path,
    content: dict,
    evaluation: BagEvaluation,
    worst: dict[str, list[Pictures]],
    verdicts: Sequence[Verdict] = (),
) -> None:
    """Write the page.

    Args:
        path: file to write.
        content: content of ``report.json``.
        evaluation: the result that ``content`` was made from.
        worst: the worst frames by criterion.
        verdicts: verdicts of the gate, if there is one.
    """
    pictures = {id(shown.frame): shown for group in worst.values() for shown in group}
    # In the order of the drive.
    shown = [frame for frame in evaluation.frames if id(frame) in pictures]
    anchors = {id(frame): f"frame-{number}" for number, frame in enumerate(shown, start=1)}
    _write(
        path,
        content,
        verdicts,
        ", ".join(Path(bag).name for bag in content["bags"]),
        legend=legend(evaluation.report.label_set),
        axis=_axis(evaluation),
        areas=_class_areas(evaluation),
        plots=[_plot(name, evaluation, anchors) for name in PLOTS if _measured(name, evaluation.frames)],
        worst=[
            (CRITERIA[name][0], [(anchors[id(entry.frame)], _value(name, entry.frame)) for entry in group])
            for name, group in worst.items()
        ],
        frames=[
            {
                "anchor": anchors[id(frame)],
                "frame": frame,
                "name": _name(frame.source, evaluation),
                "time_s": _seconds(frame),
                "images": {what: base64.b64encode(data).decode() for what, data in pictures[id(frame)].jpegs.items()},
            }
            for frame in shown
        ],
        sizes={"width": WIDTH, "height": HEIGHT},
    )


def write_merged_page(path: Path, content: dict, verdicts: Sequence[Verdict] = ()) -> None:
    """Write the page of the merged report, which has no plots over time and no pictures: those of the bags have them.

    Args:
        path: file to write, in the folder of the merged report.
        content: content of the merged ``report.json``.
        verdicts: verdicts of the gate, if there is one.
    """
    bags = [(entry, page_of(entry)) for entry in content["per_bag"]]
    _write(path, content, verdicts, f"{len(bags)} bags", bags=bags, failed=sum(page is None for _, page in bags))


def _write(path: Path, content: dict, verdicts: Sequence[Verdict], evaluated: str, **parts: object) -> None:
    """Write a page with the common parts of all pages and the parts of this one.

    Args:
        evaluated: the bags as the title names them.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files("lsabinet_ros.bag").joinpath("page.html").read_text("utf-8"))
    shared = {
        "content": content,
        "title": f"{Path(content['weights']).name} on {evaluated}",
        "verdicts": verdicts,
        "kept": all(verdict.kept for verdict in verdicts),
        "classes": _classes(content),
        "spans": spans_table(content),
        "reliability": _reliability(content),
        "statistics": STATISTICS,
    }
    write_text(path, template.render(shared, **parts))


def _classes(content: dict) -> list[dict]:
    boundary = content.get("boundary_f", {}).get("per_class", {})
    return [
        {
            "name": name,
            "iou": iou,
            "accuracy": content["per_class_accuracy"][name],
            "precision": content["per_class_precision"][name],
            "boundary_f": boundary.get(name),
            "support": content["per_class_support"][name],
            "share": content["over_time"]["class_share"][name],
            "row": content["confusion_normalised"][index],
        }
        for index, (name, iou) in enumerate(content["per_class_iou"].items())
    ]


def _seconds(frame: FrameResult) -> float:
    return (frame.bag_time_ns - (frame.source.bag.start_ns or 0)) / 1e9


def _value(name: str, frame: FrameResult) -> float:
    return PLOTS[name][1](frame)


def _measured(name: str, frames: Sequence[FrameResult]) -> bool:
    return any(_value(name, frame) is not None for frame in frames)


def _name(source: FrameSource, evaluation: BagEvaluation) -> str:
    """A name that distinguishes a source from the others."""
    several = len({other.bag.path for other in evaluation.sources}) > 1
    return f"{source.bag.path.name} {source.topic}" if several else source.topic


def _axis(evaluation: BagEvaluation) -> dict:
    """The axis of all plots over time: evenly spaced time labels, and where each source after the first begins."""
    frames, last = evaluation.frames, len(evaluation.frames) - 1
    places = sorted({round(last * tick / (TICKS - 1)) for tick in range(TICKS)})
    starts = [place for place in range(1, last + 1) if frames[place].source is not frames[place - 1].source]
    return {
        "ticks": [f"{_seconds(frames[place]):.1f} s" for place in places],
        "starts": [round(WIDTH * place / last, 1) for place in starts],
        "names": [_name(frames[place].source, evaluation) for place in (0, *starts)],
    }


def _class_areas(evaluation: BagEvaluation) -> list[dict]:
    """The share of each class over the frames, as stacked areas; the first class is at the top."""
    shares = np.stack([frame.class_share for frame in evaluation.frames])
    means = [part.mean(axis=0) for part in np.array_split(shares, min(len(shares), MAX_POINTS // 2))]
    edges = np.pad(np.cumsum(means, axis=1, dtype=np.float64), ((0, 0), (1, 0))).clip(0, 1) * HEIGHT
    x = np.linspace(0, WIDTH, len(edges)) if len(edges) > 1 else np.array([0, WIDTH])
    edges = np.broadcast_to(edges, (len(x), edges.shape[1]))
    areas = []
    for index, (name, color) in enumerate(legend(evaluation.report.label_set)):
        outline = [*zip(x, edges[:, index]), *zip(x[::-1], edges[::-1, index + 1])]
        areas.append({"name": name, "color": color, "outline": " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)})
    return areas


def _plot(name: str, evaluation: BagEvaluation, anchors: dict[int, str]) -> dict:
    """A line over the frames of all sources one after the other; frames that the page shows are links."""
    points = [
        (position, value, frame)
        for position, frame in enumerate(evaluation.frames)
        if (value := _value(name, frame)) is not None
    ]
    low, high = min(value for _, value, _ in points), max(value for _, value, _ in points)
    last = max(len(evaluation.frames) - 1, 1)

    def place(position: int, value: float) -> tuple[float, float]:
        level = (value - low) / (high - low) if high > low else 0.5
        return round(WIDTH * position / last, 1), round(HEIGHT * (1 - level), 1)

    return {
        "name": name,
        "title": PLOTS[name][0],
        "low": low,
        "high": high,
        "line": " ".join("{},{}".format(*place(*point)) for point in _thinned([(p, v) for p, v, _ in points])),
        "marks": [
            {
                "anchor": anchors[id(frame)],
                "x": place(position, value)[0],
                "y": place(position, value)[1],
                "text": f"{_seconds(frame):.2f} s: {value:.2f}",
            }
            for position, value, frame in points
            if id(frame) in anchors
        ],
    }


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most ``MAX_POINTS`` points: the lowest and the highest of each stretch."""
    if len(points) <= MAX_POINTS:
        return list(points)
    kept = []
    for stretch in np.array_split(np.arange(len(points)), MAX_POINTS // 2):
        ends = {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
        kept += [points[i] for i in sorted(ends)]
    return kept


def _reliability(content: dict) -> list[dict] | None:
    """Bars of the reliability plot: place, width and height as shares of the plot; None without labelled confidence."""
    calibration = content.get("calibration")
    if calibration is None or calibration["ece"] is None:
        return None
    most = math.log1p(max(entry["count"] for entry in calibration["bins"]))
    return [
        {
            "left": entry["lower"],
            "width": entry["upper"] - entry["lower"],
            "accuracy": entry["accuracy"],
            "weight": math.log1p(entry["count"]) / most,
            "text": f"confidence {entry['lower']:.2f} to {entry['upper']:.2f}: "
            f"accuracy {entry['accuracy']:.2f}, {entry['count']} pixels",
        }
        for entry in calibration["bins"]
        if entry["count"]
    ]
