"""What each system costs and gives: accuracy, size, arithmetic, traffic, latency, an arm a row."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.labels import arm_order
from autoprune.evidence.latency import read
from autoprune.evidence.statistics import (
    BASELINE,
    TWIN,
    as_columns,
    files_behind,
    final_figures,
    is_baseline,
    require,
    size_of,
    summarise,
)
from autoprune.evidence.texts import failed
from autoprune.measure.bops import FULL
from autoprune.measure.table import PAIR, RUN

INPUTS = {"metrics": "<results>/metrics.csv", "host": "<results>/latency/{measured}.json"}
OPTIONS = ("reference",)
NEEDED = [
    *("accuracy", "parameters", "parameters_with_statistics", "nonzeros", "bits", "macs"),
    *("bytes_total", "bytes_down_per_client_per_round", "bytes_up_per_client_per_round"),
]


def table(metrics: pd.DataFrame, reference: str, host: Sequence[str] = ()) -> pd.DataFrame:
    """A row for each data set, model and arm: means over seeds, accuracy with its interval.

    ``reference`` is the variant of autoprune whose size is the budget; ``host``: files of
    measure.latency_host, of the seeds that were exported. Raises InputError when a run lacks a
    figure, and when no run is of the reference.
    """
    values, sources = final_figures(metrics)
    require(values, NEEDED)
    values = with_bops(values)
    times = host_times(host)
    rows = []
    for pair, runs in values.groupby(PAIR, dropna=False):
        arms = {(str(m), str(v)): own for (m, v), own in runs.groupby(["method", "variant"])}
        budget = arms.get(("autoprune", reference))
        if budget is None:
            continue
        for arm in arm_order(arms):
            own = arms[arm]
            size = size_of(own, budget)
            row: dict[str, Any] = dict(zip(PAIR, pair, strict=True))
            row |= {"method": arm[0], "variant": arm[1], "failed_replies": failed(own)}
            row |= as_columns("accuracy_percent", summarise(100 * own["accuracy"]))
            row |= {name: own[name].mean() for name in ("parameters", "nonzeros", "macs")}
            row |= {"bits": size["bits"], "bits_per_weight": (own["bits"] / own["nonzeros"]).mean()}
            row |= {"share_of_budget": size["share_of_budget"]}
            row |= {"relative_bops": own["relative_bops"].mean()}
            row |= {"bytes_total": size["bytes_total"]}
            row |= {"bytes_per_client_per_round": own[NEEDED[-2:]].sum(axis=1).mean()}
            measured = _of_arm(times, own)
            row |= {name: measured[name].mean() for name in TIMES}
            files = [files_behind(sources, NEEDED, own), *sorted(measured["source_files"])]
            rows.append(row | {"source_files": ";".join(dict.fromkeys(files))})
    if not rows:
        raise InputError(
            f"metrics: no run of autoprune/{reference}, whose size is the budget; add it to "
            "methods, or set controls.reference"
        )
    frame = pd.DataFrame(rows)
    return frame.astype({"accuracy_percent_n": "Int64"})


def with_bops(values: pd.DataFrame) -> pd.DataFrame:
    """The runs (as of final_figures) with ``relative_bops``, their share of the dense network's.

    A bit operation is a multiply-add times the bits of its weight times those of its activation
    (Qu et al. 2025; van Baalen et al. 2020). A run that knows the bits of each layer says it
    itself; of others all weights have the same, those of their encoding. NaN without a dense run.
    """
    told = values.get("relative_bops", pd.Series(float("nan"), values.index))
    of_dense = values[is_baseline(values)].set_index(TWIN)["macs"]
    twins = pd.MultiIndex.from_frame(values[TWIN])
    share = values["macs"] / of_dense.reindex(twins).to_numpy()
    return values.assign(relative_bops=told.fillna(share * weight_bits(values) / FULL))


def weight_bits(values: pd.DataFrame) -> pd.Series:
    """Bits of the weights of each run's layers: 8 where it stores less than float32, else 32."""
    return (values["bits"] < FULL * values["nonzeros"]).map({True: 8.0, False: float(FULL)})


TIMES = ("fp32_ms", "fp32_speed_up", "int8_ms", "int8_speed_up")


def host_times(paths: Sequence[str]) -> pd.DataFrame:
    """The latencies of exported networks, of exact widths: a row a run, RUN and TIMES.

    Of a dense network its times beside each pruned one, the mean.
    """
    rows: list[dict[str, Any]] = []
    for path in paths:
        for one in read(path):
            if one["round_widths_to"]:
                continue
            precision = one["precision"]
            run = {name: one[name] for name in ("dataset", "data_kind", "model", "seed")}
            found = {f"{precision}_ms": one["median_ms"], "source_files": path}
            found |= {f"{precision}_speed_up": one["speed_up"]}
            rows.append(run | {"method": one["method"], "variant": one["variant"]} | found)
            dense = {f"{precision}_ms": one["dense_ms"], "source_files": path}
            rows.append(run | dict(zip(("method", "variant"), BASELINE, strict=True)) | dense)
    columns = [*(name for name in RUN if name != "stands_for"), *TIMES, "source_files"]
    return pd.DataFrame(rows, columns=columns)


def _of_arm(times: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """The times of an arm's runs, one row a file that they are from."""
    arm = ["dataset", "model", "method", "variant"]
    same = (times[arm] == own.iloc[0][arm].to_numpy()).all(axis=1)
    return times[same].groupby("source_files", as_index=False)[list(TIMES)].mean()
