"""Latency statistics: mean and percentiles of durations, in total or per stage."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lsabinet_core.inference import Timings

PERCENTILES = (50, 95, 99)


def summarise_latency(values_ms: Iterable[float]) -> dict[str, float | int | None]:
    """Summarise durations in milliseconds.

    Returns:
        ``{"p50", "p95", "p99", "mean", "count"}``, with percentiles interpolated linearly between samples. Without
        samples all statistics are None and ``count`` is 0, so that the result is always valid JSON.
    """
    values = np.fromiter(values_ms, dtype=np.float64)
    if values.size == 0:
        return {**{f"p{q}": None for q in PERCENTILES}, "mean": None, "count": 0}
    figures = np.percentile(values, PERCENTILES)
    return {
        **{f"p{q}": round(float(figure), 3) for q, figure in zip(PERCENTILES, figures, strict=True)},
        "mean": round(float(values.mean()), 3),
        "count": int(values.size),
    }


def summarise_stages(stages_ms: Mapping[str, Iterable[float]]) -> dict[str, dict]:
    """Summarise several stages: ``{stage: durations in milliseconds}`` to ``{stage: summary}``, in the same order."""
    return {stage: summarise_latency(values) for stage, values in stages_ms.items()}


def summarise_timings(timings: "Iterable[Timings]") -> dict[str, dict]:
    """Summarise a Segmenter's timings: stages ``preprocess``, ``inference``, ``postprocess`` and their ``total``."""
    timings = list(timings)
    return summarise_stages(
        {
            stage: [getattr(timing, f"{stage}_ms") for timing in timings]
            for stage in ("preprocess", "inference", "postprocess", "total")
        }
    )


def latency_table(summaries: Mapping[str, Mapping]) -> str:
    """Format the result of ``summarise_stages`` as a plain-text table: one line per stage, in milliseconds."""
    width = max([len("stage"), *map(len, summaries)])
    lines = [f"{'stage':<{width}}  {'p50':>9} {'p95':>9} {'p99':>9} {'mean':>9}  ms"]
    for stage, summary in summaries.items():
        figures = [summary[key] for key in ("p50", "p95", "p99", "mean")]
        cells = ("        -" if figure is None else f"{figure:9.2f}" for figure in figures)
        lines.append(f"{stage:<{width}}  {' '.join(cells)}")
    return "\n".join(lines)
