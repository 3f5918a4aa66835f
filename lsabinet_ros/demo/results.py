"""Results of a demonstration run: JSON for programs, a short text and a plot for people."""

import json
import math
from pathlib import Path

from lsabinet_core.evaluation.latency import latency_table, summarise_stages
from lsabinet_core.files import atomic_path, write_text
from lsabinet_ros.latency import STAGES

from .recorder import Record

FILES = ("overlay.mp4", "latency.png", "summary.json", "drive.mcap")


def summarise(record: Record, weights: str) -> dict:
    """The figures of a run as JSON values.

    ``frames_expected`` is the number of frames that this machine could have segmented during the drive: the duration
    divided by the mean time from taking a frame to publishing its mask, but no more than were sent. ``coverage`` is the
    number of published frames divided by it.
    """
    counts = record.node.counts
    sent = record.player["frames_sent"] if record.player else counts["frames_received"]
    work_ms = [stages["processing"] - stages["wait"] for _, stages in record.latencies]
    mean_ms = sum(work_ms) / len(work_ms) if work_ms else math.inf
    expected = min(sent, int(1000 * record.seconds / mean_ms))
    published = counts["frames_published"]
    received = counts["frames_received"]
    return {
        "frames_sent": sent,
        "frames_received": received,
        "frames_published": published,
        "frames_dropped": counts["frames_dropped"],
        "frames_rejected": counts["frames_rejected"],
        "frames_failed": counts["frames_failed"],
        "frames_lost_in_transport": sent - received,
        "frames_expected": expected,
        "coverage": round(published / expected, 4) if expected else None,
        "masks_received": record.masks,
        "duplicate_masks": record.duplicates,
        "masks_compared": record.compared,
        "miou": None if record.confusion is None else float(record.confusion.miou),
        "per_class_iou": _per_class(record),
        "fps": round(published / record.seconds, 2) if record.seconds else None,
        "seconds": round(record.seconds, 2),
        "latency_ms": summarise_stages(_by_stage(record)),
        "weights": weights,
        "device": record.device,
        "backend": record.node.backend,
        "precision": record.node.precision,
        "node_exit_status": record.node_exit_status,
    }


def write(summary: dict, record: Record, out: Path) -> None:
    """Write ``summary.json`` and, if matplotlib is installed, ``latency.png`` to ``out``."""
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    if record.latencies:
        _plot(record, out / "latency.png")


def as_text(summary: dict, out: Path) -> str:
    """The summary as text of less than one screen."""
    s = summary
    miou = "no labels" if s["miou"] is None else f"{100 * s['miou']:.2f} % over {s['masks_compared']} masks"
    coverage = "-" if s["coverage"] is None else f"{100 * s['coverage']:.1f} %"
    lines = [
        f"frames     {s['frames_sent']} sent, {s['frames_received']} received, {s['frames_published']} segmented, "
        f"{s['frames_dropped']} dropped (newest frame only), {s['frames_lost_in_transport']} lost in transport",
        f"masks      {s['masks_received']} received, {s['duplicate_masks']} duplicates; {coverage} of the "
        f"{s['frames_expected']} frames that this machine could have segmented",
        f"rate       {s['fps']} masks per second with {s['weights']} on {s['device']}, backend {s['backend']}, "
        f"{s['precision']}",
        f"mIoU       {miou}",
        "",
        latency_table(s["latency_ms"]),
        "",
        f"results    in {out}: " + ", ".join(name for name in FILES if (out / name).exists()),
    ]
    return "\n".join(lines)


def _by_stage(record: Record) -> dict[str, list[float]]:
    stages: dict[str, list[float]] = {}
    for _, values in record.latencies:
        for stage, ms in values.items():
            # The age of a frame is unknown if its stamp and the clock have different epochs.
            stages.setdefault(stage, []).extend([ms] if math.isfinite(ms) else [])
    return stages


def _per_class(record: Record) -> dict[str, float | None] | None:
    if record.confusion is None or record.node.label_set is None:
        return None
    ious = record.confusion.iou_per_class
    return {
        name: None if math.isnan(iou) else float(iou)
        for name, iou in zip(record.node.label_set.names, ious, strict=True)
    }


def _plot(record: Record, path: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    times = [time for time, _ in record.latencies]
    figure, axes = pyplot.subplots(figsize=(10, 4.5), layout="constrained")
    axes.stackplot(times, [[stages[name] for _, stages in record.latencies] for name in STAGES], labels=STAGES)
    pipeline = [stages["pipeline"] for _, stages in record.latencies]
    axes.plot(times, pipeline, color="black", linewidth=1, label="pipeline (stamp to mask)")
    axes.set(xlabel="time (s)", ylabel="latency (ms)", ylim=(0, None))
    axes.set_title(f"Latency of every mask on {record.device}")
    axes.margins(x=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=7, frameon=False, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)
