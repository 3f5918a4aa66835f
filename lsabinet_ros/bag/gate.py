"""Compare reports on bags with limits and with each other, to decide whether new weights may replace those in use.

A limit is ``METRIC.min``, ``METRIC.max``, or, against a baseline, ``METRIC.max_drop`` and ``METRIC.max_increase``.
Shares are in percent and times in milliseconds. docs/bags.md lists the metrics.
"""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import yaml

from lsabinet_core.errors import BagError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.latency import STATISTICS
from lsabinet_core.files import read_text, write_text
from lsabinet_ros.bag.report import SCHEMA_VERSION

KINDS = ("min", "max", "max_drop", "max_increase")
RESAMPLINGS = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Limit:
    """A limit on a metric.

    Attributes:
        metric: name, such as ``miou`` or ``class.Pedestrian.iou``.
        kind: one of ``KINDS``.
        value: the limit, in percent or milliseconds.
        relative: whether ``value`` is a percentage of the baseline's value.
    """

    metric: str
    kind: str
    value: float
    relative: bool = False

    @property
    def name(self) -> str:
        return f"{self.metric}.{self.kind}"

    @property
    def needs_baseline(self) -> bool:
        return self.kind in ("max_drop", "max_increase")

    @property
    def text(self) -> str:
        return f"{self.value:g}{' %' if self.relative else ''}"


@dataclass(frozen=True)
class Verdict:
    """Whether a limit is kept.

    Attributes:
        limit: the limit.
        value: value of the metric; None if the report lacks it.
        baseline: value in the baseline; None for a limit that needs none.
        interval: 95 % interval of the value, or of the change from the baseline; None where it cannot be estimated.
        kept: whether the limit is kept.
        reason: why not; empty if it is kept.
    """

    limit: Limit
    value: float | None
    baseline: float | None
    interval: tuple[float, float] | None
    kept: bool
    reason: str = ""

    def to_dict(self) -> dict:
        """The verdict as JSON values, as in the field ``gate`` of a report."""
        return {
            "limit": self.limit.name,
            "allowed": self.limit.text,
            "value": self.value,
            "baseline": self.baseline,
            "interval": None if self.interval is None else list(self.interval),
            "kept": self.kept,
            "reason": self.reason,
        }


def read_report(
    path: Path, *, verb: str = "evaluate", name: str = "report.json", expected: int = SCHEMA_VERSION
) -> dict:
    """Read a report, given by its path or its folder.

    Args:
        path: the file or its folder.
        verb: the verb of ``lsabinet bag`` that writes such reports.
        name: the name of the file in its folder.
        expected: the version of the schema.

    Raises:
        BagError: no such file, or not a report of this version.
    """
    path = path / name if path.is_dir() else path
    try:
        content = json.loads(read_text(path))
    except OSError as error:
        raise BagError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise BagError(f"{path} is not a report of `lsabinet bag {verb}`: it is not JSON") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != expected:
        raise BagError(f"expected a report of `lsabinet bag {verb}` of version {expected}, got {version}: {path}")
    return content


def read_limits(path: Path, check_metric: Callable[[str], object] | None = None) -> list[Limit]:
    """Read limits from a YAML file: ``miou.min: 60``, or nested keys with the same meaning.

    Args:
        path: the file.
        check_metric: raises BagError for the name of an unknown metric; None for those of ``report.json``.

    Raises:
        BagError: the file cannot be read, or a key or value is not a valid limit.
    """
    try:
        content = yaml.safe_load(read_text(path))
    except OSError as error:
        raise BagError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, yaml.YAMLError):
        raise BagError(f"{path} is not a YAML file") from None
    if not isinstance(content, dict) or not content:
        raise BagError(f"expected limits such as `miou.min: 60` in {path}")
    return [parse_limit(name, value, check_metric) for name, value in _flat(content)]


def _flat(content: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def parse_limit(name: str, value: object, check_metric: Callable[[str], object] | None = None) -> Limit:
    """A limit from its name and its value: a number, or ``10%`` of the baseline for changes.

    Args:
        name, value: as in the YAML file.
        check_metric: as in ``read_limits``.

    Raises:
        BagError: an unknown kind or metric, or a value that is not a number.
    """
    metric, _, kind = name.rpartition(".")
    if kind not in KINDS or not metric:
        raise BagError(f"expected METRIC.{', METRIC.'.join(KINDS)}, got {name!r}")
    text = str(value).strip()
    relative = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if math.isnan(number) or (relative and kind in ("min", "max")):
        raise BagError(
            f"expected a number for {name}{'' if kind in ('min', 'max') else ', or a percentage'}, got {value!r}"
        )
    (check_metric or _path_of)(metric)
    return Limit(metric, kind, number, relative)


# Names of metrics, their place in report.json and the factor to percent or milliseconds.
_METRICS = {
    "miou": (("miou",), 100),
    "miou_paper_rule": (("miou_paper_rule",), 100),
    "pixel_accuracy": (("pixel_accuracy",), 100),
    "mean_class_accuracy": (("mean_class_accuracy",), 100),
    "boundary_f": (("boundary_f", "mean"), 100),
    "ece": (("calibration", "ece"), 100),
    "temporal_consistency": (("temporal_consistency", "miou"), 100),
    "agreement": (("agreement", "pixels"), 100),
    "agreement_miou": (("agreement", "miou"), 100),
    "against_miou": (("against", "miou"), 100),
    "flicker": (("over_time", "flicker"), 100),
    "confidence": (("over_time", "confidence"), 100),
    "frames_per_s": (("throughput", "frames_per_s"), 1),
    "frames": (("frames",), 1),
    "labelled_frames": (("labelled_frames",), 1),
    "skipped_frames": (("skipped_frames",), 1),
}
_NOT_OF_SPANS = ("boundary_f", "ece", "frames_per_s", "skipped_frames")
_SPAN = "span."
_STAGES = ("preprocess", "inference", "postprocess", "total")


def _split_span(metric: str) -> tuple[str | None, str]:
    """The span of a metric, None for that of all frames, and the metric's name without it."""
    if not metric.startswith(_SPAN):
        return None, metric
    span, _, inner = metric.removeprefix(_SPAN).partition(".")
    return span, inner


def _path_of(metric: str) -> tuple[tuple[str, ...], float]:
    """Place of a metric in the report or in its span, and factor. Raise BagError for an unknown one."""
    span, metric = _split_span(metric)
    if span is not None and metric in _NOT_OF_SPANS:
        raise BagError(f"{metric} is not measured for spans: leave out {_SPAN}{span}.")
    if metric in _METRICS:
        return _METRICS[metric]
    parts = metric.split(".")
    if parts[0] == "latency" and parts[-1] in STATISTICS and len(parts) in (2, 3):
        stage = parts[1] if len(parts) == 3 else "total"
        if stage in _STAGES:
            return ("latency_ms", stage, parts[-1]), 1
    if parts[0] == "class" and parts[-1] == "iou" and len(parts) >= 3:
        return ("per_class_iou", ".".join(parts[1:-1])), 100
    latencies = f"latency.{', .'.join(STATISTICS)}"
    known = [*_METRICS, "class.NAME.iou", latencies, "latency.STAGE.p99", "span.NAME.METRIC"]
    raise BagError(f"unknown metric {metric!r}: expected one of {', '.join(known)}")


def check_classes(limits: Sequence[Limit], baseline: dict | None, names: Sequence[str]) -> None:
    """Raise BagError for a limit on a class that is none of ``names``, or a baseline with other classes."""
    for limit in limits:
        _check_class(_path_of(limit.metric)[0], names)
    if baseline is not None and list(baseline["per_class_iou"]) != list(names):
        raise BagError("the reports cannot be compared: their classes differ")


def check_spans(limits: Sequence[Limit], names: Sequence[str]) -> None:
    """Raise BagError for a limit on a span that is none of ``names``."""
    for limit in limits:
        span, _ = _split_span(limit.metric)
        if span is not None and span not in names:
            raise BagError(f"unknown span {span!r} in {limit.name}: expected one of those in --spans: {list(names)}")


def _check_class(path: tuple[str, ...], names: Collection[str]) -> None:
    if path[0] == "per_class_iou" and path[1] not in names:
        raise BagError(f"unknown class {path[1]!r}: expected one of {', '.join(names)}")


def value_of(report: dict, metric: str) -> float | None:
    """Value of a metric in percent or milliseconds; None if the report lacks it.

    Raises:
        BagError: an unknown metric or class.
    """
    path, factor = _path_of(metric)
    _check_class(path, report["per_class_iou"])
    span, _ = _split_span(metric)
    value: object = report if span is None else report.get("spans", {}).get(span)
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return factor * float(value) if isinstance(value, int | float) else None


def judge(limits: Sequence[Limit], report: dict, baseline: dict | None = None) -> list[Verdict]:
    """Check every limit.

    A drop or increase fails only if it exceeds its limit and, where a 95 % interval can be estimated, differs from 0
    beyond chance. A limit on a metric that the report lacks fails.

    Raises:
        BagError: a limit on a change without a baseline, or an unknown class.
    """
    check_classes(limits, baseline, list(report["per_class_iou"]))
    return [_judge(limit, report, baseline) for limit in limits]


def _judge(limit: Limit, report: dict, baseline: dict | None) -> Verdict:
    value = value_of(report, limit.metric)
    if not limit.needs_baseline:
        return verdict_on(limit, value, interval=None if value is None else _interval(limit.metric, report))
    if baseline is None:
        raise BagError(f"{limit.name} needs a baseline: give the report to compare with")
    before = value_of(baseline, limit.metric)
    unknown = value is None or before is None
    return verdict_on(limit, value, before, None if unknown else _change_interval(limit.metric, baseline, report))


def verdict_on(
    limit: Limit, value: float | None, before: float | None = None, interval: tuple[float, float] | None = None
) -> Verdict:
    """Whether a limit is kept.

    Args:
        limit: the limit.
        value: value of its metric; None if it was not measured.
        before: value in the baseline, for a limit that needs one.
        interval: 95 % interval of the value or, with a baseline, of the change.
    """
    if not limit.needs_baseline:
        if value is None:
            return Verdict(limit, None, None, None, False, "not measured")
        kept = value >= limit.value if limit.kind == "min" else value <= limit.value
        reason = "" if kept else f"{value:.2f} is {'below' if limit.kind == 'min' else 'above'} {limit.text}"
        return Verdict(limit, value, None, interval, kept, reason)
    if value is None or before is None:
        where = "the report" if value is None else "the baseline"
        return Verdict(limit, value, before, None, False, f"not measured in {where}")
    allowed = abs(before) * limit.value / 100 if limit.relative else limit.value
    change = value - before
    worse = -change if limit.kind == "max_drop" else change
    kept = worse <= allowed
    if not kept and interval is not None and interval[0] <= 0 <= interval[1]:
        kept = True  # within the noise
    reason = "" if kept else f"{before:.2f} became {value:.2f}, a change of {change:+.2f} where {limit.text} is allowed"
    return Verdict(limit, value, before, interval, kept, reason)


def _interval(metric: str, report: dict) -> tuple[float, float] | None:
    samples = _resampled(metric, report, _draws(len(_blocks_of(metric, report)), seed=0))
    return None if samples is None else _middle(samples)


def _change_interval(metric: str, baseline: dict, report: dict) -> tuple[float, float] | None:
    """95 % interval of the change; if both reports are on the same frames, the same blocks are drawn from both."""
    counts = len(_blocks_of(metric, baseline)), len(_blocks_of(metric, report))
    paired = _frames_of(metric, baseline) == _frames_of(metric, report)
    before = _resampled(metric, baseline, _draws(counts[0], seed=0))
    after = _resampled(metric, report, _draws(counts[1], seed=0 if paired else 1))
    return None if before is None or after is None else _middle(after - before)


def _blocks_of(metric: str, report: dict) -> list[dict]:
    """The blocks of the frames over which a metric is computed."""
    span, _ = _split_span(metric)
    return [block for block in report["blocks"] if span is None or span in block.get("spans", ())]


def _frames_of(metric: str, report: dict) -> list[tuple]:
    sources = report["sources"]
    return [
        (Path(source["bag"]).name, source["image_topic"], block["frames"])
        for block in _blocks_of(metric, report)
        for source in [sources[block["source"]]]
    ]


def _draws(blocks: int, seed: int) -> np.ndarray | None:
    """How often each block is drawn in each resampling, int64 (RESAMPLINGS, blocks); None for fewer than two."""
    if blocks < 2:
        return None
    return np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=RESAMPLINGS)


def _resampled(metric: str, report: dict, draws: np.ndarray | None) -> np.ndarray | None:
    """The metric in percent in each resampling of the blocks, float64 (RESAMPLINGS,); None if it is not an IoU."""
    path, factor = _path_of(metric)
    if draws is None or path[0] not in ("per_class_iou", "miou", "pixel_accuracy"):
        return None
    blocks = np.asarray([block["confusion_matrix"] for block in _blocks_of(metric, report)], dtype=np.int64)
    values = np.empty(len(draws))
    for index, matrix in enumerate(np.einsum("rb,bij->rij", draws, blocks)):
        confusion = ConfusionMatrix(len(matrix))
        confusion.matrix += matrix
        if path[0] == "per_class_iou":
            values[index] = confusion.iou_per_class[list(report["per_class_iou"]).index(path[1])]
        else:
            values[index] = confusion.miou if path[0] == "miou" else confusion.pixel_accuracy
    values = factor * values
    return None if np.isnan(values).any() else values


def _middle(samples: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(samples, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(low), float(high)


def write_junit(path: Path, verdicts: Sequence[Verdict], suite: str) -> None:
    """Write the verdicts as JUnit XML, which CI systems show as tests."""
    failures = sum(not verdict.kept for verdict in verdicts)
    root = ElementTree.Element("testsuites")
    element = ElementTree.SubElement(
        root, "testsuite", name=suite, tests=str(len(verdicts)), failures=str(failures), errors="0"
    )
    for verdict in verdicts:
        case = ElementTree.SubElement(element, "testcase", classname=suite, name=verdict.limit.name)
        if not verdict.kept:
            ElementTree.SubElement(case, "failure", message=verdict.reason)
    ElementTree.indent(root)
    write_text(path, ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n")
