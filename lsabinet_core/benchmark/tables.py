"""The paper's tables with figures of this machine: what each network costs, how fast and how accurate it is here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from lsabinet_core.data import LABEL_SETS
from lsabinet_core.errors import LsabinetError, ModelError
from lsabinet_core.labels import LabelSet
from lsabinet_core.models import create_model, list_models, model_class
from lsabinet_core.models.complexity import count_macs, count_parameters, count_spare_parameters
from lsabinet_core.models.paper import LATER, NETWORK, TABLES, TITLES, PaperTable, Printed
from lsabinet_core.training.ablation import MODULES, module_variants

from .candidates import Candidate
from .inference import benchmark_inference, one_line
from .trained import Accuracy

ROUNDS = 5
WARM_UP = 1

Progress = Callable[[str, int, int], None]


@dataclass
class TableRow:
    """A network of a table.

    Attributes:
        name: for ``lsabinet tables --models``.
        title: for people.
        model: for ``create_model``.
        options: likewise.
        printed: what the paper prints of it.
        parameters: exact count; None where the network cannot be built.
        gmacs: for one image of the table's size; None where the network does not take it.
        latency: by backend, as the rows of ``benchmark_inference``.
        failures: why there are none, by backend; under ``network``, why there is nothing at all.
        accuracy: None where it was not trained here.
        spare: parameters that no output depends on.
    """

    name: str
    title: str
    model: str
    options: dict[str, bool]
    printed: Printed
    parameters: int | None = None
    gmacs: float | None = None
    latency: dict[str, dict] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    accuracy: Accuracy | None = None
    spare: int = 0

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
        paper: what it is of.
        size: (H, W) of the images in pixels.
        backends: measured ones, as asked for.
        rows: LSA-BiNet first, then the others by year; Table 4 from none of the modules to all.
        rounds: measured turns of each network.
        machine: of ``benchmark_inference``.
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
    """The rows of a table, not yet measured; only ``names`` where there are any.

    Raises:
        ModelError: a name that the table does not have.
    """
    paper = TABLES[number]
    if number == 4:
        rows = [
            TableRow(
                variant.name,
                " + ".join(name.upper() for name in MODULES if name in variant.modules) or "baseline",
                NETWORK,
                {name: name in variant.modules for name in MODULES},
                paper.rows.get(variant.name, Printed(note="not printed")),
            )
            for variant in module_variants()
        ]
    else:
        rows = [
            TableRow(name, TITLES[name], name, {}, paper.rows.get(name, Printed(note="not in the paper")))
            for name in list_models()
            if name in paper.rows or name in LATER
        ]
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            raise ModelError(f"table {number} has no row {name!r}: choose of {', '.join(known)}")
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
    """Count and time every network of a table at one size, all of them in interleaved rounds.

    The networks have random weights, which does not change their speed.

    Args:
        number: 1 to 4.
        names: only these rows; all where there are none.
        size: (H, W) in pixels; None takes the table's.
        backends: engines of ``benchmark_inference``, ``eager`` among them.
        rounds: measured turns of each network on each engine.
        threads: most CPU threads; 0 leaves the engines' choice.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        accuracies: by row.
        progress: called with what is being done, steps done, steps in all.

    Raises:
        LsabinetError: an unknown row, engine or device. What a single network cannot do is in its row.
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
        # On the meta device nothing is allocated, initialised or computed.
        with torch.device("meta"):
            network = create_model(row.model, len(labels), **row.options)
        row.parameters = count_parameters(network)
        row.spare = count_spare_parameters(network)
        row.gmacs = count_macs(network, size) / 1e9
    except (LsabinetError, RuntimeError) as error:
        row.failures["network"] = one_line(error)


def place_of_ours(table: MeasuredTable) -> str | None:
    """A sentence with LSA-BiNet's place by each figure; None where there is nothing to compare it with."""
    ours = next((row for row in table.rows if row.is_ours), None)
    if ours is None or len(table.rows) == 1:
        return None
    figures: dict[str, Callable[[TableRow], float | None]] = {
        **{f"latency ({backend})": partial(TableRow.median_ms, backend=backend) for backend in table.backends},
        "GMACs": lambda row: row.gmacs,
        "parameters": lambda row: row.parameters,
        "mIoU": lambda row: None if row.miou is None else -row.miou,
    }
    places = []
    for name, figure in figures.items():
        values = [value for row in table.rows if (value := figure(row)) is not None]
        if figure(ours) is not None and len(values) > 1:
            places.append(f"{1 + sum(value < figure(ours) for value in values)} of {len(values)} by {name}")
    best = "the best first, that is the least latency, GMACs and parameters and the highest mIoU"
    return f"{TITLES[NETWORK]}'s place among these rows, {best}: {', '.join(places)}." if places else None
