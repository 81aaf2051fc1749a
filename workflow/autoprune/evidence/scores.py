"""What is measured of each arm's final network beside its score, over seeds."""

import pandas as pd

from autoprune.core.labels import arm_order
from autoprune.core.tasks import COLUMNS as METRICS
from autoprune.evidence.statistics import files_behind, final_figures, require, summarise
from autoprune.measure.table import IN_NUMBERS, PAIR

INPUTS = {"metrics": "<results>/metrics.csv"}
NEEDED = ["accuracy", "test_accuracy_last", "test_examples"]
KINDS = {IN_NUMBERS[name]: name for name in ("multi-label", "regression")}


def table(metrics: pd.DataFrame) -> pd.DataFrame:
    """A row an arm: its task, its score on all held-out images, and test images' METRICS.

    Mean and standard deviation over seeds, empty where a metric is not measured. Raises
    InputError when a run lacks a score.
    """
    values, sources = final_figures(metrics)
    require(values, NEEDED)
    rows = []
    for pair, some in values.groupby(PAIR):
        arms = dict(iter(some.groupby(["method", "variant"])))
        for arm in arm_order(arms):
            own = arms[arm]
            task = own["task"].iloc[0] if "task" in own else None
            row = dict(zip([*PAIR, "method", "variant"], (*pair, *arm), strict=True))
            row |= {"task": KINDS.get(task, "multi-class"), "n": len(own)}
            row["test_examples"] = int(own["test_examples"].min())
            for name in ("accuracy", "test_accuracy_last", *METRICS):
                found = summarise(own[name].dropna() if name in own else ())
                row |= {f"{name}_mean": found.mean, f"{name}_sd": found.sd}
            known = [name for name in (*NEEDED, *METRICS) if name in sources]
            row["source_files"] = files_behind(sources, known, own)
            rows.append(row)
    return pd.DataFrame(rows)
