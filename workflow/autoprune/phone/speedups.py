"""Speed-ups on phones: dense latency over own latency, repeat by repeat within one session."""

from typing import NamedTuple

import pandas as pd

NETWORK = ["dataset", "model", "seed"]
OWN = ["data_kind", "stands_for", "method", "run_variant", "round_widths_to"]
# in all of these a run and its dense twin must agree
SETTING = [
    *("session_id", "manufacturer", "phone", "soc", "android_release", "clocks"),
    *("tool", "tool_version", "format", "precision", "delegate", "threads", "cpu_mask"),
    "statistic",
]
ANDROID = ", Android "
ENOUGH = 2  # repeats: one has no range, so it settles nothing


class Range(NamedTuple):
    """The median over repeats, and their least and largest."""

    n: int
    median: float
    low: float
    high: float

    @property
    def resolved(self) -> bool:
        """Whether all repeats are on one side of 1; a single repeat does not tell."""
        return self.n >= ENOUGH and not self.low <= 1 <= self.high


def range_of(ratios: pd.Series) -> Range:
    """The range of one or more values over repeats."""
    return Range(len(ratios), ratios.median(), ratios.min(), ratios.max())


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """The runs of this study's networks that count, with ``latency_ms``: median, or mean where
    ``statistic`` says so."""
    kept = table[(table["status"] == "used") & (table["network"] == "study")]
    return kept.assign(latency_ms=latency(kept))


def latency(table: pd.DataFrame) -> pd.Series:
    """The time that stands for each run, in ms."""
    return table["median_ms"].where(table["statistic"] == "median", table["mean_ms"])


def repeats(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each run whose dense twin ran in the same session, setting and repeat.

    ``table`` is that of autoprune.phone.import_latency; ``ratio`` is the twin's time over its own,
    ``macs_dense`` the twin's MACs, ``proven`` says whether logs back both: an accelerator of which
    nobody knows how many nodes it took may have taken none.
    """
    runs = usable(table)
    dense = (runs["method"] == "dense") & (runs["run_variant"] == "fedavg")
    on = [*SETTING, *NETWORK, "repeat"]
    runs["backed"] = (runs["evidence"] == "log") & ~runs["flags"].str.contains("nodes_unknown")
    twins = runs[dense][[*on, "latency_ms", "macs", "backed"]]
    pairs = runs[runs["method"] != "dense"].merge(twins, on=on, suffixes=("", "_dense"))
    proven = pairs["backed"] & pairs["backed_dense"]
    return pairs.assign(ratio=pairs["latency_ms_dense"] / pairs["latency_ms"], proven=proven)


def device_label(runs: pd.DataFrame) -> str:
    """The phone of some runs of one session, in words."""
    row = runs.iloc[0]
    soc = f" ({row['soc']})" if row["soc"] else ""
    return f"{row['manufacturer']} {row['phone']}{soc}{ANDROID}{row['android_release'] or '?'}"


def phone_of(label: str) -> str:
    """The phone of a ``device_label``, the same whatever its Android."""
    return label.rpartition(ANDROID)[0]


def setting_label(runs: pd.DataFrame) -> str:
    """How some runs of one setting were measured, in words."""
    row = runs.iloc[0]
    threads = int(row["threads"])
    core = f" on CPU mask {row['cpu_mask']}" if row["cpu_mask"] else ", no CPU mask"
    clocks = "" if row["clocks"] == "shipped" else ", fixed clocks"
    return (
        f"{row['tool']} {row['tool_version']}, {row['format']}, {row['precision']}, "
        f"{row['delegate']}, {threads} thread{'s' if threads > 1 else ''}{core}{clocks}"
    )


def left_out(table: pd.DataFrame) -> str:
    """A word on the runs that do not count, by session; empty where all do."""
    notes = []
    for session, runs in table.groupby("session_id"):
        words = {
            "failed": (runs["status"] == "failed").sum(),
            "left out as too warm in the end": (runs["status"] == "hot").sum(),
            "of another network": (runs["network"] == "another").sum(),
            "without logs": (runs["evidence"] == "table").sum(),
        }
        said = [f"{number} {word}" for word, number in words.items() if number]
        if said:
            notes.append(f"{session}: of {len(runs)} runs {', '.join(said)}")
    return "; ".join(notes)
