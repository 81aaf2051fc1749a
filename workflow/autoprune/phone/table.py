"""The table of phone runs that ``import_latency`` writes: its columns, and how to read it."""

from typing import IO

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.phone.rows import COLUMNS

FACTS = ("kind", "manufacturer", "phone", "soc", "android_release", "clocks")
NETWORK = (
    *("dataset", "data_kind", "stands_for", "model", "method", "run_variant", "seed"),
    *("widths", "round_widths_to", "parameters", "macs", "test_accuracy", "manifest"),
)
# status is used, hot (too warm in the end to count) or failed; network is study or another
JOINED = ("source_file", *FACTS, "status", "network", "evidence", "statistic", "flags", *NETWORK)
TABLE = [*COLUMNS, *JOINED]


def read_table(path: str | IO[str]) -> pd.DataFrame:
    """The table as this stage writes it; raises InputError for another file."""
    numbers = [name for name in TABLE if name.endswith(("_ms", "_c_start", "_c_end"))]
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(
            f"{path}: not a table ({error}); run autoprune.phone.import_latency"
        ) from None
    if list(table.columns) != TABLE:
        raise InputError(f"{path}: not the columns of autoprune.phone.import_latency; run it again")
    for name in [*numbers, "macs", "test_accuracy", "threads", "repeat", "runs"]:
        table[name] = pd.to_numeric(table[name])
    return table
