"""What a study will take, before anything runs: hours, memory, disk, bytes sent.

A client's round and an evaluation are timed here, on random images of the data's size, in as many
processes at once as cores are asked for: cores that share memory are slower than one alone. How
far networks shrink is taken from what the rule does to random ones (``measure.nulls``). Only
training is counted; tables and figures take minutes.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import cpu_count
from typing import Any, NamedTuple

import numpy as np

from autoprune import methods
from autoprune.core.errors import InputError
from autoprune.core.files import read_json
from autoprune.core.refusal import unknown
from autoprune.data.prepare import sources
from autoprune.data.prepare.images import Expected
from autoprune.federation.live import SAMPLE
from autoprune.measure.nulls import searches
from autoprune.models import Architecture, base_of, new_network
from autoprune.models.state import flat
from autoprune.study.gpus import device_of
from autoprune.study.grid import Run, place, read_config, runs_of, told
from autoprune.study.speed import DECIDING, Asked, Speed, measure, start, traffic

DRAWS = 30  # null searches whose mean widths stand for a search
SMALL_AT_ONCE = ("narrow", "found-widths")  # from the first round as small as a search leaves it
SEARCHING = ("autoprune", "null-norms", "random-filters")
ANEW = ("reinit", "rewind")  # variants of autoprune whose weights are set anew
ROW, RUN_FILES = 220, 20_000  # bytes: a round of history.csv; a run's small files and plan
METRIC, METRICS = 190, 14  # bytes of a row of metrics.csv, rows a round


class Phase(NamedTuple):
    """So many rounds of a run in which its network is about this large."""

    rounds: float
    architecture: Architecture


@dataclass
class Pair:
    """What the runs of a data set and network take together."""

    runs: int = 0
    seconds: float = 0.0  # of one core
    longest: float = 0.0  # of one run
    sent: float = 0.0  # bytes, to the clients and back
    written: float = 0.0  # bytes on disk


def expected(config: Mapping[str, Any], dataset: str) -> Expected:
    """A data set's size: of its prepared store, or what its source says of these options.

    Raises InputError where neither is there.
    """
    of = config["datasets"][dataset]
    header = place(config, "results") / f"data/{dataset}/store/header.json"
    known: Expected | None
    if header.exists():
        found = read_json(header)
        samples = found["samples"]
        classes = {target["name"]: len(target["classes"]) for target in found["targets"]}
        held_out = samples["validation"] + samples["test"]
        shape, number = tuple(found["shape"]), len(found["clients"])
        target = of["target"] if isinstance(of["target"], str) else of["target"][0]
        known = Expected(number, samples["train"], held_out, shape, classes[target])
    else:
        source = sources.load(of["source"])
        say = getattr(source, "expected", None)
        known = say(sources.check_options(of["source"], of["options"])) if say else None
        if known is None:
            raise InputError(
                f"datasets.{dataset}: how large the data of source {of['source']} are is known "
                f"when they are prepared: run `snakemake {header}` first"
            )
        side = of.get("preprocessing", {}).get("resize")
        if side:
            known = known._replace(shape=(side, side, known.shape[2]))
    if (
        of.get("task", "multi-class") != "multi-class"
    ):  # a number, or one for each of several targets
        known = known._replace(classes=1 if isinstance(of["target"], str) else len(of["target"]))
    clients = of["partition"].get("clients")
    return known._replace(clients=clients) if clients else known


def phases(settings: Mapping[str, Any], rule: Mapping[str, Any], base: Architecture) -> list[Phase]:
    """How large a run's network is, and for how many rounds; ``rule``: k, patience, cap.

    The two nulls are searches on networks that learn nothing. Of the three real data sets under
    docs/findings, searches that begin anew ended midway between them, and where weights are kept
    midway between the network of the start and the null that keeps its own. Methods that prune
    trained networks begin at a round that nobody knows before: they count half as dense. A network
    under masks computes all of its numbers.
    """
    rounds, method, like = settings["rounds"], settings["method"], settings["like"]
    if method == "dense" or methods.load(method).encoding != "dense":
        return [Phase(rounds, base)]
    if rule.get("k") is None:  # a target: at most as much as dense
        return [Phase(rounds, base)]
    how = rule["k"], rule["patience"], rule["cap"]
    fresh, kept = (
        searches(base, null, DRAWS, settings["seed"], *how) for null in ("fresh", "kept")
    )

    def midway(one: np.ndarray, other: np.ndarray) -> Architecture:
        return base.with_widths([max(1, round(width)) for width in (one + other) / 2])

    of_fresh, of_kept, start = fresh[0].mean(0), kept[0].mean(0), np.array(base.widths)
    small, larger = midway(of_fresh, of_kept), midway(start, of_kept)
    if method in SMALL_AT_ONCE:
        return [Phase(rounds, small)]
    if method not in SEARCHING:
        return [Phase(rounds / 2, base), Phase(rounds / 2, small)]
    end = small if method == "autoprune" and like.startswith(ANEW) else larger
    search = min(rounds, float(kept[1].mean()))
    return [Phase(search, midway(start, np.array(end.widths))), Phase(rounds - search, end)]


class Planned(NamedTuple):
    """A run with what decides its cost."""

    run: Run
    settings: Mapping[str, Any]
    data: Expected
    phases: list[Phase]

    def asked(self, phase: Phase) -> Asked:
        """What is to be timed for a phase."""
        how = tuple((name, self.settings[name]) for name in DECIDING)
        return phase.architecture, how, max(1, round(self.data.train / self.data.clients))


def plan(config: Mapping[str, Any]) -> list[Planned]:
    """Every run of a configuration; raises InputError where a data set's size is not known."""
    data = {
        config["pairs"][pair]["dataset"]: expected(config, config["pairs"][pair]["dataset"])
        for pair in config["study"]
    }
    found = []
    for run in runs_of(config):
        settings, of = told(config, run), data[run.dataset]
        height, width, channels = of.shape
        family = settings.get("network") or run.model
        base = base_of(family, settings["widths"], (channels, height, width), of.classes)
        rule = config["pairs"][run.pair]["autoprune"]
        if run.method == "autoprune":
            rule = {name: settings.get(name, rule.get(name)) for name in ("k", "patience", "cap")}
            rule["k"] = settings.get("k")
        found.append(Planned(run, settings, of, phases(settings, rule, base)))
    return found


def totals(
    planned: Sequence[Planned], speeds: Mapping[Asked, Speed], begin: float = 0
) -> dict[str, Pair]:
    """What the runs of each pair take, in the study's order; ``begin``: seconds to start one."""
    found: dict[str, Pair] = {}
    for one in planned:
        own, settings = found.setdefault(one.run.pair, Pair()), one.settings
        cohort = min(settings["clients_per_round"], one.data.clients)
        own.runs += 1
        seconds = begin
        for phase in one.phases:
            speed = speeds[one.asked(phase)]
            evaluations = phase.rounds / settings["evaluate_every"] + 1 / len(one.phases)
            refreshed = settings["batch_norm"] == "refreshed"
            plain, more = traffic(phase.architecture, refreshed)
            looks = one.data.held_out + min(SAMPLE, one.data.train)  # and which filters live
            looks += one.asked(phase)[2] * cohort if more else 0
            seconds += phase.rounds * cohort * speed.visit + evaluations * looks * speed.image
            own.sent += cohort * (phase.rounds * plain + evaluations * more)
        numbers = flat(new_network(one.phases[-1].architecture, 0).state_dict()).numel()
        own.written += 4 * numbers + RUN_FILES + settings["rounds"] * (ROW + METRIC * METRICS)
        own.seconds, own.longest = own.seconds + seconds, max(own.longest, seconds)
    return found


def stored(data: Expected) -> float:
    """Bytes of a prepared store: images, labels, clients, splits."""
    return (data.train + data.held_out) * (math.prod(data.shape) + 8)


def report(
    pairs: Mapping[str, Pair], data: Mapping[str, Expected], memory: float, cores: int, there: int
) -> list[str]:
    """The estimate as lines of text."""
    lines = [f"{'':24}{'runs':>6}{'one core':>12}{'longest run':>13}{'GB sent':>9}"]
    for name, own in pairs.items():
        lines.append(
            f"{name:24}{own.runs:6}{_duration(own.seconds):>12}{_duration(own.longest):>13}"
            f"{own.sent / 1e9:9.2f}"
        )
    seconds = sum(own.seconds for own in pairs.values())
    longest = max(own.longest for own in pairs.values())
    runs = sum(own.runs for own in pairs.values())
    disk = sum(map(stored, data.values())) + sum(own.written for own in pairs.values())
    largest = max(map(stored, data.values()))
    at_once = min(cores, runs) * memory + largest  # the images are mapped, and all runs share them
    # a method waits for the search that it follows, and that for nothing: two runs in a row
    wall = max(seconds / cores, 2 * longest if runs > len(pairs) else longest)
    lines += [
        f"{'all':24}{runs:6}{_duration(seconds):>12}{_duration(longest):>13}"
        f"{sum(own.sent for own in pairs.values()) / 1e9:9.2f}",
        f"on {cores} core{'s' * (cores > 1)}: {_duration(wall)} of training, "
        "tables and figures besides",
        f"memory: {memory / 1e6:,.0f} MB a run and the images, {at_once / 1e9:.1f} GB at once",
        f"disk: {disk / 1e9:.2f} GB, downloads and exports besides",
    ]
    if cores > there:
        lines.append(f"timed on the {there} cores of this machine, each as fast as with all busy")
    return lines


def _duration(seconds: float) -> str:
    """Hours and minutes, or minutes, or seconds."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def main(argv: Sequence[str] | None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="autoprune.estimate", description=__doc__)
    parser.add_argument("--configfile", nargs="*", default=[], help="as for snakemake")
    parser.add_argument("--cores", type=int, default=cpu_count() or 1, help="as for snakemake")
    parser.add_argument("--pair", help="this one alone, as DATASET-MODEL")
    args = parser.parse_args(argv)
    if args.cores < 1:
        raise InputError(f"--cores: found {args.cores}, expected at least 1")
    config = read_config(args.configfile)
    if args.pair and args.pair not in config["study"]:
        raise InputError(f"--pair: {unknown('pair', args.pair, config['study'])}")
    if args.pair:
        config["study"] = [args.pair]
    planned = plan(config)
    asked: dict[str, list[Asked]] = {one.run.pair: [] for one in planned}
    pair_of = {one.asked(phase): one.run.pair for one in planned for phase in one.phases}
    for network, pair in pair_of.items():
        asked[pair].append(network)
    there = cpu_count() or 1
    speeds, memory = measure(asked, min(args.cores, there))
    data = {one.run.dataset: one.data for one in planned}
    print("\n".join(report(totals(planned, speeds, start()), data, memory, args.cores, there)))
    if any(device_of(config, one.run) != "cpu" for one in planned):
        print("runs that are told a GPU are timed as if they had none; benchmarks/gpu.py times one")
