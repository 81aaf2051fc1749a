"""What all rules share: the checked configuration, the study's runs, code versions, the shell.

in:  the configuration that Snakemake has read
out: CONFIGFILES, DATASETS, FIGURES, TABLE_FILES, FIGURE_FILES, runs(), stage(), the params' functions
"""

import os
import shlex
import sys
from pathlib import Path

WORKFLOW = Path(workflow.current_basedir).parent
sys.path.insert(0, str(WORKFLOW))

from autoprune.config import check, resolve
from autoprune.errors import InputError
from autoprune.provenance import code_version

# in the order they were merged: our own first, then what --configfile names
OVERLAYS = [file for file in workflow.configfiles if file in workflow.overwrite_configfiles]
CONFIGFILES = [file for file in workflow.configfiles if file not in OVERLAYS] + OVERLAYS

try:
    check(config, CONFIGFILES, WORKFLOW / "schemas" / "config.schema.yaml")
except InputError as error:
    sys.exit(f"error: {error}")
resolve(config)

PAIRS = [config["pairs"][pair] for pair in config["study"]]
DATASETS = list(dict.fromkeys(pair["dataset"] for pair in PAIRS))
FIGURES = [
    "accuracy_by_round",
    "widths_by_round",
    "accuracy_against_parameters",
    "accuracy_against_bytes",
]
TABLE_FILES = expand(
    "<results>/tables/{table}.{ending}",
    table=["claims", "results", "partition"],
    ending=["csv", "html", "md"],
)
FIGURE_FILES = expand(
    "<results>/figures/{figure}.{ending}",
    figure=["partition", *FIGURES],
    ending=["svg", "png"],
)

# a clone runs without an install, with the interpreter that runs Snakemake, and never phones home
shell.prefix(
    "set -euo pipefail; "
    f"export PYTHONPATH={shlex.quote(str(WORKFLOW))} FLWR_TELEMETRY_ENABLED=0 "
    f'PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"; '
)


def runs(file, only=None, without=()):
    """Paths of one file of every run in the study: pair x method x variant x seed."""
    return [
        f"<results>/runs/{pair['dataset']}/{pair['model']}/{method}/{variant}/seed-{seed}/{file}"
        for pair in PAIRS
        for method, variants in config["methods"].items()
        if method not in without and (only is None or method in only)
        for variant in variants
        for seed in config["seeds"]
    ]


def stage(*modules):
    """A param: the version of the code a rule runs; {wildcards} and {source} are filled in."""

    def version(wildcards):
        names = dict(wildcards.items())
        if "dataset" in names:
            names["source"] = config["datasets"][names["dataset"]]["source"]
        return code_version(*(m.format(**names).replace("-", "_") for m in modules))

    return version


def folders(name):
    """A param: the folders in which a rule's input files of that name lie."""

    def parents(wildcards, input):
        return [str(Path(path).parent) for path in input[name]]

    return parents


def flags(settings):
    """Settings as command-line words: {"test_fraction": 0.2} becomes --test-fraction 0.2."""
    pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in settings.items())
    return [word for pair in pairs for word in pair]


def source_flags(wildcards):
    """The flags of a data set's source."""
    return flags(config["datasets"][wildcards.dataset]["options"])


def partition_flags(wildcards):
    """The flags that say how a data set is divided among clients."""
    return flags(config["datasets"][wildcards.dataset]["partition"])


def method_flags(wildcards):
    """The flags of a method on this pair: the pair's settings under the method's name."""
    pair = config["pairs"][f"{wildcards.dataset}-{wildcards.model}"]
    return flags(pair.get(wildcards.method, {}))


def source_files(wildcards):
    """The files a data set is read from, so that other files make another store."""
    folders = map(Path, located(wildcards.dataset).values())
    return sorted(str(path) for folder in folders for path in folder.glob("*.json"))


def located(dataset):
    """Those options of a data set that name a file or folder of the user's."""
    options = config["datasets"][dataset]["options"]
    return {key: options[key] for key in ("folder", "train", "test", "archive") if key in options}


for dataset in DATASETS:
    for key, place in located(dataset).items():
        if not Path(place).exists():
            print(f"missing: data set {dataset}: {key} {place} does not exist", file=sys.stderr)
