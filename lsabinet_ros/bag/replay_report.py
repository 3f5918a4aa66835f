"""The report on a live replay: answered frames, latency, regularity, and agreement with the offline masks."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lsabinet_core.errors import BagError, FrameError
from lsabinet_core.evaluation.latency import latency_table, summarise_latency
from lsabinet_ros.bag.offline_masks import OfflineMasks
from lsabinet_ros.bag.reader import Bag
from lsabinet_ros.bag.replay import Pass
from lsabinet_ros.bag.storage import COMPRESSED_IMAGE
from lsabinet_ros.conversions import image_to_array
from lsabinet_ros.latency import header_stamp_ns

SCHEMA_VERSION = 1
"""Version of ``replay.json``; it increases with every change that affects programs that read the file."""
MAX_NAMED = 20
"""Maximum number of stamps that the report lists."""


@dataclass
class Agreement:
    """Live masks compared with those that the same weights give offline.

    Attributes:
        frames: number of compared frames.
        identical: how many of them have the same mask bit for bit.
        pixels: number of compared pixels.
        equal_pixels: how many of them have the same class.
    """

    frames: int = 0
    identical: int = 0
    pixels: int = 0
    equal_pixels: int = 0

    def add(self, live: np.ndarray, offline: np.ndarray) -> None:
        """Count a frame; masks uint8 (H, W). A mask of another size agrees in no pixel."""
        equal = int(np.count_nonzero(live == offline)) if live.shape == offline.shape else 0
        self.frames += 1
        self.identical += equal == offline.size
        self.pixels += offline.size
        self.equal_pixels += equal

    def to_dict(self) -> dict:
        share = self.equal_pixels / self.pixels if self.pixels else None
        return {"frames": self.frames, "identical": self.identical, "pixel_agreement": share}


def compare_offline(
    bag: Bag,
    image_topic: str,
    recorded: Bag,
    mask_topic: str,
    offline: OfflineMasks,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Agreement:
    """Segment the frames that were answered, and compare the masks with those of the live node.

    Args:
        bag: the frames.
        image_topic: their topic.
        recorded: what the node published.
        mask_topic: its masks.
        offline: computes masks with the settings of the node.
        progress: called with the number of compared frames and of all frames.
    """
    agreement = Agreement()
    if mask_topic not in recorded.topics:
        return agreement
    # Both are in the order of the frames, unless another package's node answers out of order.
    masks = (recorded.deserialize(message) for message in recorded.messages([mask_topic]))
    waiting: dict[int, np.ndarray] = {}
    total = recorded.topics[mask_topic].count
    for message in bag.messages([image_topic]):
        try:
            content = bag.deserialize(message)
        except BagError:
            continue
        stamp_ns = header_stamp_ns(content.header)
        while stamp_ns not in waiting and (mask := next(masks, None)) is not None:
            waiting.setdefault(header_stamp_ns(mask.header), image_to_array(mask)[:, :, 0])
        live = waiting.pop(stamp_ns, None)
        if live is not None:
            with contextlib.suppress(FrameError):
                agreement.add(live, offline(content, compressed=message.type == COMPRESSED_IMAGE))
            progress(agreement.frames, total)
    return agreement


def pass_summary(result: Pass) -> dict:
    """The figures of one pass, as JSON values."""
    answer_ms = [(result.answered_ns[s] - result.published_ns[s]) / 1e6 for s in result.answered_ns]
    published = np.array(sorted(result.published_ns.values()))
    arrivals = np.array(sorted(result.answered_ns.values()))
    unanswered = result.unanswered
    return {
        "rate": result.speed,
        "frames_published": len(result.published_ns),
        "frames_answered": len(result.answered_ns),
        "answered": result.answered_share,
        "unanswered_stamps_ns": unanswered[:MAX_NAMED],
        "duplicate_masks": result.duplicates,
        "masks_of_unknown_frames": result.unknown,
        "dropped": _drops(result),
        "publish_to_mask_ms": summarise_latency(answer_ms),
        "published_hz": _rate_hz(published),
        "masks_hz": _rate_hz(arrivals),
        "mask_interval_ms": summarise_latency(np.diff(arrivals) / 1e6),
        "mask_jitter_ms": float(np.diff(arrivals).std() / 1e6) if len(arrivals) > 2 else None,
        "player": result.player,
    }


def _drops(result: Pass) -> dict[str, int]:
    """Why frames were not answered, by the counters of our own node; empty for another package's."""
    if not result.counts:
        return {}
    reasons = {
        name.removeprefix("frames_"): count
        for name, count in result.counts.items()
        # The dropped frames are those of the reasons below: replaced, over the rate and so on.
        if name not in ("frames_received", "frames_published", "frames_dropped")
    }
    return {"transport": len(result.published_ns) - result.counts.get("frames_received", 0), **reasons}


def _rate_hz(times_ns: np.ndarray) -> float | None:
    span_s = (times_ns[-1] - times_ns[0]) / 1e9 if len(times_ns) > 1 else 0.0
    return float((len(times_ns) - 1) / span_s) if span_s > 0 else None


def as_text(report: Mapping) -> str:
    """The report as text of less than one screen."""
    passed = report["replay"]
    lines = [
        f"frames     {passed['frames_published']} published, {passed['frames_answered']} answered "
        f"({100 * passed['answered']:.1f} %), {passed['duplicate_masks']} duplicate masks, "
        f"{passed['masks_of_unknown_frames']} masks of unknown frames"
    ]
    lost = [f"{count} {reason}" for reason, count in passed["dropped"].items() if count]
    if passed["dropped"]:
        lines.append(f"drops      {', '.join(lost) or 'none'}")
    lines.append(
        f"rate       {_figure(passed['published_hz'])} Hz published, {_figure(passed['masks_hz'])} Hz answered, "
        f"jitter {_figure(passed['mask_jitter_ms'])} ms"
    )
    agreement = report["agreement"]
    if agreement is not None and agreement["frames"]:
        lines.append(
            f"offline    {agreement['identical']} of {agreement['frames']} masks identical, "
            f"{100 * agreement['pixel_agreement']:.4f} % of the pixels"
        )
    lines += ["", latency_table({"publish to mask": passed["publish_to_mask_ms"]})]
    if report["rates"]:
        lines += ["", "rate      published  answered"]
        lines += [
            f"{row['rate']:<8g}  {_figure(row['published_hz']):>6} Hz  {100 * row['answered']:7.2f} %"
            for row in report["rates"]
        ]
        lines.append(f"highest rate with at most 5 % drops: {_figure(report['highest_rate_hz'])} Hz")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def highest_rate_hz(passes: Sequence[Pass], share: float) -> float | None:
    """The highest published rate of the passes that answered at least ``share`` of the frames."""
    rates = [pass_summary(result)["published_hz"] for result in passes if result.answered_share >= share]
    return max((rate for rate in rates if rate is not None), default=None)
