"""Measure how a round grows: with clients in the partition, with clients a round, with parameters.

Each point is a process of its own that trains rounds on one core. Writes OUTPUT.csv, OUTPUT.md,
OUTPUT.svg and OUTPUT.png; --page only writes what the committed CSV says into docs/scale.md.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT / "workflow"), str(HERE)]
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from bench_page import between  # noqa: E402
from bench_report import where  # noqa: E402
from scale import prepare, timed  # noqa: E402
from scipy.stats import linregress  # noqa: E402

from autoprune.core.files import write_text  # noqa: E402

LEAST = 10  # clients of a partition, and of most rounds
# of the CNN's two layers: 25 w² + 31 w + 4 parameters, about 10^4 to 10^7
WIDTHS = {
    "10^4": 20,
    "10^4.5": 36,
    "10^5": 63,
    "10^5.5": 112,
    "10^6": 200,
    "10^6.5": 356,
    "10^7": 632,
}
AXES = {
    "partition": "clients in the partition",
    "cohort": "clients a round",
    "parameters": "parameters",
}
VALUES = {"seconds": "seconds a round", "megabytes": "MB a round"}
FLOOR = 1.0  # MB: less cannot be told from what the allocator happens to hold
PAGE = ROOT / "docs/scale.md"
BEGIN = "<!-- made by: python benchmarks/growth.py --page -->"


class Point(NamedTuple):
    """What a process measures: along which axis, and the size of the round."""

    axis: str
    partition: int
    cohort: int
    width: int
    workers: int = 1


def points(quick: bool) -> list[Point]:
    """All sizes; a few of the smallest for a quick look."""
    partitions = (10, 30, 100) if quick else (10, 100, 1_000, 10_000, 100_000)
    cohorts = (3, 10, 30) if quick else (10, 30, 100, 300, 1_000)
    widths = list(WIDTHS.values())[: 3 if quick else None]
    found = [Point("partition", clients, LEAST, 20) for clients in partitions]
    for workers in (1, 2):
        found += [Point("cohort", max(cohorts), size, 63, workers) for size in cohorts]
    return found + [Point("parameters", 100, LEAST, width) for width in widths]


def data(clients: int, folder: Path) -> tuple[str, str]:
    """A store of so many clients, and its partition, made unless they are there."""
    store, partition = folder / f"store-{clients}", folder / f"partition-{clients}"
    if not partition.exists():
        prepare(clients, store)
        split = ["--target", "label", "--scheme", "natural", "--output", str(partition)]
        module = "autoprune.data.prepare.partition"
        timed([sys.executable, "-m", module, "--store", str(store), *split])
    return str(store), str(partition)


def measured(point: Point, folder: Path, quick: bool) -> dict[str, Any]:
    """A row of the table: see ``bench_growth.measure``."""
    store, partition = data(point.partition, folder)
    request = {
        "store": store, "partition": partition, "nothing": data(LEAST, folder),
        "cohort": point.cohort, "width": point.width, "workers": point.workers,
        "rounds": 1 if quick else 3, "seconds": 0 if quick else 1,
    }  # fmt: skip
    command = [sys.executable, str(HERE / "bench_growth.py"), json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{point}: exit code {done.returncode}\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "axis": point.axis,
        "workers": point.workers,
        "partition": point.partition,
        "cohort": point.cohort,
        "parameters": found["parameters"],
        "seconds": found["seconds"],
        "rounds": found["rounds"],
        "megabytes": max(FLOOR, found["MB"]),
        "megabytes_in_all": found["MB in all"],
    }


class Fit(NamedTuple):
    """A power law through the points of an axis: value = e^``start`` x^``exponent``."""

    exponent: float
    error: float  # standard error of the exponent
    start: float

    def words(self) -> str:
        """The exponent and its error, to the first digit of the error."""
        digits = max(1, -math.floor(math.log10(max(self.error, 1e-3))))
        return f"{self.exponent:.{digits}f} ± {self.error:.{digits}f}"


def lines(table: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """The rows of each axis and number of workers, ascending."""
    for axis in AXES:
        for workers, rows in table[table["axis"] == axis].groupby("workers"):
            yield axis, int(workers), rows.sort_values(axis)


def fit(rows: pd.DataFrame, axis: str, value: str) -> Fit:
    """Least squares of logarithms."""
    found = linregress(np.log(rows[axis]), np.log(rows[value]))
    # of values that are all the same, as of memory below FLOOR, SciPy's error is no number
    error = float(found.stderr) if rows[value].max() > rows[value].min() else 0.0
    return Fit(float(found.slope), error, float(found.intercept))


def draw(table: pd.DataFrame, output: str) -> None:
    """A panel for each axis and value, both logarithmic, with the power law and its exponent."""
    from autoprune.publish.plotting import COLOURS, MARKERS, panels, save, use_theme

    use_theme()
    figure, axes = panels(["" for _ in range(len(AXES) * len(VALUES))], columns=len(AXES))
    for place, ax in enumerate(axes):
        value, axis = list(VALUES)[place // len(AXES)], list(AXES)[place % len(AXES)]
        mine = [(w, rows) for own, w, rows in lines(table) if own == axis]
        for number, (workers, rows) in enumerate(mine):
            law, colour = fit(rows, axis, value), COLOURS[1 + number]
            who = f"{workers} worker{'s' if workers > 1 else ''}:" if len(mine) > 1 else "exponent"
            ax.plot(
                *(rows[axis], np.exp(law.start) * rows[axis] ** law.exponent),
                color=colour, label=f"{who} {law.words()}",
            )  # fmt: skip
            ax.plot(rows[axis], rows[value], MARKERS[number], color=colour, markersize=4)
        low, high = table[value].min(), table[value].max()
        ax.set(xscale="log", yscale="log", ylim=(low / 2, high * 8))
        ax.minorticks_off()
        ax.set_xlabel(AXES[axis] if place >= len(AXES) else "")
        ax.set_ylabel(VALUES[value] if axis == next(iter(AXES)) else "")
        ax.legend(loc="upper left", handlelength=1.2, borderaxespad=0.1, fontsize=7)
    save(figure, f"{output}.svg", f"{output}.png")


def shown(number: float) -> str:
    """A number for a table: two digits, none after the point from 10 on."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def summary(table: pd.DataFrame) -> str:
    """A row for each axis: from where to where, what that does to time and memory."""
    rows = []
    for axis, workers, points in lines(table):
        name = AXES[axis] + (f", {workers} workers" if workers > 1 else "")
        row = {"growing": name, "from, to": " to ".join(map(shown, points[axis].iloc[[0, -1]]))}
        for value, words in VALUES.items():
            row[words] = " to ".join(map(shown, points[value].iloc[[0, -1]]))
            row[f"exponent of {value}"] = fit(points, axis, value).words()
        rows.append(row)
    return str(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


HOW = (
    f"Rounds of {LEAST} clients, each with 4 images of 16x16 pixels, of a CNN of 10,000 "
    "parameters, where these do not grow; 100,000 parameters where the cohort grows. Memory is the "
    "most that the process has in a round, less what it has after a round of one client and a "
    f"network of next to nothing, and {FLOOR:g} MB at least; with workers it is the server's "
    "alone. Exponents are slopes of logarithms, with their standard errors."
)


def page(table: pd.DataFrame, text: str) -> str:
    """docs/scale.md with what this table says; raises ValueError for a page without the marks."""
    figure = "![Time and memory of a round against its size](../benchmarks/growth.svg)"
    return between(text, BEGIN, f"\n{summary(table)}\n\n{HOW}\n\n{figure}\n")


def main() -> None:
    """Measure all sizes and write the report, or the page alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--output", default=str(HERE / "growth"), help="start of the files' names")
    add("--quick", action="store_true", help="few and small: does it run? The numbers mean nothing")
    add("--page", action="store_true", help="write docs/scale.md from the CSV; measure nothing")
    args = parser.parse_args()
    if args.page:
        table = pd.read_csv(f"{args.output}.csv")
        write_text(PAGE, page(table, PAGE.read_text(encoding="utf-8")))
        return
    rows = []
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        for point in points(args.quick):
            rows.append(measured(point, Path(folder), args.quick))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    write_text(f"{args.output}.csv", table.to_csv(index=False, lineterminator="\n"))
    numbers = table.map(lambda cell: shown(cell) if isinstance(cell, float) else str(cell))
    whole = numbers.to_markdown(index=False, disable_numparse=True)
    quick = "A quick run: the numbers mean nothing.\n\n" if args.quick else ""
    text = f"# Growth of a round\n\n{quick}{where()}. {HOW}\n\n{summary(table)}\n\n{whole}\n"
    write_text(f"{args.output}.md", text)
    draw(table, args.output)


if __name__ == "__main__":
    main()
