"""Latency statistics: percentiles, maximum and mean of durations, in total or per stage."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lsabinet_core.inference import Timings

PERCENTILES = (50, 95, 99)
STATISTICS = (*(f"p{q}" for q in PERCENTILES), "max", "mean")
"""Keys of a summary with a duration each, in the order of the tables."""


def summarise_latency(values_ms: Iterable[float]) -> dict[str, float | int | None]:
    """Summarise durations in milliseconds.

    Returns:
        ``{"p50", "p95", "p99", "max", "mean", "count"}``, with percentiles interpolated linearly between samples.
        Without samples all statistics are None and ``count`` is 0, so that the result is always valid JSON.
    """
    values = np.fromiter(values_ms, dtype=np.float64)
    if values.size == 0:
        return {**dict.fromkeys(STATISTICS), "count": 0}
    figures = [*np.percentile(values, PERCENTILES), values.max(), values.mean()]
    return {
        **{key: round(float(figure), 3) for key, figure in zip(STATISTICS, figures, strict=True)},
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
    lines = [f"{'stage':<{width}}  {' '.join(f'{key:>9}' for key in STATISTICS)}  ms"]
    for stage, summary in summaries.items():
        figures = [summary[key] for key in STATISTICS]
        cells = ("        -" if figure is None else f"{figure:9.2f}" for figure in figures)
        lines.append(f"{stage:<{width}}  {' '.join(cells)}")
    return "\n".join(lines)
