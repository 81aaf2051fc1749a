"""The study's grid: the runs of a configuration, what each is told, where its files lie."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from autoprune.core.provenance import ROOT
from autoprune.study import tasks
from autoprune.study.config import (
    Config,
    check,
    methods_of,
    network_of,
    resolve,
    run_settings,
    variant_settings,
)
from autoprune.study.overlay import read_overlay

CONFIG = "config/config.yaml"
WEIGHTS = "weights.safetensors"  # of a run


class Run(NamedTuple):
    """One run of the study, by the names that its folder, its log and its benchmark have."""

    dataset: str
    model: str
    method: str
    variant: str
    seed: int

    @property
    def pair(self) -> str:
        """The pair's name in the configuration."""
        return f"{self.dataset}-{self.model}"

    @property
    def path(self) -> str:
        """Where it lies under the runs, logs and benchmarks."""
        return f"{self.dataset}/{self.model}/{self.method}/{self.variant}/seed-{self.seed}"


def runs_of(config: Mapping[str, Any]) -> list[Run]:
    """Every run of the study: pair x method x variant x seed, in the configuration's order."""
    return [
        Run(config["pairs"][pair]["dataset"], config["pairs"][pair]["model"], method, variant, seed)
        for pair in config["study"]
        for method, variants in methods_of(config, pair).items()
        for variant in variants
        for seed in config["seeds"]
    ]


def told(config: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """A run's settings of a resolved configuration: what it depends on and nothing else.

    The keys are those of ``federation.settings.Settings``, but for files and folders.
    """
    data, pair = config["datasets"][run.dataset], config["pairs"][run.pair]
    training, own = run_settings(config, run.pair, run.method, run.variant)
    training.pop("start", None)  # a file, which the stage is given as an input
    named = variant_settings(config, run.method, run.variant)
    return {
        "dataset": run.dataset,
        "stands_for": data["stands_for"],
        **tasks.told(data),
        "model": run.model,
        **({"network": network} if (network := network_of(config, run.model)) else {}),
        "widths": pair.get("widths", []),
        "method": run.method,
        "variant": run.variant,
        "like": named.get("like", run.variant),
        "seed": run.seed,
        **training,
        **own,
    }


def start_of(config: Mapping[str, Any], run: Run) -> str:
    """The file of weights that a run begins with; "" where they are drawn."""
    training, _ = run_settings(config, run.pair, run.method, run.variant)
    start = str(training.get("start", ""))
    # of a run's folder its weights, also where the workflow has yet to make them
    folder = start and (Path(start).is_dir() or not (Path(start).is_file() or Path(start).suffix))
    return str(Path(start, WEIGHTS)) if folder else start


def base_config() -> Path:
    """The study's config.yaml: this folder's, or else the project's."""
    return Path(CONFIG) if Path(CONFIG).exists() else ROOT.parent / CONFIG


def read_config(overlays: Sequence[str | Path] = (), base: str | Path | None = None) -> Config:
    """The checked and resolved configuration that Snakemake makes of the same files.

    ``overlays`` are what ``--configfile`` names: later wins, mappings are merged, all else is
    replaced. Raises InputError naming the file, and the key where there is one.
    """
    config: Config = {}
    files = [base or base_config(), *overlays]
    for file in files:
        found = read_overlay(file)
        _merge(config, found)
    check(config, files)
    resolve(config)
    return config


def place(config: Mapping[str, Any], name: str) -> Path:
    """The folder of a path variable: results, logs, benchmarks, resources."""
    return Path(config["pathvars"][name])


def _merge(config: Config, overlay: Mapping[str, Any]) -> None:
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            _merge(config[key], value)
        else:
            config[key] = value
