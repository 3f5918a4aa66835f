"""Speed of networks and engines on this machine, compared in one run."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from lsabinet_core.errors import LsabinetError
from lsabinet_core.inference.backends.choose import choose_device
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.threads import limit_threads
from lsabinet_core.labels import CAMVID, LabelSet
from lsabinet_core.models import list_models
from lsabinet_core.models.blocks import SegmentationNetwork
from lsabinet_core.models.complexity import count_macs, count_parameters
from lsabinet_core.models.weights import SUFFIX, save_weights

from .candidates import EAGER, Candidate, check_names, open_network
from .first_frame import measure_first_frame
from .hardware import describe_machine
from .subjects import start
from .turns import Measured, Progress, measure, one_line

__all__ = ["Candidate", "benchmark_inference", "one_line"]

ROUNDS = 20
WARM_UP = 2
STAGES = ("preprocess", "inference", "postprocess")


def benchmark_inference(
    candidates: Sequence[Candidate],
    *,
    rounds: int = ROUNDS,
    threads: int = 0,
    device: str = "auto",
    warmup: int = WARM_UP,
    frame: tuple[int, int] | None = None,
    confidence: bool = False,
    label_set: LabelSet = CAMVID,
    memory: bool = False,
    builders: Mapping[str, Callable[[], SegmentationNetwork]] | None = None,
    progress: Progress = lambda what, done, total: None,
) -> dict:
    """Measure every candidate.

    Candidates of one size are interleaved in one process, so that other load affects all of them equally; they are all
    in memory at the same time. In each round the network runs twice and the second run is timed, followed by a complete
    ``Segmenter.segment``.

    Args:
        candidates: what to measure, in the order of the result.
        rounds: measured calls of each candidate.
        threads: maximum number of CPU threads, for engines and PyTorch; 0 leaves the choice to them.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        warmup: unmeasured calls of each candidate, after the first.
        frame: (H, W) of the camera's frames for whole calls; None: each network's size.
        confidence: whether whole calls also compute the confidence.
        label_set: the classes of networks with random weights.
        builders: create networks that ``lsabinet models`` does not list, by their names in ``candidates``.
        memory: whether to start every measured candidate two more times, in separate processes.
        progress: called with what is being done, steps done, total steps.

    Returns:
        JSON values.

        ``rows``, one per measured candidate: ``model``, ``backend``, ``precision``, ``size`` [H, W], ``batch``;
        ``median_ms``, ``p95_ms``, ``p99_ms``: the network alone, per call of ``batch`` images - engines take pixels and
        give the logits before the last upsampling, ``eager`` takes a normalised image and gives logits of its size;
        ``fps``: images per second at the median; ``cpu_ms``: processor time of such a call, over all threads (median);
        ``speedup``: median of ``eager`` with the same model, size and batch over this one, None where that was not
        ``speedup``: median of ``eager`` with the same model, size and batch over this one, None if that was not
        ``inference_ms``, ``postprocess_ms``): medians of the whole ``Segmenter.segment`` of ``batch`` frames, None for
        ``eager``; ``params``; ``gmacs`` per image;
        ``engine``: the engine that ran; ``chosen``: the choice of ``auto`` and its reason, else None; ``trained_on``
        and ``val_miou`` (0..1), None unless recorded in the weights for this size. For int8 the loss measured by
        ``lsabinet export --verify`` is subtracted from it, None if there is none. With ``memory`` also
        ``first_frame_s``, ``start_cpu_s`` and ``peak_mb``, see ``measure_first_frame``.

        ``failures``: for the other candidates, and those that failed in a separate process, the same five keys and a
        ``reason`` of one line. ``machine`` and ``settings``.

    Raises:
        LsabinetError: a model, engine, precision or device is unknown.
    """
    check_names(candidates)
    chosen_device = choose_device(device)
    limit_threads(threads)
    names = dict.fromkeys(candidate.model for candidate in candidates)
    networks = {name: open_network(name, label_set, (builders or {}).get(name)) for name in names}
    rows: dict[Candidate, dict] = {}
    failures: dict[Candidate, str] = {}
    for size in dict.fromkeys(candidate.size for candidate in candidates):
        group = [candidate for candidate in dict.fromkeys(candidates) if candidate.size == size]
        nets = {name: Network(*networks[name], size) for name in dict.fromkeys(c.model for c in group)}
        starts = {
            candidate: lambda candidate=candidate, nets=nets: start(
                nets[candidate.model], candidate, device=device, threads=threads, frame=frame, confidence=confidence
            )
            for candidate in group
        }
        measured, missing = measure(starts, rounds=rounds, warmup=warmup, device=chosen_device, progress=progress)
        failures |= missing
        costs = {name: _cost(nets[name]) for name in dict.fromkeys(c.model for c in measured)}
        for candidate, found in measured.items():
            rows[candidate] = _row(candidate, nets[candidate.model], found) | costs[candidate.model]
    _add_speedups(list(rows.values()))
    if memory:
        options = {"threads": threads, "device": device, "frame": frame}
        failures |= _add_first_frames(rows, networks, options, progress)
    return {
        "rows": [rows[candidate] for candidate in candidates if candidate in rows],
        "failures": [
            {**candidate.document(), "reason": failures[candidate]} for candidate in candidates if candidate in failures
        ],
        "machine": describe_machine(chosen_device),
        "settings": {
            "rounds": rounds,
            "warmup": warmup,
            "threads": threads,
            "device": device,
            "frame": frame and list(frame),
            "confidence": confidence,
            "classes_of_random_weights": len(label_set),
        },
    }


def _row(candidate: Candidate, network: Network, measured: Measured) -> dict:
    spent, description = measured.spent, measured.description
    alone = spent["network"]
    whole = "segment" in spent
    miou = network.metadata.training.get("val_miou")
    # None: the loss of int8 was not measured.
    loss = description.get("miou_loss", None if description["precision"] == "int8" else 0.0)
    val_miou = None
    if miou is not None and loss is not None and network.metadata.input_size == candidate.size:
        val_miou = miou - loss
    return {
        **candidate.document(),
        "precision": description["precision"],
        "median_ms": round(alone.median_ms, 3),
        "p95_ms": round(alone.percentile_ms(95), 3),
        "p99_ms": round(alone.percentile_ms(99), 3),
        "fps": round(1e3 * candidate.batch / alone.median_ms, 3),
        "cpu_ms": round(spent["cpu"].median_ms, 3),
        "speedup": None,
        "segment_ms": round(spent["segment"].median_ms, 3) if whole else None,
        "segment_p99_ms": round(spent["segment"].percentile_ms(99), 3) if whole else None,
        "stages": {f"{stage}_ms": round(spent[stage].median_ms, 3) for stage in STAGES} if whole else None,
        "engine": description["engine"],
        "chosen": f"{description['backend']}, {description['chosen']}" if "chosen" in description else None,
        "trained_on": network.metadata.dataset,
        "val_miou": val_miou,
    }


def _cost(network: Network) -> dict:
    """``params``, and ``gmacs``: billions of multiply-accumulates for one image of the network's size."""
    return {
        "params": count_parameters(network.model),
        "gmacs": round(count_macs(network.model, network.size) / 1e9, 3),
    }


def _add_speedups(rows: list[dict]) -> None:
    def place(row: dict) -> tuple:
        return row["model"], tuple(row["size"]), row["batch"]

    baselines = {place(row): row["median_ms"] for row in rows if row["backend"] == EAGER}
    for row in rows:
        if place(row) in baselines:
            row["speedup"] = round(baselines[place(row)] / row["median_ms"], 3)


def _add_first_frames(
    rows: dict[Candidate, dict], networks: dict[str, tuple], options: dict, progress: Progress
) -> dict[Candidate, str]:
    """Start each candidate in a separate process; returns why some could not be started."""
    failures = {}
    with tempfile.TemporaryDirectory(prefix="lsabinet-") as folder:
        for number, (candidate, row) in enumerate(rows.items(), 1):
            weights = _weights_file(candidate.model, networks, Path(folder))
            row |= dict.fromkeys(("first_frame_s", "start_cpu_s", "peak_mb"))
            try:
                row |= measure_first_frame(
                    weights, candidate.backend, candidate.precision, candidate.size, batch=candidate.batch, **options
                )
            except LsabinetError as error:
                failures[candidate] = str(error)
            progress("starting", number, len(rows))
    return failures


def _weights_file(name: str, networks: dict[str, tuple], folder: Path) -> str | Path:
    """The weights themselves; random ones written to the folder in fp32, because cached engines depend on them."""
    if name not in list_models():
        return name
    path = folder / f"{name}{SUFFIX}"
    if not path.is_file():
        save_weights(path, *networks[name], dtype=torch.float32)
    return path
