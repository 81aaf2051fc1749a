"""Stage: the CSV of one table, from the files and settings that its module asks for.

The module defines INPUTS and OPTIONS as in autoprune.publish.items, each a flag here, and
``table()``, which takes them and returns the rows: ``metrics`` as a table, other files as paths.
"""

import argparse
import importlib
import inspect
from collections.abc import Sequence
from types import ModuleType

import pandas as pd

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import write_text
from autoprune.core.provenance import modules_with
from autoprune.core.tasks import ACCURACY, named, worded
from autoprune.evidence.ablated import add_ablation_flag
from autoprune.evidence.statistics import add_margin_flag
from autoprune.measure.table import read_metrics, score_in, to_csv


def add_flags(parser: argparse.ArgumentParser, module: ModuleType) -> None:
    """The flags of a table, required where its function has no default for them.

    Raises InputError for an option that there is not.
    """
    parameters = inspect.signature(module.table).parameters
    for name, pattern in module.INPUTS.items():
        flag, needed = f"--{name.replace('_', '-')}", parameters[name].default
        many = {"nargs": "*"} if "{" in pattern else {}
        required = needed is inspect.Parameter.empty
        parser.add_argument(flag, required=required, metavar="FILE", help=pattern, **many)
    for name in getattr(module, "OPTIONS", ()):
        if name == "margin":
            add_margin_flag(parser, "--margin")
        elif name == "ablation":
            add_ablation_flag(parser)
        elif name == "reference":
            parser.add_argument("--reference", metavar="VARIANT", help="variant of autoprune")
        else:
            raise InputError(
                f"{module.__name__}: OPTIONS: found {name!r}, expected reference, margin, ablation"
            )


def by_score(made: pd.DataFrame, score: str) -> pd.DataFrame:
    """A table of this score: its columns and sentences name it, and so does a column ``score``.

    Of accuracies it stays as it is, and so do those that notebooks print.
    """
    if score == ACCURACY:
        return made
    ours = made["source"] != "notebook" if "source" in made else pd.Series(True, made.index)
    told = made.where(
        ~ours, made.map(lambda cell: worded(cell, score) if isinstance(cell, str) else cell)
    )
    return told.rename(columns=lambda name: named(name, score)).assign(score=score)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``, and ``TABLE --help``."""
    known = modules_with("evidence", "table")
    parser = argparse.ArgumentParser(
        "autoprune.evidence.tabulate", description=__doc__, add_help=False
    )
    parser.add_argument("table", nargs="?", default="", help=f"one of {', '.join(known)}")
    name = parser.parse_known_args(argv)[0].table
    if name and name not in known:
        raise InputError(f"table: unknown {name!r}; known are {', '.join(known)}")
    if name:
        module = importlib.import_module(f"autoprune.evidence.{name}")
        add_flags(parser, module)
    parser.add_argument("--csv", required=True, help="output: raw numbers")
    parser.add_argument("-h", "--help", action="help", help="show this")
    arguments = vars(parser.parse_args(argv))
    if not name:
        raise InputError(f"table: none is named; known are {', '.join(known)}")
    output = arguments.pop("csv")
    given = {key: value for key, value in arguments.items() if key != "table" and value is not None}
    if "metrics" in given:
        given["metrics"] = read_metrics(given["metrics"])
    score = score_in(given["metrics"]) if "metrics" in given else ACCURACY
    if score != ACCURACY and "margin" in getattr(module, "OPTIONS", ()) and "margin" not in given:
        raise InputError("--margin: missing; of R² it does not follow from the number of images")
    made = module.table(**given)
    if not isinstance(made, pd.DataFrame):
        raise InputError(
            f"{module.__file__}: table() returned {type(made).__name__}, expected a DataFrame of "
            "pandas"
        )
    write_text(output, to_csv(by_score(made, made.attrs.get("score", score))))


if __name__ == "__main__":
    run_main(main)
