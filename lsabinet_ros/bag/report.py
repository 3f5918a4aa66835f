"""The report on an evaluation of bags: ``report.json``, ``report.md`` and ``frames.csv``.

docs/bags.md describes the fields of ``report.json``.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lsabinet_core.commit import source_state
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.formats import markdown
from lsabinet_core.evaluation.latency import latency_table, summarise_timings
from lsabinet_core.evaluation.report import Report
from lsabinet_core.files import write_text
from lsabinet_core.text_table import UNDEFINED, Table, csv_text, markdown_table, number, percent
from lsabinet_ros.bag.agreement import SecondSegmenter
from lsabinet_ros.bag.evaluation import BagEvaluation
from lsabinet_ros.bag.frame_results import FrameResult
from lsabinet_ros.bag.spans import names_of
from lsabinet_ros.bag.timeline import as_timeline

if TYPE_CHECKING:
    from lsabinet_core.inference import Timings

SCHEMA_VERSION = 1
"""Version of ``report.json``; it increases with every change that affects programs that read the file."""
TIMING_FIELDS = ("latency_ms", "throughput", "timeline")
"""Fields of ``report.json``, at any depth, that differ between two runs on the same machine."""
SPAN_SEPARATOR = ";"
"""Between the names of spans in ``frames.csv``."""
STAGES = ("preprocess", "inference", "postprocess")
"""Stages of the Segmenter, each a column of ``frames.csv``."""


def as_dict(evaluation: BagEvaluation, device: str, command: Sequence[str] = ()) -> dict:
    """The content of ``report.json``, as JSON values.

    Args:
        evaluation: the result.
        device: device of the segmenter, such as ``cpu``.
        command: the command that made the report.
    """
    import torch

    from lsabinet_core.benchmark.hardware import describe_machine

    frames = evaluation.frames
    names = evaluation.report.label_set.names
    return {
        "schema_version": SCHEMA_VERSION,
        "command": list(command),
        **evaluation.report.to_dict(),
        **as_consistency(evaluation.consistency),
        **_as_agreement(evaluation.second),
        "frames": len(frames),
        "labelled_frames": evaluation.report.images,
        "skipped_frames": sum(source.skipped for source in evaluation.sources),
        "lost": evaluation.lost,
        "sources": [
            {**source.summary(), **_over_time([frame for frame in frames if frame.source is source], names)}
            for source in evaluation.sources
        ],
        "over_time": _over_time(frames, names),
        **_as_spans(evaluation),
        "blocks": [
            {
                "source": evaluation.sources.index(block.source),
                **({"spans": list(block.spans)} if evaluation.spans else {}),
                "frames": block.frames,
                "confusion_matrix": block.confusion.matrix.tolist(),
            }
            for block in evaluation.blocks
        ],
        "timeline": as_timeline(frames, evaluation.sources),
        "throughput": {"seconds": evaluation.seconds, "frames_per_s": len(frames) / evaluation.seconds},
        "environment": {**describe_machine(torch.device(device)), **source_state()},
    }


def as_consistency(confusion: ConfusionMatrix | None) -> dict:
    """The field ``temporal_consistency``; no field if it was not measured."""
    if confusion is None:
        return {}
    miou = confusion.miou if confusion.matrix.any() else None
    return {"temporal_consistency": {"miou": miou, "confusion_matrix": confusion.matrix.tolist()}}


def _as_agreement(second: SecondSegmenter | None) -> dict:
    """The fields ``agreement`` and ``against``; no fields without a second segmenter."""
    if second is None:
        return {}
    return {"agreement": second.total.to_dict(second.label_set), "against": second.report().to_dict()}


def _as_spans(evaluation: BagEvaluation) -> dict:
    """The field ``spans``; no field without spans."""
    names = names_of(evaluation.spans)
    return {"spans": {name: _as_span(name, evaluation) for name in names}} if names else {}


def _as_span(name: str, evaluation: BagEvaluation) -> dict:
    label_set, counts = evaluation.report.label_set, evaluation.span_counts[name]
    frames = [frame for frame in evaluation.frames if name in frame.spans]
    blocks = [block for block in evaluation.blocks if name in block.spans]
    confusion = ConfusionMatrix(len(label_set))
    for block in blocks:
        confusion.matrix += block.confusion.matrix
    labelled = sum(block.frames for block in blocks)
    found = Report(label_set, confusion, labelled, summarise_timings(frame.timings for frame in frames)).to_dict()
    if evaluation.consistency is not None:
        found |= as_consistency(counts.consistency)
    if evaluation.second is not None:
        latency = summarise_timings(frame.agreement.timings for frame in frames if frame.agreement is not None)
        second = Report(label_set, counts.agreement.labels, counts.agreement.labelled, latency)
        found |= {"agreement": counts.agreement.to_dict(label_set), "against": second.to_dict()}
    return {
        "ranges_ns": [[span.from_ns, span.to_ns] for span in evaluation.spans if span.name == name],
        "frames": len(frames),
        "labelled_frames": labelled,
        **found,
        "over_time": _over_time(frames, label_set.names),
    }


def spans_table(content: dict) -> Table | None:
    """The spans of the report, one row each; None without spans."""
    if "spans" not in content:
        return None
    rows = [{"name": name, **span} for name, span in content["spans"].items()]
    columns: dict[str, Callable[[dict], str]] = {
        "span": lambda row: row["name"],
        "frames": lambda row: str(row["frames"]),
        "labelled": lambda row: str(row["labelled_frames"]),
        "mIoU %": lambda row: percent(row["miou"]),
        "flicker %": lambda row: percent(row["over_time"]["flicker"]),
        "p50 ms": lambda row: number(row["latency_ms"]["total"]["p50"], 2),
        "p99 ms": lambda row: number(row["latency_ms"]["total"]["p99"], 2),
    }
    if "temporal_consistency" in rows[0]:
        columns["consistency %"] = lambda row: percent(row["temporal_consistency"]["miou"])
    if "agreement" in rows[0]:
        columns["agreement %"] = lambda row: percent(row["agreement"]["pixels"])
    return Table(rows, columns, words=("span",))


def gate_table(verdicts: Sequence[dict]) -> Table:
    """The field ``gate`` as a table; an interval is that of the value, or of the change from the baseline."""

    def interval(bounds: Sequence[float] | None) -> str:
        return UNDEFINED if bounds is None else f"{bounds[0]:.2f} .. {bounds[1]:.2f}"

    return Table(
        verdicts,
        {
            "limit on": lambda row: row["limit"],
            "limit": lambda row: row["allowed"],
            "baseline": lambda row: number(row["baseline"], 2),
            "value": lambda row: number(row["value"], 2),
            "95 % interval": lambda row: interval(row["interval"]),
            "verdict": lambda row: "kept" if row["kept"] else f"FAILED: {row['reason']}",
        },
        words=("limit on", "verdict"),
    )


def empty_spans(content: dict) -> list[str]:
    """The names of the spans without frames."""
    return [name for name, span in content.get("spans", {}).items() if not span["frames"]]


def agreement_lines(content: dict) -> list[str]:
    """The agreement with the second segmenter in words, one paragraph per line; empty without one."""
    if "agreement" not in content:
        return []
    agreement, against = content["agreement"], content["against"]
    lines = [
        f"Against {Path(against['weights']).name} ({against['backend']}, {against['precision']}): "
        f"{percent(agreement['pixels'])} % of the pixels agree, mIoU of the second masks with the first "
        f"{percent(agreement['miou'])} %, {agreement['identical_frames']} of {agreement['frames']} masks identical"
    ]
    if against["miou"] is not None:
        first, second = percent(content["miou"]), percent(against["miou"])
        lines.append(f"mIoU with the labels: {first} % of the first masks, {second} % of the second")
    return lines


def _over_time(frames: Sequence[FrameResult], names: Sequence[str]) -> dict:
    """Means over frames, which need no labels."""
    flicker = [frame.flicker for frame in frames if frame.flicker is not None]
    confidence = [frame.confidence for frame in frames if frame.confidence is not None]
    shares = np.stack([frame.class_share for frame in frames]).mean(axis=0, dtype=np.float64) if frames else np.zeros(0)
    return {
        "flicker": float(np.mean(flicker)) if flicker else None,
        "confidence": float(np.mean(confidence)) if confidence else None,
        "class_share": dict(zip(names, shares.tolist())) if frames else dict.fromkeys(names),
    }


def write_report(folder: Path, content: dict, evaluation: BagEvaluation) -> None:
    """Write ``report.json``, ``report.md`` and ``frames.csv`` to ``folder``.

    Args:
        content: the result of ``as_dict``.
        evaluation: the result that ``content`` was made from.
    """
    write_text(folder / "report.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_text(folder / "report.md", as_markdown(content, evaluation))
    write_text(folder / "frames.csv", frame_table(evaluation))


def as_markdown(content: dict, evaluation: BagEvaluation) -> str:
    """The report as GitHub Markdown."""
    lines = [f"# {Path(content['weights']).name} on {', '.join(Path(bag).name for bag in content['bags'])}", ""]
    lines += [f"- **Lost:** {loss}" for loss in content["lost"]]
    lines += [""] if content["lost"] else []
    lines += [gate_table(content["gate"]).markdown()] if "gate" in content else []
    rows = []
    for source in content["sources"]:
        labels = source["labels"]
        rows.append(
            [
                source["bag"],
                source["image_topic"],
                str(source["frames"]),
                str(source["skipped_frames"]),
                f"{labels['used']} of {labels['total']}" if labels["total"] else "-",
                str(labels["without_frame"]),
                "-" if source["flicker"] is None else percent(source["flicker"]),
            ]
        )
    header = ["bag", "images", "frames", "skipped", "labels used", "labels without frame", "flicker %"]
    lines += [markdown_table(header, rows, header[:2]), "", markdown(evaluation.report), ""]
    if "temporal_consistency" in content:
        lines += [f"Temporal consistency: {percent(content['temporal_consistency']['miou'])} %", ""]
    for line in agreement_lines(content):
        lines += [f"{line}.", ""]
    if (table := spans_table(content)) is not None:
        lines += [table.markdown()]
    throughput = content["throughput"]
    lines += ["```text", latency_table(content["latency_ms"]), "```", ""]
    lines.append(
        f"{content['frames']} frames in {throughput['seconds']:.1f} s: {throughput['frames_per_s']:.2f} frames/s."
    )
    memory = [row["memory_mib"] for row in content["timeline"] if row["memory_mib"] is not None]
    if memory:
        lines += ["", f"Memory of the process: {memory[0]:.0f} MiB at the start, {memory[-1]:.0f} MiB at the end."]
    if content["command"]:
        lines += ["", "```bash", " ".join(content["command"]), "```"]
    return "\n".join(lines) + "\n"


def frame_table(evaluation: BagEvaluation) -> str:
    """One line per frame as CSV; fractions in 0..1, empty if undefined. Timings and memory come last."""
    names = evaluation.report.label_set.names
    return csv_text(
        [
            {
                "bag": str(frame.source.bag.path),
                "image_topic": frame.source.topic,
                "stamp_ns": frame.stamp_ns,
                "bag_time_ns": frame.bag_time_ns,
                "label_offset_ns": frame.label_offset_ns,
                **({"spans": SPAN_SEPARATOR.join(frame.spans)} if evaluation.spans else {}),
                "miou": frame.miou,
                "pixel_accuracy": frame.pixel_accuracy,
                "flicker": frame.flicker,
                "consistency": frame.consistency,
                "confidence": frame.confidence,
                **_agreement_cells(frame),
                **{f"share_{name}": round(float(share), 6) for name, share in zip(names, frame.class_share)},
                **_timing_cells("", frame.timings),
                **({} if frame.agreement is None else _timing_cells("against_", frame.agreement.timings)),
                "memory_mib": None if frame.memory_mib is None else round(frame.memory_mib, 1),
            }
            for frame in evaluation.frames
        ]
    )


def _agreement_cells(frame: FrameResult) -> dict[str, float | None]:
    found = frame.agreement
    if found is None:
        return {}
    return {"agreement": found.pixels, "agreement_miou": found.miou, "against_miou": found.label_miou}


def _timing_cells(prefix: str, timings: "Timings") -> dict[str, float]:
    return {f"{prefix}{stage}_ms": round(getattr(timings, f"{stage}_ms"), 3) for stage in STAGES}
