"""Measure the parts, and report: a CSV, a Markdown table and a bar plot of the ratios."""

import csv
import io
import math
import os
import statistics
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from bench_parts import CannotRun, Pair, Part, Row
from bench_work import say
from tabulate import tabulate

from autoprune.core.files import write_text
from autoprune.core.provenance import versions
from autoprune.publish.plotting import save, use_theme

HEADER = (
    *("name", "A", "B", "unit", "median_A", "median_B"),
    *("ratio_median", "ratio_min", "ratio_max", "goal", "met"),
)
WORK = ("gflops_A", "gflops_B", "peak", "note")  # of a benchmark that knows what its rows compute
FAILED = "failed: "  # how a trouble begins that is an error; what cannot run is none


@dataclass(frozen=True)
class Result:
    """A row and what was measured of it; ``trouble`` says why there is nothing or not all."""

    row: Row
    pairs: list[Pair]
    trouble: str = ""

    @property
    def ratios(self) -> list[float]:
        """Of each pair that has a B."""
        return [self.row.ratio(a, b) for a, b in self.pairs if b is not None]

    @property
    def median_a(self) -> float | None:
        """The median of A."""
        return statistics.median([a for a, _ in self.pairs]) if self.pairs else None

    @property
    def goal(self) -> str:
        """The goal in words."""
        row = self.row
        if row.goal is None:
            return ""
        return f"A <= {row.goal:g} {row.unit}" if row.on_a else f"ratio >= {row.goal:g}"

    @property
    def met(self) -> str:
        """yes, no, the trouble, or nothing where there is no goal."""
        if self.trouble:
            return self.trouble
        if self.row.goal is None or self.median_a is None:
            return ""
        if self.row.on_a:
            return "yes" if self.median_a <= self.row.goal else "no"
        return "yes" if statistics.median(self.ratios) >= self.row.goal else "no"

    def cells(self) -> list[str]:
        """The values of HEADER."""
        row, ratios = self.row, self.ratios
        b = [value for _, value in self.pairs if value is not None]
        numbers: list[float | None] = [self.median_a, statistics.median(b) if b else None]
        numbers += [f(ratios) if ratios else None for f in (statistics.median, min, max)]
        shown = ["" if number is None else f"{number:.4g}" for number in numbers]
        return [row.name, row.a, row.b, row.unit, *shown, self.goal, self.met]

    def work(self, peak: float | None, note: str) -> list[str]:
        """The values of WORK: a core's GFLOP a second at the medians, and the most it can do."""
        b = [value for _, value in self.pairs if value is not None]
        medians = [self.median_a, statistics.median(b) if b else None]
        rates = [None if m is None else self.row.gflops(m) for m in medians]
        known = peak is not None and rates[0] is not None
        shown = ["" if rate is None else f"{rate:.3g}" for rate in rates]
        return [*shown, f"{peak:.3g}" if known else "", note]


def measured(part: Part, repeats: int) -> list[Result]:
    """A part's results; a failure is one too, and is told with its traceback."""
    pairs: dict[str, list[Pair]] = {row.name: [] for row in part.rows}
    troubles: dict[str, str] = {}
    started = time.perf_counter()
    try:
        with part.open() as measure:
            for repeat in range(repeats):
                for name, pair in measure().items():
                    told = f"  {repeat + 1}/{repeats} {name}:"
                    if isinstance(pair, str):
                        troubles[name] = pair
                        say(f"{told} {pair}")
                        continue
                    pairs[name].append(pair)
                    b = "" if pair[1] is None else f"  B {pair[1]:.4g}"
                    say(f"{told} A {pair[0]:.4g}{b}")
    except CannotRun as reason:
        troubles = dict.fromkeys(pairs, f"cannot run: {reason}")
        say(f"  cannot run: {reason}")
    except Exception as error:  # the other parts can still be measured; the exit status tells
        last = (str(error).splitlines() or [type(error).__name__])[-1]
        troubles = dict.fromkeys(pairs, f"{FAILED}{last}")
        say(traceback.format_exc())
    say(f"  {time.perf_counter() - started:.0f} s")
    return [Result(row, pairs[row.name], troubles.get(row.name, "")) for row in part.rows]


def write_report(
    output: str,
    results: list[Result],
    repeats: int,
    smoke: bool,
    peak: float | None,
    notes: Mapping[str, str],
) -> None:
    """``output``.csv, .md, .svg and .png.

    ``peak`` is a core's GFLOP a second in a product of matrices, in the same run.
    """
    table = [r.cells() + r.work(peak, notes.get(r.row.name, "")) for r in results]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([HEADER + WORK, *table])
    write_text(f"{output}.csv", stream.getvalue())
    of_peak = f", of {peak:.3g} in a product of 1024x1024 matrices in this run" if peak else ""
    lines = [
        "# Benchmark of the federation",
        "",
        *(["A smoke run: the numbers mean nothing.", ""] if smoke else []),
        f"{where()}. {repeats} interleaved passes over A and B; the ratio is how many times better "
        "A is, the median of the passes with their least and most.",
        "",
        f"GFLOP/s are of one core{of_peak}. They are nominal: a step counts as three forward "
        "passes of 2 FLOP a multiply-add, whether or not a side computes all of them; compiled "
        "gradients leave out what is zero. Networks are trained on the images they are measured "
        "with; what is active is the share of places above 0 behind a pool.",
        "",
        "In peers/ A and B run the same rounds from the same weights. A round ends when the "
        "cohort's weights are back; pfl, which sums them in its processes, has summed them then. "
        "BlazeFL's threads share one interpreter and its lock; it advises a Python without.",
        "",
        tabulate(table, HEADER + WORK, tablefmt="github", disable_numparse=True),
    ]
    write_text(f"{output}.md", "\n".join(lines) + "\n")
    draw(output, [result for result in results if result.ratios])


def where() -> str:
    """The machine and the versions that the numbers belong to."""
    found = versions()
    cores = len(os.sched_getaffinity(0))
    return f"{found['cpu']}, {cores} cores, torch {found['torch']}, flwr {found['flwr']}"


def draw(output: str, results: list[Result]) -> None:
    """Bars of the median ratios, a line from the least to the most, and a mark at each goal."""
    if not results:
        return
    use_theme()
    figure, ax = plt.subplots(figsize=(8, 1.2 + 0.35 * len(results)), layout="constrained")
    for place, result in enumerate(results):
        ratios = result.ratios
        middle = statistics.median(ratios)
        span = [[middle - min(ratios)], [max(ratios) - middle]]
        ax.barh(place, middle - 1, left=1, height=0.6, color="C0")
        ax.errorbar(middle, place, xerr=span, color="0.2", capsize=2, linewidth=1)
        text = f"{middle:.2f}" if middle < 10 else f"{middle:.0f}"
        ax.text(1.01, place, text, transform=ax.get_yaxis_transform(), va="center")
        if result.row.goal is not None and not result.row.on_a:
            goal = result.row.goal
            ax.vlines(goal, place - 0.4, place + 0.4, color="C3", linewidth=2)
    ax.plot([], [], color="C3", linewidth=2, label="goal")
    ax.axvline(1, color="0.4", linewidth=1)
    ax.set_xscale("log", base=2)
    ends = [1.0]
    for result in results:
        ends += result.ratios
        if result.row.goal is not None and not result.row.on_a:
            ends.append(result.row.goal)
    low, high = math.floor(math.log2(min(ends))), math.ceil(math.log2(max(*ends, 2)))
    ax.set_xlim(2.0 ** (low - 0.2), 2.0 ** (high + 0.2))
    ax.set_xticks([2.0**n for n in range(low, high + 1)])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_yticks(range(len(results)), [result.row.name for result in results])
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("times better than B (log scale)")
    ax.legend(loc="lower right")
    save(figure, f"{output}.svg", f"{output}.png")


def write_profile(output: str, found: dict[str, Any]) -> None:
    """``output``_profile.md from what ``Bench.profile`` gives."""
    rows = [
        [name, calls, f"{ms:.1f}", f"{share:.1f} %"] for name, calls, ms, share in found["rows"]
    ]
    header = ("operator", "calls", "self CPU time (ms)", "share")
    lines = [
        "# Where a client's time goes",
        "",
        f"{where()}. {found['steps']} steps of the dense 28x28 client in fp32 on one core, "
        f"{found['milliseconds']:.1f} ms of self CPU time with the profiler on; "
        f"the {len(rows)} operators with the most.",
        "",
        tabulate(rows, header, tablefmt="github", disable_numparse=True),
    ]
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    write_text(f"{output}_profile.md", "\n".join(lines) + "\n")
