"""How the cost of a frame grows with what is asked of one network on one engine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lsabinet_core.cores import usable_cores
from lsabinet_core.errors import LsabinetError
from lsabinet_core.inference.backends.common import choose_device
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
    "size": "the network's input, and frames of that size",
    "frame": "the camera's frames, while the network's input stays",
    "batch": "images that go through the network together",
    "threads": "CPU threads",
    "cameras": "frames in one call of the Segmenter",
}
"""What can be varied, and what it is."""


@dataclass(frozen=True)
class Setting:
    """One call: what is asked of the network and around it.

    Attributes:
        size: (H, W) of the network's input.
        frame: (H, W) of the camera's frames.
        batch: images in a call of the network alone.
        cameras: frames in a whole call of the Segmenter.
        threads: most CPU threads; 0 leaves the engine's choice.
    """

    size: tuple[int, int]
    frame: tuple[int, int]
    batch: int = 1
    cameras: int = 1
    threads: int = 0

    def vary(self, what: str, value: Value) -> "Setting":
        """The same with another ``what``, of ``VARIED``. A batch is a batch of frames, too."""
        if what == "size":
            return replace(self, size=value, frame=value)
        if what == "batch":
            return replace(self, batch=value, cameras=value)
        return replace(self, **{what: value})


def usual_values(what: str, setting: Setting) -> list[Value]:
    """Values that show how the cost grows: each about twice the one before."""
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
    """Measure one network on one engine at several values of one thing, in turns, in one process.

    The number of threads holds, though there is but one process: an engine that has threads of its own is built with
    that number, and PyTorch and OpenCV are told before each call.

    Args:
        model: as ``Candidate``.
        backend: as ``Candidate``.
        what: one of ``VARIED``.
        values: its values.
        setting: everything else.
        precision: as ``Candidate``.
        rounds: measured turns of each value.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        warmup: turns of each before those that count, besides a first one.
        label_set: the classes of a network with random weights.
        progress: called with what is being done, steps done, steps in all.

    Returns:
        JSON values. ``rows``: ``value`` and everything of the setting; ``network_ms``, ``network_p95_ms`` and
        ``cpu_ms`` (processor time over all threads) of the network alone, ``segment_ms``, ``segment_p95_ms`` and
        ``stages`` of the whole Segmenter, None for ``eager``: all per frame, medians but for the percentiles; ``fps``:
        frames per second of whole calls, of the network for ``eager``; ``growth``: ms per frame over the first row's.
        ``failures``: ``value`` and ``reason``. ``model``, ``backend``, ``precision``, ``engine``, ``vary``, ``rounds``
        and ``machine``.

    Raises:
        LsabinetError: an unknown model, engine, precision or device, or a wish that ``eager`` knows nothing of.
    """
    if backend == EAGER and what in ("frame", "cameras"):
        raise LsabinetError(f"{EAGER!r} is the network alone: expected an engine to vary {what}")
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
