"""The held-out units of all runs in one table: whose images were right, for a bootstrap."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.files import read_json

COLUMNS = ["unit", "examples", "right"]


def collect_units(folders: Sequence[str | Path], run: Sequence[str]) -> pd.DataFrame:
    """A row a run and unit: the columns ``run`` of its run.json, then COLUMNS; all text.

    ``right`` is the mean over the last five evaluations. Raises InputError for an absent file or
    other columns.
    """
    tables = []
    for folder in sorted({Path(folder) for folder in folders}):
        path, about = folder / "units.csv", read_json(folder / "run.json")
        try:
            table = pd.read_csv(path, dtype=str)
        except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise InputError(f"{path}: not a CSV file ({error}); train the run again") from None
        if list(table.columns) != COLUMNS:
            raise InputError(
                f"{path}: found columns {','.join(table.columns)}, expected {','.join(COLUMNS)}"
            )
        for place, name in enumerate(run):
            table.insert(place, name, str(about[name]))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
