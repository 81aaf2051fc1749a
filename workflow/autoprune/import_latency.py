"""Stage: the phone sessions that were handed in, as one table, each run beside its network."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd

from autoprune.android.columns import COLUMNS
from autoprune.android.exported import Model, read_models
from autoprune.android.rows import Row
from autoprune.android.session import Session, read_sessions
from autoprune.errors import InputError, run_main
from autoprune.style import to_csv, write_together

# of session.json: column, then where it stands there
FACTS = {
    "kind": ("kind",),
    "manufacturer": ("device", "manufacturer"),
    "phone": ("device", "model"),
    "soc": ("device", "soc"),
    "android_release": ("device", "android_release"),
    "clocks": ("protocol", "clocks"),
}
NETWORK = (
    *("dataset", "data_kind", "stands_for", "model", "method", "run_variant", "seed"),
    *("widths", "round_widths_to", "parameters", "macs", "test_accuracy", "manifest"),
)
# status is used, hot (too warm in the end to count) or failed; network is study or another
JOINED = ("source_file", *FACTS, "status", "network", "evidence", "statistic", "flags", *NETWORK)
TABLE = [*COLUMNS, *JOINED]


def row_of(session: Session, row: Row, model: Model | None) -> dict[str, Any]:
    """A run with what its session and its network say of it."""
    network = {key: (model or {}).get(key) for key in NETWORK}
    if model is not None:
        network["widths"] = " ".join(map(str, model["widths"]))
    return {
        **row.cells,
        "started_at": row["started_at"].isoformat(),
        **about(session),
        "status": "hot" if (row["thermal_status_end"] or 0) > 0 else "used",
        "network": "another" if model is None else "study",
        "evidence": "table" if row["raw_log"] is None else "log",
        "statistic": row.statistic,
        "flags": " ".join(row.flags),
        **network,
    }


def about(session: Session) -> dict[str, Any]:
    """What a session says of all its runs."""
    found: dict[str, Any] = {"source_file": str(session.folder / "runs.csv")}
    for column, path in FACTS.items():
        value: Any = session.facts
        for key in path:
            value = value[key]
        found[column] = value
    return found


def table_of(sessions: Sequence[Session]) -> pd.DataFrame:
    """A row for each run of all sessions, failed ones too; no row for no session."""
    rows = []
    for session in sessions:
        rows += [
            row_of(session, row, model)
            for row, model in zip(session.rows, session.models, strict=True)
        ]
        names = {"session_id": session.facts["session_id"], "status": "failed"}
        rows += [{**about(session), **names, "flags": reason} for reason in session.failed]
    # whole numbers stay whole beside empty cells
    return pd.DataFrame(rows, columns=TABLE, dtype=object)


def read_table(path: str | IO[str]) -> pd.DataFrame:
    """The table as this stage writes it; raises InputError for another file."""
    numbers = [name for name in TABLE if name.endswith(("_ms", "_c_start", "_c_end"))]
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: not a table ({error}); run autoprune.import_latency") from None
    if list(table.columns) != TABLE:
        raise InputError(f"{path}: not the columns of autoprune.import_latency; run it again")
    for name in [*numbers, "macs", "test_accuracy", "threads", "repeat", "runs"]:
        table[name] = pd.to_numeric(table[name])
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(prog="autoprune.import_latency", description=__doc__)
    parser.add_argument("--sessions", nargs="*", type=Path, default=[], help="folders of sessions")
    parser.add_argument("--manifests", nargs="*", type=Path, default=[], help="of the exports")
    parser.add_argument("--output", required=True, help="CSV; a header alone for no session")
    args = parser.parse_args(argv)
    sessions = read_sessions(args.sessions, read_models(args.manifests))
    for session in sessions:
        for warning in session.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        others = sum(model is None for model in session.models)
        print(
            f"{session.folder}: {len(session.rows)} runs, {others} of another network, "
            f"{len(session.failed)} failed"
        )
    write_together({args.output: to_csv(table_of(sessions))})


if __name__ == "__main__":
    run_main(main)
