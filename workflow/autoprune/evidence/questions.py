"""The study's questions: as good as dense? Would random filters, or widths alone, have done?"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from autoprune.core.labels import arm_label, dataset_label, decimal, label
from autoprune.evidence.family import Difference, Study, as_summary, between, differences, of_pair
from autoprune.evidence.inference import Contrast, Sample, simultaneous
from autoprune.evidence.readings import ROUNDS, TRAINING, Arm, Pair
from autoprune.evidence.statistics import BASELINE, files_behind
from autoprune.evidence.texts import tested_on
from autoprune.evidence.two_readings import both, columns_of, judged, remarks, words
from autoprune.evidence.verdicts import row
from autoprune.measure.table import PAIR

SIZE = "parameters_with_statistics"
SIZE_MARGIN = 1.0  # percentage points of the dense network's parameters


class Question(NamedTuple):
    """Two arms beside each other, and the figure that decides."""

    claim: str
    control: str  # method; its variant is that of the autoprune run
    figure: str  # accuracy, or reduction of parameters
    counted: str  # the metric it rests on

    def sides(self, variant: str) -> tuple[Arm, Arm]:
        """One minus the other; against dense it is autoprune itself that is asked about."""
        other = BASELINE if self.control == "autoprune" else ("autoprune", variant)
        return (self.control, variant), other


QUESTIONS = (
    Question("the pruned network is as accurate as dense", "autoprune", "accuracy", "accuracy"),
    Question(
        "as many filters, chosen at random, would have done as well",
        "random-filters",
        "accuracy",
        "accuracy",
    ),
    Question(
        "simply the widths that were found, trained from scratch, would have done as well",
        "found-widths",
        "accuracy",
        "accuracy",
    ),
    Question(
        "a uniformly narrow network of as many parameters would have done as well",
        "narrow",
        "accuracy",
        "accuracy",
    ),
    Question("the rule on random norms prunes at least as much", "null-norms", "reduction", SIZE),
)
Differences = Mapping[str, Mapping[tuple[Arm, Arm], Difference]]  # by reading


def question_rows(
    studies: Mapping[Pair, Study], values: pd.DataFrame, sources: pd.DataFrame
) -> list[dict[str, Any]]:
    """A row of the claims table for each question, pair and variant of autoprune that has both.

    ``values`` and ``sources`` as of ``final_figures``.
    """
    found = {
        pair: {reading: differences(study, reading) for reading in (ROUNDS, TRAINING)}
        for pair, study in studies.items()
    }
    rows = []
    for question in QUESTIONS:
        mine = []
        for pair, study in studies.items():
            variants = asked(question, study)
            if question.figure == "accuracy":
                mine += [
                    accuracy_row(question, variant, study, found[pair], values, sources)
                    for variant in variants
                ]
            else:
                mine += size_rows(question, variants, study, values, sources)
        about = _about(question, "", "", "")
        rows += mine or [row(about, f"nothing: no run of {question.control} to compare")]
    return rows


def accuracy_row(
    question: Question,
    variant: str,
    study: Study,
    found: Differences,
    values: pd.DataFrame,
    sources: pd.DataFrame,
) -> dict[str, Any]:
    """One question of one pair: settled where both readings have the same answer."""
    arms = one, other = question.sides(variant)
    stand_ins = (study.stands_for[one], study.stands_for[other])
    margin = decimal(-study.margin)
    rule = f"{_name(one)} − {_name(other)} ≥ {margin} points, the same answer at equal rounds "
    rule += "and at equal training rounds"
    about = _about(question, variant, data_label(study.pair), rule)
    if stand_ins[0] == stand_ins[1]:
        return row(about, f"nothing: {_name(one)} and {_name(other)} are the same runs")
    end, trained = (between(*stand_ins, found[reading]) for reading in (ROUNDS, TRAINING))
    verdicts = [judged(difference.widest, study.margin) for difference in (end, trained)]
    frames = of_pair(values, study.pair)
    used = pd.concat([frames[arm] for arm in arms])
    return row(
        about,
        tested_on(used) + remarks(study, *stand_ins),
        end.summary,
        **both(*verdicts),
        **columns_of(end, trained),
        answer=words(verdicts, trained),
        source_files=files_behind(sources, [question.counted], used),
    )


def sizes(
    question: Question, variants: Sequence[str], frames: Mapping[Arm, pd.DataFrame]
) -> tuple[list[Sample], list[Contrast]]:
    """Reductions in points of the dense network, control minus autoprune: one family a pair."""
    samples: list[Sample] = []
    contrasts: list[Contrast] = []
    if BASELINE not in frames:
        return samples, contrasts
    whole = float(frames[BASELINE][SIZE].mean())
    for variant in variants:
        for arm in question.sides(variant):
            reduced = 100 * (1 - frames[arm][question.counted] / whole)
            samples.append(Sample(tuple(reduced), tuple(frames[arm]["seed"])))
        contrasts.append({len(samples) - 2: 1.0, len(samples) - 1: -1.0})
    return samples, contrasts


def asked(question: Question, study: Study) -> list[str]:
    """The variants of autoprune that have both sides of a question."""
    variants = [variant for method, variant in study.stands_for if method == "autoprune"]
    return [
        variant
        for variant in dict.fromkeys(variants)
        if all(arm in study.stands_for for arm in question.sides(variant))
    ]


def size_rows(
    question: Question,
    variants: Sequence[str],
    study: Study,
    values: pd.DataFrame,
    sources: pd.DataFrame,
) -> list[dict[str, Any]]:
    """Reductions by the control minus by autoprune, a row a variant."""
    frames = of_pair(values, study.pair)
    samples, contrasts = sizes(question, variants, frames)
    if not samples:
        return []
    rows = []
    for variant, found in zip(variants, simultaneous(samples, contrasts), strict=True):
        one, other = question.sides(variant)
        rule = f"reduction by {_name(one)} − by {_name(other)} ≥ {decimal(-SIZE_MARGIN)} points "
        rule += "of the dense network's parameters"
        used = pd.concat([frames[one], frames[other]])
        verdict = judged(found, SIZE_MARGIN)
        rows.append(
            row(
                _about(question, variant, data_label(study.pair), rule),
                tested_on(used),
                as_summary(found),
                **verdict,
                answer=f"{verdict['verdict']}, in points of the dense network's parameters",
                source_files=files_behind(sources, [question.counted], used, frames[BASELINE]),
            )
        )
    return rows


def data_label(pair: Pair) -> str:
    """A pair in words: its data set, which says when it is a stand-in, and network."""
    about = dict(zip(PAIR, pair, strict=True))
    return f"{dataset_label(about['dataset'], about['data_kind'])}/{label(about['model'])}"


def _name(arm: Arm) -> str:
    return arm_label(*arm)


def _about(question: Question, variant: str, data: str, rule: str) -> dict[str, str]:
    return {
        "claim": question.claim,
        "published": "not asked",
        "source": "control",
        "variant": variant,
        "data": data,
        "rule": rule or "control − autoprune ≥ − the margin, in points",
        "unit": " points",
    }
