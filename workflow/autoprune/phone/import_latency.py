"""Stage: the phone sessions that were handed in, as one table, each run beside its network."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from autoprune.core.errors import run_main
from autoprune.core.files import write_together
from autoprune.measure.table import to_csv
from autoprune.phone.exported import Model, read_models
from autoprune.phone.rows import Row
from autoprune.phone.session import Session, read_sessions
from autoprune.phone.table import FACTS, NETWORK, TABLE

# where the columns FACTS stand in session.json
PLACES = (
    ("kind",),
    ("device", "manufacturer"),
    ("device", "model"),
    ("device", "soc"),
    ("device", "android_release"),
    ("protocol", "clocks"),
)


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
    for column, path in zip(FACTS, PLACES, strict=True):
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


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(prog="autoprune.phone.import_latency", description=__doc__)
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
