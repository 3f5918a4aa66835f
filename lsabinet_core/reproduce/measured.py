"""One of the paper's tables with figures of this machine: cost, speed and accuracy of each network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from lsabinet_core.benchmark.candidates import Candidate
from lsabinet_core.benchmark.inference import benchmark_inference, one_line
from lsabinet_core.data import LABEL_SETS
from lsabinet_core.errors import LsabinetError, ModelError
from lsabinet_core.labels import LabelSet
from lsabinet_core.models import create_model, list_models, model_class
from lsabinet_core.models.complexity import Cost, network_cost

from .accuracy import Accuracy
from .modules import COMBINATIONS
from .paper import NETWORK, NOT_IN_PAPER, TABLES, TITLES, PaperTable, Printed

ROUNDS = 5
WARM_UP = 1

Progress = Callable[[str, int, int], None]


@dataclass
class TableRow:
    """One row of a table.

    Attributes:
        name: name for ``lsabinet tables --models``.
        title: display name.
        model: argument of ``create_model``.
        options: options of ``create_model``.
        printed: the paper's figures.
        cost: None if the network does not support the table's size.
        latency: rows of ``benchmark_inference``, by backend.
        failures: reasons of missing rows, by backend; under ``network``, the reason of a missing cost.
        accuracy: None if the network has not been trained.
    """

    name: str
    title: str
    model: str
    options: dict[str, bool]
    printed: Printed
    cost: Cost | None = None
    latency: dict[str, dict] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    accuracy: Accuracy | None = None

    @property
    def year(self) -> int:
        return model_class(self.model).year

    @property
    def is_ours(self) -> bool:
        return self.model == NETWORK and all(self.options.values())

    @property
    def miou(self) -> float | None:
        return self.accuracy and self.accuracy.miou

    def median_ms(self, backend: str) -> float | None:
        return self.latency[backend]["median_ms"] if backend in self.latency else None


@dataclass
class MeasuredTable:
    """One of the paper's tables, measured here.

    Attributes:
        paper: the original table.
        size: (H, W) of the images in pixels.
        backends: the measured backends.
        rows: LSA-BiNet first, then the others by year; in Table 4 from no modules to all modules.
        rounds: measured calls of each network.
        machine: as returned by ``benchmark_inference``.
    """

    paper: PaperTable
    size: tuple[int, int]
    backends: list[str]
    rows: list[TableRow]
    rounds: int
    machine: dict

    @property
    def classes(self) -> int:
        return len(LABEL_SETS[self.paper.dataset])


def table_rows(number: int, names: Sequence[str] = ()) -> list[TableRow]:
    """The rows of a table, not yet measured; restricted to ``names`` if given.

    Raises:
        ModelError: a name is not in the table.
    """
    paper = TABLES[number]
    if number == 4:
        rows = [
            TableRow(
                name,
                " + ".join(module.upper() for module, on in options.items() if on) or "baseline",
                NETWORK,
                options,
                paper.rows.get(name, Printed(note="not printed")),
            )
            for name, options in COMBINATIONS.items()
        ]
    else:
        rows = [
            TableRow(name, TITLES[name], name, {}, paper.rows.get(name, Printed(note="not in the paper")))
            for name in list_models()
            if name in paper.rows or name in NOT_IN_PAPER
        ]
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            raise ModelError(f"table {number} has no row {name!r}: choose from {', '.join(known)}")
    return [row for row in rows if not names or row.name in names]


def measure_table(
    number: int,
    *,
    names: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    backends: Sequence[str] = ("torch",),
    rounds: int = ROUNDS,
    threads: int = 0,
    device: str = "auto",
    accuracies: Mapping[str, Accuracy] | None = None,
    progress: Progress = lambda what, done, total: None,
) -> MeasuredTable:
    """Count the operations of every network of a table and measure their latency, interleaved, at one size.

    The networks have random weights, which does not affect their speed.

    Args:
        number: 1 to 4.
        names: only these rows; empty: all rows.
        size: (H, W) in pixels; None: the table's.
        backends: engines of ``benchmark_inference``, including ``eager``.
        rounds: measured calls of each network on each engine.
        threads: maximum number of CPU threads; 0 leaves the choice to the engines.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        accuracies: accuracy of the networks, by row.
        progress: called with what is being done, steps done, total steps.

    Raises:
        LsabinetError: a row, engine or device is unknown. Limitations of a single network are recorded in its row.
    """
    paper = TABLES[number]
    size = size or paper.size
    labels = LABEL_SETS[paper.dataset]
    rows = table_rows(number, names)
    for done, row in enumerate(rows, 1):
        row.accuracy = (accuracies or {}).get(row.name)
        _count(row, labels, size)
        progress("counting", done, len(rows))
    backends = list(dict.fromkeys(backends))
    by_name = {row.name: row for row in rows if not row.failures}
    result = benchmark_inference(
        [Candidate(name, backend, "auto", size) for name in by_name for backend in backends],
        rounds=rounds,
        threads=threads,
        device=device,
        warmup=WARM_UP,
        label_set=labels,
        builders={name: partial(create_model, row.model, len(labels), **row.options) for name, row in by_name.items()},
        progress=progress,
    )
    for measured in result["rows"]:
        by_name[measured["model"]].latency[measured["backend"]] = measured
    for failure in result["failures"]:
        by_name[failure["model"]].failures[failure["backend"]] = failure["reason"]
    return MeasuredTable(paper, size, backends, rows, rounds, result["machine"])


def _count(row: TableRow, labels: LabelSet, size: tuple[int, int]) -> None:
    try:
        row.cost = network_cost(row.model, len(labels), size, row.options)
    except (LsabinetError, RuntimeError) as error:
        row.failures["network"] = one_line(error)


def place_of_ours(table: MeasuredTable) -> str | None:
    """A sentence with LSA-BiNet's rank by each figure; None if there is nothing to compare it with."""
    ours = next((row for row in table.rows if row.is_ours), None)
    if ours is None or len(table.rows) == 1:
        return None
    figures: dict[str, Callable[[TableRow], float | None]] = {
        **{f"latency ({backend})": partial(TableRow.median_ms, backend=backend) for backend in table.backends},
        "GMACs": lambda row: row.cost and row.cost.gmacs,
        "parameters": lambda row: row.cost and row.cost.parameters,
        "mIoU": lambda row: None if row.miou is None else -row.miou,
    }
    places = []
    for name, figure in figures.items():
        values = [value for row in table.rows if (value := figure(row)) is not None]
        own = figure(ours)
        if own is not None and len(values) > 1:
            places.append(f"{1 + sum(value < own for value in values)} of {len(values)} by {name}")
    best = "1 is the lowest latency, GMACs and parameters and the highest mIoU"
    return f"{TITLES[NETWORK]}'s rank among these rows ({best}): {', '.join(places)}." if places else None
