"""How the cost of a frame grows with size, batch, threads or cameras, for one network on one engine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lsabinet_core.cores import usable_cores
from lsabinet_core.errors import LsabinetError
from lsabinet_core.inference.backends.choose import choose_device
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.segmenter import MAX_BATCH
from lsabinet_core.inference.threads import limit_threads
from lsabinet_core.labels import CAMVID, LabelSet

from .candidates import EAGER, Candidate, check_names, open_network
from .hardware import describe_machine
from .inference import ROUNDS, STAGES, WARM_UP
from .subjects import start
from .turns import Measured, Progress, measure

Value = int | tuple[int, int]

VARIED = {
    "size": "the network's input and the frames, which have the same size",
    "frame": "the camera's frames, with a fixed network input",
    "batch": "images per call of the network",
    "threads": "CPU threads",
    "cameras": "frames per call of the Segmenter",
}
"""What can be varied."""


@dataclass(frozen=True)
class Setting:
    """The conditions of one call.

    Attributes:
        size: (H, W) of the network's input.
        frame: (H, W) of the camera's frames.
        batch: images per call of the network.
        cameras: frames per call of the Segmenter.
        threads: maximum number of CPU threads; 0 leaves the choice to the engine.
    """

    size: tuple[int, int]
    frame: tuple[int, int]
    batch: int = 1
    cameras: int = 1
    threads: int = 0

    def vary(self, what: str, value: Value) -> "Setting":
        """A copy with another value of ``what``, one of ``VARIED``. A new batch also changes the number of frames."""
        if what == "size":
            return replace(self, size=value, frame=value)
        if what == "batch":
            return replace(self, batch=value, cameras=value)
        return replace(self, **{what: value})


def usual_values(what: str, setting: Setting) -> list[Value]:
    """Default values, each of which costs about twice as much as the previous one."""
    if what == "size":
        # Areas of 1/4, 1/2, 1 and 2 times the setting's, in multiples of 8.
        sides = [[max(64, 8 * round(side * factor / 8)) for side in setting.size] for factor in (0.5, 0.71, 1, 1.41)]
        return list(dict.fromkeys((height, width) for height, width in sides))
    if what == "frame":
        return [(480, 640), (720, 960), (720, 1280), (1080, 1920), (2160, 3840)]
    if what == "threads":
        cores = usable_cores()
        return [*(count for count in (1, 2, 4, 8, 16, 32, 64) if count < cores), cores]
    return [1, 2, 4, MAX_BATCH] if what == "batch" else [1, 2, 4, 8, 16]


def benchmark_scale(
    model: str,
    backend: str,
    what: str,
    values: Sequence[Value],
    setting: Setting,
    *,
    precision: str = "auto",
    rounds: int = ROUNDS,
    device: str = "auto",
    warmup: int = WARM_UP,
    label_set: LabelSet = CAMVID,
    progress: Progress = lambda what, done, total: None,
) -> dict:
    """Measure one network on one engine at several values of one quantity, interleaved in one process.

    The number of threads can vary within one process: an engine with its own threads is built with that number, and
    PyTorch and OpenCV are set to it before each call.

    Args:
        model: see ``Candidate``.
        backend: see ``Candidate``.
        what: the quantity to vary, one of ``VARIED``.
        values: its values.
        setting: all other conditions.
        precision: see ``Candidate``.
        rounds: measured calls of each value.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        warmup: unmeasured calls of each value, after the first.
        label_set: the classes of a network with random weights.
        progress: called with what is being done, steps done, total steps.

    Returns:
        JSON values. ``rows``: ``value`` and the whole setting; ``network_ms``, ``network_p95_ms`` and ``cpu_ms``
        (processor time over all threads) of the network alone; ``segment_ms``, ``segment_p95_ms`` and ``stages`` of the
        whole Segmenter, None for ``eager``. All are medians per frame, except for the percentiles. ``fps``: frames per
        second of the whole Segmenter, for ``eager`` of the network; ``growth``: ms per frame relative to the first row.
        ``failures``: ``value`` and ``reason``. ``model``, ``backend``, ``precision``, ``engine``, ``vary``, ``rounds``
        and ``machine``.

    Raises:
        LsabinetError: a model, engine, precision or device is unknown, or the quantity does not apply to ``eager``.
    """
    if backend == EAGER and what in ("frame", "cameras"):
        raise LsabinetError(f"{EAGER!r} measures the network only: expected an engine to vary {what}")
    candidate = Candidate(model, backend, precision, setting.size)
    check_names([candidate])
    chosen_device = choose_device(device)
    limit_threads(setting.threads)
    network, metadata = open_network(model, label_set)
    settings = {value: setting.vary(what, value) for value in values}
    starts = {
        value: lambda asked=asked: start(
            Network(network, metadata, asked.size),
            replace(candidate, size=asked.size, batch=asked.batch),
            device=device,
            threads=asked.threads,
            frame=asked.frame,
            cameras=asked.cameras,
        )
        for value, asked in settings.items()
    }
    measured, failures = measure(starts, rounds=rounds, warmup=warmup, device=chosen_device, progress=progress)
    rows = [_row(value, settings[value], found) for value, found in measured.items()]
    for row in rows:
        row["growth"] = round(rows[0]["fps"] / row["fps"], 3)
    return {
        "model": model,
        "backend": backend,
        "precision": next((found.description["precision"] for found in measured.values()), precision),
        "vary": what,
        "rows": rows,
        "failures": [{"value": _plain(value), "reason": failures[value]} for value in settings if value in failures],
        "rounds": rounds,
        "machine": describe_machine(chosen_device),
    }


def _row(value: Value, setting: Setting, measured: Measured) -> dict:
    spent, description = measured.spent, measured.description
    alone = {
        "network_ms": spent["network"].median_ms / setting.batch,
        "network_p95_ms": spent["network"].percentile_ms(95) / setting.batch,
        "cpu_ms": spent["cpu"].median_ms / setting.batch,
    }
    whole = dict.fromkeys(("segment_ms", "segment_p95_ms", "stages"))
    if "segment" in spent:
        whole = {
            "segment_ms": spent["segment"].median_ms / setting.cameras,
            "segment_p95_ms": spent["segment"].percentile_ms(95) / setting.cameras,
            "stages": {f"{stage}_ms": round(spent[stage].median_ms / setting.cameras, 3) for stage in STAGES},
        }
    figures = {
        name: round(figure, 3) if isinstance(figure, float) else figure for name, figure in (alone | whole).items()
    }
    return {
        "value": _plain(value),
        "size": list(setting.size),
        "frame": list(setting.frame),
        "batch": setting.batch,
        "cameras": setting.cameras,
        "threads": setting.threads,
        **figures,
        "fps": round(1e3 / (whole["segment_ms"] or alone["network_ms"]), 3),
        "engine": description["engine"],
        "chosen": f"{description['backend']}, {description['chosen']}" if "chosen" in description else None,
    }


def _plain(value: Value) -> int | list[int]:
    return list(value) if isinstance(value, tuple) else value
