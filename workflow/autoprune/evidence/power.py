"""How many seeds each question of a finished study needs for a stated half-width, and their cost.

Stop by precision: choose the half-width first, run the seeds that it takes, and read the verdicts
then. Seeds that are added because a verdict is near find differences that are not there.

A true difference of one half-width is found in about half of such studies, of 1.5 half-widths in
about nine of ten (tests/evidence/test_error_rate.py). What held-out images leave uncertain, the
margin, no seed makes smaller.
"""

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml
from tabulate import tabulate

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import write_text
from autoprune.core.labels import arm_label, decimal
from autoprune.evidence.family import Study, design, of_pair, studies
from autoprune.evidence.inference import Contrast, Sample, projected, simultaneous
from autoprune.evidence.questions import QUESTIONS, asked, data_label, sizes
from autoprune.evidence.readings import ROUNDS, TRAINING, Arm
from autoprune.evidence.statistics import final_figures
from autoprune.measure.metrics import read_metrics

MOST = 1000  # seeds beyond which no study will go
HOUR = 3600


class Need(NamedTuple):
    """One question of one pair: its precision now and what a better one takes.

    ``half_width`` is the wider of both readings, None where there is no interval yet; ``seeds``
    and ``needed`` count the seeds of each arm, None where more than MOST are.
    """

    data: str
    question: str
    arms: tuple[Arm, Arm]
    dataset: str
    model: str
    half_width: float | None
    seeds: int
    needed: int | None
    margin: float | None


def needed(
    samples: Sequence[Sample], contrasts: Sequence[Contrast], target: float
) -> list[int | None]:
    """The fewest seeds at which each contrast's half-width is at most ``target``; None beyond MOST.

    Half-widths fall with the seeds, so that halving the range finds it.
    """
    known: dict[int, list[float | None]] = {}

    def width(seeds: int, place: int) -> float:
        if seeds not in known:
            known[seeds] = projected(samples, contrasts, seeds)
        found = known[seeds][place]
        return math.inf if found is None else found

    counts: list[int | None] = []
    for place in range(len(contrasts)):
        low, high = 1, 2  # one seed has no interval
        while high <= MOST and width(high, place) > target:
            low, high = high, 2 * high
        while high <= MOST and high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if width(middle, place) <= target else (middle, high)
        counts.append(high if high <= MOST else None)
    return counts


def needs(
    of_pairs: Iterable[Study], values: pd.DataFrame, target: float, size_target: float
) -> list[Need]:
    """A row for each question, pair and variant that has both arms.

    ``target`` in accuracy points, at equal rounds and at equal training rounds; ``size_target``
    in percentage points of parameters.
    """
    rows = []
    for study in of_pairs:
        readings = [_precision(study, reading, target) for reading in (ROUNDS, TRAINING)]
        for question in QUESTIONS:
            variants = asked(question, study)
            if question.figure == "accuracy":
                for variant in variants:
                    sides = question.sides(variant)
                    found = [_of(study, sides, reading) for reading in readings]
                    if all(found):
                        rows.append(_need(study, question.claim, sides, found, study.margin))
                continue
            samples, contrasts = sizes(question, variants, of_pair(values, study.pair))
            now = [one.half_width for one in simultaneous(samples, contrasts)]
            counts = needed(samples, contrasts, size_target)
            for variant, one in zip(variants, zip(now, counts, strict=True), strict=False):
                rows.append(_need(study, question.claim, question.sides(variant), [one], None))
    return rows


Precision = tuple[float | None, int | None]  # half-width now, seeds needed


def _precision(study: Study, reading: str, target: float) -> dict[frozenset[Arm], Precision]:
    """Of each comparison of a pair."""
    plan = design([study], reading)
    now = simultaneous(plan.samples, plan.contrasts)
    counts = needed(plan.samples, plan.contrasts, target)
    return {
        frozenset(comparison): (one.half_width, count)
        for comparison, one, count in zip(plan.comparisons, now, counts, strict=True)
    }


def _of(
    study: Study, sides: tuple[Arm, Arm], found: dict[frozenset[Arm], Precision]
) -> Precision | None:
    """The precision of a question; None where both sides are the same runs."""
    return found.get(frozenset(study.stands_for[arm] for arm in sides))


def _need(
    study: Study,
    claim: str,
    sides: tuple[Arm, Arm],
    found: Sequence[Precision | None],
    margin: float | None,
) -> Need:
    """The wider half-width and the larger number of seeds of the readings."""
    known = [one for one in found if one is not None]
    widths, counts = zip(*known, strict=True)
    half = None if None in widths else max(widths)
    count = None if half is None or None in counts else max(counts)
    seeds = min(len(study.arms[study.stands_for[arm]]) for arm in sides)
    dataset, _, model = study.pair
    data = data_label(study.pair)
    return Need(data, claim, sides, dataset, model, half, seeds, count, margin)


def cost(folder: Path, dataset: str, model: str, arm: Arm) -> float | None:
    """CPU seconds of a run of an arm: the mean over its benchmarks; None where there are none.

    Where a benchmark has no CPU time, as of a job too short for one, it is the wall time.
    """
    times = []
    for path in sorted(folder.joinpath("runs", dataset, model, *arm).glob("seed-*.tsv")):
        try:
            row = pd.read_csv(path, sep="\t").iloc[0]
            cpu = pd.to_numeric(row.get("cpu_time"), errors="coerce")
            times.append(float(cpu) if cpu is not None and cpu > 0 else float(row["s"]))
        except (KeyError, IndexError, ValueError, pd.errors.ParserError) as error:
            raise InputError(f"{path}: no benchmark of Snakemake ({error}); remove it") from None
    return sum(times) / len(times) if times else None


def core_hours(
    folder: Path, arms: Iterable[tuple[str, str, Arm]], more: int | None
) -> float | None:
    """Core-hours of ``more`` seeds of each of ``arms``; None where one was never timed."""
    seconds = [cost(folder, *arm) for arm in arms]
    if more is None or any(one is None for one in seconds):
        return None
    return max(more, 0) * math.fsum(one for one in seconds if one is not None) / HOUR


def seeds_for(present: Iterable[int], number: int) -> list[int]:
    """So many seeds: those that have run, and the smallest ones that have not."""
    found = sorted(set(present))
    new = (seed for seed in range(number + len(found)) if seed not in set(found))
    return sorted([*found, *(next(new) for _ in range(number - len(found)))])


def overlay(seeds: Sequence[int], half_width: float) -> str:
    """The configuration that runs them."""
    text = yaml.safe_dump({"seeds": list(seeds)}, default_flow_style=None, width=90)
    return f"# as many seeds as half-widths of {half_width:g} points take, stated before\n{text}"


def as_text(rows: Sequence[Need], benchmarks: Path) -> str:
    """The needs as text."""
    lines = []
    for row in rows:
        more = None if row.needed is None else row.needed - row.seeds
        arms = [(row.dataset, row.model, arm) for arm in row.arms]
        hours = core_hours(benchmarks, arms, more)
        lines.append(
            [
                row.data,
                row.question,
                " − ".join(arm_label(*arm) for arm in row.arms),
                decimal(row.half_width),
                row.seeds,
                row.needed or ("–" if row.half_width is None else f"over {MOST}"),
                decimal(hours),
                decimal(row.margin),
            ]
        )
    headers = ["data", "question", "difference", "half-width now", "seeds", "needed"]
    headers += ["core-hours", "margin"]
    widths = [None, 34, 34, None, None, None, None, None]
    style = {"tablefmt": "simple", "maxcolwidths": widths, "disable_numparse": True}
    return tabulate(lines, headers=headers, **style)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="autoprune.power",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="of a finished study")
    parser.add_argument(
        "--benchmarks", type=Path, metavar="DIR", help="Snakemake's (default: within the results)"
    )
    parser.add_argument("--reference", default="reinit", help="variant of autoprune")
    parser.add_argument(
        "--half-width", type=float, default=3.0, metavar="POINTS", help="of accuracy (default: 3)"
    )
    parser.add_argument(
        "--size-half-width", type=float, default=5.0, metavar="POINTS",
        help="of the dense network's parameters (default: 5)",
    )  # fmt: skip
    parser.add_argument("--output", metavar="FILE", help="where the overlay goes (default: shown)")
    arguments = parser.parse_args(argv)
    for name in ("half_width", "size_half_width"):
        if not getattr(arguments, name) > 0:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag}: found {getattr(arguments, name)}, expected above 0 points")
    benchmarks = arguments.benchmarks or arguments.results / "benchmarks"
    path = arguments.results / "metrics.csv"
    metrics = read_metrics(path)
    values, _ = final_figures(metrics)
    of_pairs = studies(metrics, values, ("autoprune", arguments.reference))
    rows = needs(of_pairs.values(), values, arguments.half_width, arguments.size_half_width)
    if not rows:
        raise InputError(f"{path}: no question has both its arms; run autoprune beside dense")
    print(as_text(rows, benchmarks))
    print(_conclusion(rows, values, benchmarks, arguments))


def _conclusion(
    rows: Sequence[Need], values: pd.DataFrame, benchmarks: Path, arguments: argparse.Namespace
) -> str:
    """The overlay for all questions together, what it costs, and what none can reach."""
    reachable = [row.needed for row in rows if row.needed is not None]
    present = sorted(values["seed"].unique().tolist())
    out_of_reach = len(rows) - len(reachable)
    text = f"\n{out_of_reach} of {len(rows)} questions cannot be told, or take over {MOST} seeds."
    text = text if out_of_reach else ""
    number = max([len(present), *reachable])
    if number == len(present):
        return f"{text}\nThe seeds that have run, {len(present)}, are enough for the others."
    seeds = seeds_for(present, number)
    arms = values[["dataset", "model", "method", "variant"]].drop_duplicates()
    every = [(row.dataset, row.model, (row.method, row.variant)) for row in arms.itertuples()]
    hours = core_hours(benchmarks, every, number - len(present))
    cost_of_all = "unknown: no benchmark" if hours is None else f"{decimal(hours)} core-hours"
    said = overlay(seeds, arguments.half_width)
    if arguments.output:
        write_text(arguments.output, said)
        said = f"{arguments.output}: written; add it behind your own --configfile"
    every_arm = f"All questions: {number} seeds of every arm of the study, {cost_of_all}."
    return f"{text}\n{every_arm}\n\n{said}"


if __name__ == "__main__":
    run_main(main)
