"""Every method against the paper's, at equal rounds, equal training rounds, equal bytes."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.labels import arm_order
from autoprune.evidence.clients import Units, read_units
from autoprune.evidence.family import (
    Difference,
    Study,
    accuracies,
    between,
    differences,
    of_pair,
    studies,
)
from autoprune.evidence.inference import NOTHING, Estimate
from autoprune.evidence.readings import (
    READINGS,
    Arm,
    Pair,
    rise,
    same_runs,
    still_rising,
    trained_rounds,
)
from autoprune.evidence.statistics import (
    files_behind,
    final_figures,
    require,
    size_of,
    summarise,
)
from autoprune.evidence.texts import failed
from autoprune.measure.table import PAIR

INPUTS = {"metrics": "<results>/metrics.csv", "units": "<results>/units.csv"}
OPTIONS = ("reference", "margin")
ACCURACIES = {
    "test_accuracy_last": "test images, last",
    "test_accuracy_best": "test images, best by validation",
    "test_macro_accuracy": "mean over classes",
    "test_accuracy_worst_decile": "worst tenth of clients",
}
MAY_LACK = ("test_macro_accuracy", "test_accuracy_worst_decile")  # see measure.metrics
NEEDED = [
    *("accuracy", *(name for name in ACCURACIES if name not in MAY_LACK), "test_examples"),
    *("parameters_with_statistics", "nonzeros", "bits", "bytes_total"),
]
BETTER, WORSE, EQUIVALENT, OPEN = "better", "worse", "equivalent", "open"


def comparisons(
    metrics: pd.DataFrame,
    reference: Arm,
    margin: float | None = None,
    units: Mapping[Pair, Mapping[Arm, Units]] | None = None,
) -> list[dict[str, Any]]:
    """The comparisons table as records, a record per data set, model, arm and reading.

    ``reference`` is the (method, variant) that all others are compared with; pairs without it are
    left out. ``margin``: accuracy points within which two methods are equivalent, None for that
    of the held-out images. Raises InputError when a run lacks a figure.
    """
    values, sources = final_figures(metrics)
    require(values, NEEDED)
    records = []
    for pair, study in studies(metrics, values, reference, margin, units).items():
        if reference not in study.arms:
            continue
        found = {reading: differences(study, reading) for reading in READINGS}
        frames = of_pair(values, pair)
        for arm in arm_order(study.arms):
            about = dict(zip(PAIR, pair, strict=True)) | {"method": arm[0], "variant": arm[1]}
            about |= arm_facts(study, arm, reference, frames)
            about["source_files"] = files_behind(sources, NEEDED, frames[arm], frames[reference])
            for reading, of in found.items():
                difference = between(arm, reference, of)
                family = sum(one.seeds.p is not None for one in of.values())
                records.append(
                    about
                    | {"question": reading, "difference": difference, "comparisons": family}
                    | {"answer": answer(difference.widest, study.margin)}
                )
    return records


def arm_facts(
    study: Study, arm: Arm, reference: Arm, frames: Mapping[Arm, pd.DataFrame]
) -> dict[str, Any]:
    """What is known of an arm apart from its difference."""
    own, of, nothing = study.arms[arm], frames[arm], pd.Series(dtype=float)
    gap = rise(own)
    same = [name for name in arm_order(study.stands_for) if study.stands_for[name] == arm]
    partly = {
        other: same_runs(own, study.arms[other]) for other in arm_order(study.arms) if other != arm
    }
    return {
        "is_reference": arm == reference,
        "same_runs": [name for name in same if name != arm],
        "partly_same": {other: counts for other, counts in partly.items() if counts[0]},
        "accuracy": summarise(accuracies(own)),
        "trained_rounds": trained_rounds(own),
        "rise": gap,
        "still_rising": still_rising(gap, study.margin),
        "dead_runs": sum(curve.dead for curve in own),
        "failed_replies": failed(frames[arm]),
        "margin": study.margin,
        **size_of(frames[arm], frames[reference]),
        **{name: summarise(100 * of.get(name, nothing).dropna()) for name in ACCURACIES},
    }


def answer(found: Estimate, margin: float) -> str:
    """What an interval says of an arm against the reference: better, worse, equivalent, open."""
    if found.low is None or found.high is None:
        return OPEN
    if found.low > 0 or found.high < 0:
        return BETTER if found.low > 0 else WORSE
    return EQUIVALENT if -margin < found.low and found.high < margin else OPEN


def raw(records: list[dict[str, Any]]) -> pd.DataFrame:
    """The table for machines."""
    rows = []
    for record in records:
        difference: Difference = record["difference"]
        seeds, wider = difference.seeds, difference.clients or NOTHING
        row = {name: record[name] for name in [*PAIR, "method", "variant", "question"]}
        row |= {"same_runs": "; ".join(map("/".join, record["same_runs"]))}
        row |= {"partly_same": partly(record)}
        row |= {name: record[name] for name in ("parameters_with_statistics", "nonzeros", "bits")}
        row |= {name: record[name] for name in ("bytes_total", "share_of_budget")}
        for name in ("accuracy", *ACCURACIES):
            row |= {f"{name}_percent": record[name].mean, f"{name}_sd": record[name].sd}
        row |= {"accuracy_n": record["accuracy"].n}
        row |= {"trained_rounds": record["trained_rounds"]}
        row |= {"rise_points": record["rise"].mean, "rise_low": record["rise"].low}
        row |= {"still_rising": {True: "yes", False: "no", None: ""}[record["still_rising"]]}
        row |= {name: record[name] for name in ("dead_runs", "failed_replies")}
        row |= {"n": seeds.n, "difference_points": seeds.mean}
        row |= {"difference_low": seeds.low, "difference_high": seeds.high}
        row |= {"with_clients_low": wider.low, "with_clients_high": wider.high}
        row |= {"p_adjusted": seeds.p, "comparisons": record["comparisons"]}
        row |= {"answer": "" if record["is_reference"] else record["answer"]}
        row |= {"read": READINGS[record["question"]], "read_at": difference.at}
        row |= {"margin_points": record["margin"], "source_files": record["source_files"]}
        rows.append(row)
    return pd.DataFrame(rows)


def partly(record: dict[str, Any]) -> str:
    """The arms that are the same runs in some seeds: "narrow/reinit 2 of 3"."""
    return "; ".join(
        f"{'/'.join(arm)} {same} of {common}"
        for arm, (same, common) in record["partly_same"].items()
    )


def table(
    metrics: pd.DataFrame, reference: str, units: str | None = None, margin: float | None = None
) -> pd.DataFrame:
    """A row an arm and reading; ``reference`` is a variant of autoprune, ``units`` a CSV.

    Raises InputError when no run is of the reference, and as ``comparisons`` does.
    """
    records = comparisons(metrics, ("autoprune", reference), margin, read_units(units))
    if not records:
        raise InputError(
            f"metrics: no run of autoprune/{reference}, with which all others are compared; add it "
            "to methods, or set controls.reference"
        )
    return raw(records)
