"""The modules of LSA-BiNet switched on and off, as in Table 4 of the paper."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from lsabinet_core.errors import RecipeError
from lsabinet_core.text_table import Table
from lsabinet_core.training.ablation import Variant
from lsabinet_core.training.recipe import load_recipe

from .paper import NETWORK, TABLES

MODULES = ("lrfa", "svfm", "rcad")

COMBINATIONS = {
    "+".join(chosen) or "baseline": {name: name in chosen for name in MODULES}
    for count in range(len(MODULES) + 1)
    for chosen in itertools.combinations(MODULES, count)
}
"""The enabled modules of the eight combinations, by name: none, one, two or all three."""

NOTE = (
    "The paper (Table 4, 11 classes at 360x480) prints six of the eight combinations. Its operation counts include "
    "normalisation and activation; the 20.9 of its baseline is counted differently."
)


def module_variants(recipe: str | Path, overrides: Sequence[str]) -> list[Variant]:
    """The eight combinations as variants of a recipe. Raises RecipeError if its network has no such modules."""
    model = load_recipe(recipe, overrides).model
    if model != NETWORK:
        raise RecipeError(f"expected a recipe of {NETWORK}, whose modules can be switched off, got one of {model}")
    return [
        Variant(name, tuple(f"model_options.{module}={str(on).lower()}" for module, on in options.items()))
        for name, options in COMBINATIONS.items()
    ]


def with_paper_columns(table: Table) -> Table:
    """The table of an ablation of ``module_variants`` with one more column per module and the paper's figures."""
    rows = []
    for row in table.rows:
        printed = TABLES[4].rows.get(row["variant"])
        parameters, flops = (printed.parameters_m.text, printed.flops_g.text) if printed else (None, None)
        rows.append(
            {
                **row,
                "paper_parameters_m": parameters and float(parameters),
                "paper_gflops": flops and float(flops),
                "paper": {"M": parameters or "not printed", "G": flops or "not printed"},
            }
        )
    columns: dict[str, Callable[[dict], str]] = {
        name.upper(): lambda row, name=name: "x" if COMBINATIONS[row["variant"]][name] else "" for name in MODULES
    }
    for header, cell in table.columns.items():
        if header != "variant":
            columns[header] = cell
        if header == "parameters":
            columns["paper, M"] = lambda row: row["paper"]["M"]
        if header == "GMACs":
            columns["paper, G"] = lambda row: row["paper"]["G"]
    words = tuple(name.upper() for name in MODULES)
    return dataclasses.replace(table, rows=rows, columns=columns, words=words, notes=[*table.notes, NOTE])
