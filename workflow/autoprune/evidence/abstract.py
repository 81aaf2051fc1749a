"""The claims of the abstract: ours beside them, judged at the paper's size, said for any other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.labels import dataset_label, decimal, label
from autoprune.evidence.family import Difference, Study, as_summary, averaged, between, of_pair
from autoprune.evidence.inference import ENOUGH, NOTHING, Estimate, Sample, simultaneous
from autoprune.evidence.readings import ROUNDS, TRAINING, Pair
from autoprune.evidence.statistics import BASELINE, LEAST_MARGIN, UNRESOLVED, files_behind, judge
from autoprune.evidence.texts import tested_on
from autoprune.evidence.two_readings import both, columns_of, judged, remarks, words
from autoprune.evidence.verdicts import SIZE, row
from autoprune.measure.table import PAIR
from autoprune.pruning.options import WEIGHTS

# Rounds after which the notebooks end a search that still finds filters: 50, in some 100.
LEAST_CAP = 50
TOO_SMALL = {"verdict": "not tested at the paper's size", "resolved": "no"}


class Figure(NamedTuple):
    """What a claim of the abstract is measured by."""

    column: str  # of against_dense
    counted: str  # the metric of a run it rests on
    over_pairs: str  # how the data set/model pairs become one value: mean, or that of the most
    unit: str
    sentence: str


ABSTRACT = {
    "parameters_reduction": Figure(
        # Keras totals, as the authors count.
        "parameters_with_statistics_reduction",
        "parameters_with_statistics",
        "mean",
        " %",
        "reduction of parameters (Keras total) against dense",
    ),
    "flops_reduction": Figure(
        "flops_tf_profiler_reduction",
        "flops_tf_profiler",
        "mean",
        " %",
        "reduction of FLOPs (TensorFlow profiler) against dense",
    ),
    "communication_reduction": Figure(
        "communication_factor", "bytes_total", "max", "×", "reduction of bytes sent against dense"
    ),
    "accuracy_change": Figure(
        "accuracy_change", "accuracy", "mean", " points", "accuracy comparable with dense"
    ),
}


def full_size(values: pd.DataFrame, published: Sequence[Mapping[str, str]]) -> set[Pair]:
    """The pairs on real data, each run of dense and autoprune no smaller than the notebook's.

    ``published``: all rows of published.tsv, whose accuracies say how large the notebooks are.
    """
    found = set()
    for pair in values.groupby(PAIR).groups:
        frames = of_pair(values, pair)
        ours = [
            runs
            for (method, variant), runs in frames.items()
            if (method, variant) == BASELINE or (method == "autoprune" and variant in WEIGHTS)
        ]
        if ours and all(_large(runs, published) for runs in ours):
            found.add(pair)
    return found


def _large(runs: pd.DataFrame, published: Sequence[Mapping[str, str]]) -> bool:
    """Whether an arm's runs are on real data and no smaller than the notebook's of its method."""
    about = runs.iloc[0]
    asked = [about["stands_for"], about["model"], about["method"]]
    sizes = [
        [float(entry[name]) for name in SIZE]
        for entry in published
        if entry["metric"] == "test_accuracy"
        and [entry["dataset"], entry["model"], entry["method"]] == asked
    ]
    large = [(runs[list(SIZE)] >= size).to_numpy().all() for size in sizes]
    return about["data_kind"] == "real" and bool(large) and all(large)


class Grounds(NamedTuple):
    """What the abstract's claims are judged on.

    ``pairs`` as of against_dense, ``studies`` by pair, ``full`` the pairs of the paper's size.
    ``margin`` in accuracy points where one is given.
    """

    pairs: pd.DataFrame
    sources: pd.DataFrame
    studies: Mapping[Pair, Study]
    full: set[Pair]
    margin: float | None = None

    def chosen(self, datasets: Sequence[str]) -> tuple[pd.DataFrame, bool]:
        """The rows of ``pairs`` that are judged, and whether they are of the paper's size.

        Pairs of the paper's size where those have all ``datasets``; else all of real data; where
        a study has none, all of stand-ins.
        """
        keys = pd.Series(list(self.pairs[PAIR].itertuples(index=False, name=None)), dtype=object)
        large = self.pairs[keys.isin(self.full).to_numpy()]
        if set(datasets) <= set(large["stands_for"]):
            return large, True
        real = self.pairs[self.pairs["data_kind"] == "real"]
        return (self.pairs if real.empty else real), False


def abstract_rows(published: dict[str, str], grounds: Grounds) -> list[dict[str, Any]]:
    """A row per variant of ours for one claim of the abstract."""
    metric = published["metric"]
    if metric not in ABSTRACT:
        raise InputError(f"published: metric: unknown {metric!r}; known are {', '.join(ABSTRACT)}")
    usable, large = grounds.chosen(published["dataset"].split("+"))
    usable = usable[usable["method"] == published["method"]]
    # named variants are the study's own: they stand among the comparisons and ablations
    variants = [name for name in WEIGHTS if name in set(usable["variant"])]
    rows_of = _accuracy_rows if metric == "accuracy_change" else _size_rows
    if variants:
        return rows_of(published, usable, variants, grounds, large)
    about, _ = _claim(published, "", LEAST_MARGIN)
    return [row(about, f"nothing: no {published['method']} run beside a dense run of its seed")]


def _size_rows(
    published: dict[str, str],
    usable: pd.DataFrame,
    variants: Sequence[str],
    grounds: Grounds,
    large: bool,
) -> list[dict[str, Any]]:
    """Reductions of parameters, FLOPs or bytes, a row a variant."""
    figure, rows = ABSTRACT[published["metric"]], []
    for variant, ours in reductions(usable, variants, figure).items():
        own = usable[usable["variant"] == variant]
        about, threshold = _claim(published, variant, 0)
        verdict, seen = judge(as_summary(ours), threshold), tested_on(own)
        cap = shortest_cut(own)
        if cap is not None and ours.mean is not None and ours.mean < threshold:
            verdict = UNRESOLVED
            seen += f"; searches cut at {cap:.0f} rounds, the notebooks' at {LEAST_CAP} or 100"
        answer = f"{verdict['verdict']} on {_on(own)}"
        shown = (verdict if large else TOO_SMALL) | {"answer": answer}
        files = files_behind(grounds.sources, [figure.counted], own)
        rows.append(row(about, seen, as_summary(ours), **shown, source_files=files))
    return rows


def _accuracy_rows(
    published: dict[str, str],
    usable: pd.DataFrame,
    variants: Sequence[str],
    grounds: Grounds,
    large: bool,
) -> list[dict[str, Any]]:
    """Accuracy against dense, a row a variant: settled where both readings have one answer."""
    rows = []
    for variant in variants:
        own = usable[usable["variant"] == variant]
        of = [grounds.studies[pair] for pair in dict.fromkeys(own[PAIR].itertuples(False, None))]
        margin = average_margin(of) if grounds.margin is None else grounds.margin
        about, _ = _claim(published, variant, margin)
        found = [_against_dense(of, variant, reading) for reading in (ROUNDS, TRAINING)]
        if found[0].seeds.mean is None:
            rows.append(row(about, f"nothing: the runs are the dense ones; {tested_on(own)}"))
            continue
        verdicts = [judged(one.widest, margin) for one in found]
        verdict = both(*verdicts)
        answer = f"{verdict['verdict']} on {_on(own)}; {words(verdicts, found[1])}"
        shown = (verdict if large else TOO_SMALL) | columns_of(*found) | {"answer": answer}
        counted = ABSTRACT[published["metric"]].counted
        files = files_behind(grounds.sources, [counted], own)
        seen = tested_on(own) + "".join(
            remarks(study, study.stands_for["autoprune", variant], study.stands_for[BASELINE])
            for study in of
        )
        rows.append(row(about, seen, found[0].summary, **shown, source_files=files))
    return rows


def _against_dense(of: Sequence[Study], variant: str, reading: str) -> Difference:
    """The average over pairs of autoprune minus dense; nothing where a pair does not have it."""
    sides = {(s.stands_for.get(("autoprune", variant)), s.stands_for.get(BASELINE)) for s in of}
    (comparison, *more) = sides
    return Difference(NOTHING) if more else between(*comparison, averaged(of, reading))


def average_margin(of: Sequence[Study]) -> float:
    """The margin of an average over pairs whose held-out images are drawn apart, in points."""
    return max(LEAST_MARGIN, math.sqrt(math.fsum(study.margin**2 for study in of)) / len(of))


def _on(own: pd.DataFrame) -> str:
    """The pairs of some runs in words."""
    pairs = dict.fromkeys(own[PAIR].itertuples(index=False, name=None))
    return ", ".join(f"{dataset_label(data, kind)}/{label(model)}" for data, kind, model in pairs)


def reductions(
    usable: pd.DataFrame, variants: Sequence[str], figure: Figure
) -> dict[str, Estimate]:
    """A size by variant: the mean over pairs, or the pair that has most; one family.

    Where every seed comes to the same size there is nothing to estimate: the interval is a point.
    """
    samples: list[Sample] = []
    contrasts = []
    for variant in variants:
        own = [
            Sample(tuple(runs[figure.column]), tuple(runs["seed"]), pair)
            for pair, runs in usable[usable["variant"] == variant].groupby(PAIR)
        ]
        if figure.over_pairs == "max":
            own = [max(own, key=lambda sample: math.fsum(sample.values) / len(sample.values))]
        places = range(len(samples), len(samples) + len(own))
        contrasts.append(dict.fromkeys(places, 1 / len(own)))
        samples += own
    found = [
        one._replace(low=one.mean, high=one.mean) if one.low is None and one.n >= ENOUGH else one
        for one in simultaneous(samples, contrasts)
    ]
    return dict(zip(variants, found, strict=True))


def shortest_cut(runs: pd.DataFrame) -> float | None:
    """The least cap, in rounds, that ended a search sooner than the notebooks' would; or None.

    What such a search did not remove says nothing against a reduction that takes longer.
    """
    if not {"search_rounds", "cap"} <= set(runs.columns):
        return None
    # a search that its cap ends was on in all rounds before that one
    cut = runs[(runs["search_rounds"] >= runs["cap"] - 1) & (runs["cap"] < LEAST_CAP)]
    return None if cut.empty else float(cut["cap"].min())


def _claim(published: dict[str, str], variant: str, margin: float) -> tuple[dict[str, str], float]:
    """What a row of a claim begins with, and the value its mean must reach."""
    metric, value = published["metric"], published["value"]
    figure = ABSTRACT[metric]
    if metric == "accuracy_change":
        threshold, text = -margin, "comparable (no figure given)"
        rule = f"non-inferiority: own − dense ≥ {decimal(-margin)} points, the same answer at "
        rule += "equal rounds and at equal training rounds; average over the data/model pairs"
    elif not value:
        raise InputError(f"published: {metric} from the abstract has no value")
    else:
        threshold, unit = float(value), figure.unit
        text = f"{'up to ' if figure.over_pairs == 'max' else ''}{value}{unit}"
        rule = f"mean ≥ {value}{unit}, not resolved below it where a cap under {LEAST_CAP} rounds "
        over = "the pair with the most" if figure.over_pairs == "max" else "average over the pairs"
        rule += f"ended a search; {over} of data set and model"
    rule += "; a verdict needs the notebooks' data, rounds, clients a round and test images"
    about = {"claim": figure.sentence, "published": text, "rule": rule, "variant": variant}
    return {**about, "source": "abstract", "unit": figure.unit}, threshold
