"""The study's exported models: a phone's run belongs to the one whose bytes it measured."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.files import read_json
from autoprune.phone.delegates import ACCELERATORS
from autoprune.phone.rows import Row

NEEDED = (
    *("model_id", "file", "sha256", "format", "precision", "variant"),
    *("dataset", "data_kind", "stands_for", "model", "method", "run_variant", "seed"),
    *("widths", "parameters", "macs"),
)
LIMITS = (0.5, 400.0)  # GFLOP/s a thread: less than 1000 apart, so a slip of a unit falls outside
# of a GPU or NPU, which takes as long for a tiny network as for a small one
ACCELERATED = (0.01, 40_000.0)
Model = dict[str, Any]
Models = dict[str, list[Model]]


def read_models(manifests: Iterable[Path]) -> Models:
    """The models of export manifests by SHA-256; more than one where two are the same bytes.

    Raises InputError for what is not a whole manifest.
    """
    found: Models = {}
    for path in manifests:
        for place, model in enumerate(models_in(path)):
            missing = [key for key in NEEDED if not isinstance(model, dict) or key not in model]
            if missing:
                raise InputError(f"{path}: model {place}: {missing[0]} is missing; export it again")
            # of a network that answers a number there is no accuracy
            known = {"test_accuracy": None, **model, "manifest": str(path)}
            found.setdefault(model["sha256"], []).append(known)
    return found


def models_in(manifest: Path) -> list[Any]:
    """What a manifest lists; raises InputError when it is none."""
    about = read_json(manifest)
    models = about.get("models") if isinstance(about, dict) else None
    if not isinstance(models, list):
        raise InputError(
            f"{manifest}: no manifest of an export; run autoprune.measure.export again"
        )
    return models


def model_of(row: Row, models: Models) -> Model | None:
    """The model that a row measured; None when the study has no such bytes.

    Raises InputError for a row that calls these bytes by another name, variant, precision or
    format than the manifest does.
    """
    same = models.get(row["model_sha256"])
    if not same:
        return None
    named = [model for model in same if model["model_id"] == row["model_id"]]
    model = (named or same)[0]
    for column in ("model_id", "variant", "precision", "format"):
        if row[column] != model[column]:
            raise row.refuse(
                column, f"{model[column]!r} as {model['manifest']} has for these bytes"
            )
    return model


def limits_of(row: Row, own: dict[str, Any]) -> tuple[float, float]:
    """The least and largest GFLOP/s that a row may have; ``own`` is the session's word on it."""
    low, high = ACCELERATED if row["delegate"] in ACCELERATORS else LIMITS
    return own.get("low", low), own.get("high", high)


def check_speed(row: Row, model: Model, limits: tuple[float, float]) -> None:
    """Refuse a latency that no phone reaches: most likely its unit is not ms."""
    low, high = limits
    threads = 1 if row["delegate"] in ACCELERATORS else row["threads"]
    speed = 2 * model["macs"] / (row.latency_ms * 1e-3 * threads) / 1e9
    if not low <= speed <= high:
        raise row.refuse(
            f"{row.statistic}_ms",
            f"{low:g} to {high:g} GFLOP/s a thread for {model['macs']:,} MACs on {threads} "
            f"thread(s), found {speed:.3g}; is it in ms? (for an odd device, session.json may "
            "give gflops_per_thread with low, high and a reason)",
        )
