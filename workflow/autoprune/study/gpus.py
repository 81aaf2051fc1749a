"""Which runs of a study compute on a GPU, and whether this machine has one for them."""

from collections.abc import Mapping
from typing import Any

from autoprune.core.errors import InputError
from autoprune.study.config import run_settings, variant_settings
from autoprune.study.grid import Run

KEY = "device"


def device_of(config: Mapping[str, Any], run: Run) -> str:
    """What a run of a resolved configuration is told: "cpu", "cuda" or "auto"."""
    training, _ = run_settings(config, run.pair, run.method, run.variant)
    return str(training.get(KEY, "cpu"))


def wanted(config: Mapping[str, Any], run: Run) -> int:
    """How many GPUs a run's job asks for: 1 or 0. With ``auto`` 1 where this machine has any."""
    of_run = device_of(config, run)
    return int(of_run == "cuda" or (of_run == "auto" and visible() > 0))


def visible() -> int:
    """How many GPUs this process may use; loads torch, which takes a second."""
    from autoprune.federation import device

    return device.visible()


def check(config: Mapping[str, Any], run: Run) -> None:
    """Raise InputError, naming the key, where a run is told "cuda" and there is no GPU here."""
    from autoprune.federation import device

    try:
        device.resolved(device_of(config, run))
    except InputError as error:
        raise InputError(f"{_place(config, run)}.{error}") from None


def _place(config: Mapping[str, Any], run: Run) -> str:
    """The block that says where a run computes."""
    if KEY in variant_settings(config, run.method, run.variant):
        return f"variants.{run.method}.{run.variant}"
    own = config["pairs"][run.pair].get(KEY) != config["training"].get(KEY)
    return f"pairs.{run.pair}" if own else "training"
