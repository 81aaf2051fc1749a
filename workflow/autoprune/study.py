"""The study that configuration files describe, read without Snakemake: its settings, its runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from autoprune.config import Config, check, methods_of, resolve
from autoprune.errors import InputError

DEFAULT = "config/config.yaml"
SCHEMA = Path(__file__).resolve().parent.parent / "schemas" / "config.schema.yaml"


def load(overlays: Sequence[str | Path] = ()) -> tuple[Config, list[Path]]:
    """The merged, checked and resolved configuration, and its files: ours first, then overlays.

    Merged as Snakemake does: a later file wins, mappings are merged, lists are not. Raises
    InputError for a file that is absent or no YAML, and for what the schema refuses.
    """
    files = list(dict.fromkeys(map(Path, [DEFAULT, *overlays])))
    config: Config = {}
    for file in files:
        try:
            value = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except FileNotFoundError:
            raise InputError(f"{file}: no such file; run this in the project's folder") from None
        except yaml.YAMLError as error:
            raise InputError(f"{file}: not YAML ({error})") from None
        config = merged(config, value)
    check(config, files, SCHEMA)
    resolve(config)
    return config, files


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``below`` with what ``above`` sets, mappings within mappings merged too."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = (
            merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return both


def place(config: Mapping[str, Any], name: str) -> Path:
    """The folder of a path variable: results, logs, benchmarks, resources."""
    return Path(config.get("pathvars", {}).get(name, name))


def runs(config: Mapping[str, Any]) -> list[Path]:
    """The runs of the study, relative to the results: runs/DATASET/MODEL/METHOD/VARIANT/seed-N."""
    return [
        Path("runs", pair["dataset"], pair["model"], method, variant, f"seed-{seed}")
        for name in config["study"]
        for pair in [config["pairs"][name]]
        for method, variants in methods_of(config, name).items()
        for variant in variants
        for seed in config["seeds"]
    ]
