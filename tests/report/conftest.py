"""A small study as the workflow leaves it, made up, and its report."""

import csv
import hashlib
import json
import math
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import run_here

ROOT = Path(__file__).parents[2]
HISTORY = (
    *("round", "train_loss", "validation_accuracy", "validation_loss", "test_accuracy"),
    *("parameters", "parameters_with_statistics", "nonzeros", "widths", "clients"),
    *("usable", "late", "raised", "refused", "unanswered"),
    *("bytes_down", "bytes_up", "payload_down", "payload_up"),
    *("shrunk", "searching", "restarted", "live"),
)
ARMS = [
    ("dense", "fedavg"),
    ("autoprune", "reinit"),
    ("autoprune", "inherit"),
    ("taylor", "one-shot"),
    ("fedmap", "global"),
]
DATASETS = {"glyphs": ("stand-in", "femnist", 62), "mnist": ("real", "", 10)}
FIGURES = ("accuracy_by_round", "widths_by_layer")
SEEDS = (0, 1)
ROUNDS = 6
START = (12, 14)
HOSTILE = "</script><b id=hostile>&amp;\u2028"


def checksum(*words: object) -> str:
    """A checksum-like text of its own for each data set."""
    return hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()


def write_json(path: Path, value: object) -> None:
    """A JSON file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_data(folder: Path, name: str) -> None:
    """The two JSON files of a prepared data set that the report reads."""
    kind, _, classes = DATASETS[name]
    store = {"name": name, "kind": kind, "source": name, "checksum": checksum("store", name)}
    write_json(folder / "store" / "header.json", {"name": name, "kind": kind, "shape": [28, 28, 1]})
    write_json(
        folder / "partition" / "partition.json",
        {
            "scheme": "natural", "store": store, "target": "character", "clients": 9,
            "classes": classes, "samples": {"train": 1234, "validation": 20, "test": 30},
            "samples_per_client": {"min": 3, "median": 8, "max": 11, "mean": 7.5},
        },
    )  # fmt: skip


def one_shrink(method: str, draw: random.Random) -> list[dict]:
    """A shrink in round 2: by the rule with scores, or by another method without."""
    layers = []
    for place, width in enumerate(START, start=1):
        scores = [draw.uniform(1, 2) for _ in range(width)]
        mean = math.fsum(scores) / width
        layer = {"layer": f"conv{place}", "kept": list(range(2, width))}
        if method == "autoprune":
            layer |= {"mean": mean, "std": 0.25, "lower": mean - 0.5, "upper": mean + 0.5}
            layer["scores"] = scores
        layers.append(layer)
    return [{"round": 2, "layers": layers, "widths": [w - 2 for w in START], "parameters": 900}]


def plan_of(method: str, variant: str, draw: random.Random) -> dict | None:
    """The plan that a method leaves, or None."""
    plan = {"base": {"widths": list(START)}, "variant": variant, "shrinks": []}
    if method == "dense":
        return None
    if method == "fedmap":
        return plan | {"changes": [{"round": 2, "nonzeros": 700}], "mask": None}
    if method == "autoprune":
        plan |= {"weights": variant, "k": 2.0, "stopped": {"round": 5, "reason": "patience"}}
    return plan | {"shrinks": one_shrink(method, draw)}


def write_run(folder: Path, dataset: str, method: str, variant: str, seed: int) -> None:
    """A run folder: accuracy climbs, the network shrinks once where the method has a plan."""
    kind, stands_for, classes = DATASETS[dataset]
    draw = random.Random(f"{dataset}{method}{variant}{seed}")
    plan = plan_of(method, variant, draw)
    small = bool(plan and plan["shrinks"])
    rows = []
    for at in range(ROUNDS + 1):
        widths = [w - 2 if small and at >= 2 else w for w in START]
        size = 900 if small and at >= 2 else 1200
        accuracy = round(0.8 - 0.7 * math.exp(-at / 3) + draw.uniform(-0.02, 0.02), 6)
        sent, carried = [2 * [bytes_ * size if at else 0] for bytes_ in (20, 16)]
        rows.append(
            [at, round(2 / (1 + at), 4) if at else "", accuracy, 1 - accuracy, accuracy, size,
             size + 10, size, " ".join(map(str, widths)), *2 * [5 if at else 0], *4 * [0],
             *sent, *carried,
             int(small and at == 2), int(small and at < 5),
             int(variant == "reinit" and at == 2), f"1.0000 {0.5 if small else 1:.4f}"]
        )  # fmt: skip
    folder.mkdir(parents=True)
    with (folder / "history.csv").open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([HISTORY, *rows])
    size, final = rows[-1][5], rows[-1][4]
    accuracies = ("test_accuracy", "test_accuracy_last", "test_accuracy_best")
    accuracies += ("test_macro_accuracy", "test_accuracy_worst_decile")
    evaluation = dict.fromkeys(accuracies, final)
    evaluation |= {"test_loss": 0.5, "test_examples": 400, "nonzeros": size, "bits": 32 * size}
    evaluation["validation_examples"] = 400
    write_json(folder / "evaluation.json", evaluation)
    counts = {"parameters": size, "parameters_with_statistics": size + 10, "classes": classes}
    counts["input_shape"] = [1, 28, 28]
    write_json(
        folder / "complexity.json", counts | {"macs": 90 * size, "flops_tf_profiler": 185 * size}
    )
    write_json(
        folder / "run.json",
        {
            "dataset": dataset, "data_kind": kind, "stands_for": stands_for, "model": "cnn",
            "method": method, "variant": variant, "seed": seed,
            "settings": {"rounds": ROUNDS, "clients-per-round": 5, "seed": seed, "note": HOSTILE},
            "store_checksum": checksum("store", dataset), "code": f"{method:0<16}"[:16],
            "partition_checksum": checksum("partition", dataset),
            "versions": {"python": "3.11.7", "torch": "2.13.0", "cpu": "Some CPU",
                         "system": "Linux", "machine": "x86_64"},
        },
    )  # fmt: skip
    if plan:
        write_json(folder / "plan.json", plan)


def stage(name: str, *flags: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What ``python -W error -m autoprune.<name>`` comes to."""
    return run_here(f"autoprune.{name}", *flags, cwd=cwd)


def make_study(folder: Path) -> None:
    """Runs, data, metrics, tables and figures, by the stages themselves where they are."""
    runs = []
    for dataset in DATASETS:
        write_data(folder / "data" / dataset, dataset)
        for method, variant in ARMS:
            for seed in SEEDS:
                runs.append(Path("runs", dataset, "cnn", method, variant, f"seed-{seed}"))
                write_run(folder / runs[-1], dataset, method, variant, seed)
                cost = folder / "benchmarks" / f"{runs[-1]}.tsv"
                cost.parent.mkdir(parents=True, exist_ok=True)
                cost.write_text("s\th:m:s\tmax_rss\n90.0\t0:01:30\t321.0\n")
    published = (ROOT / "config" / "published.tsv").read_text("utf-8").splitlines()
    abstract = [line for line in published if line.startswith("claim") or "\tabstract\t" in line]
    (folder / "published.tsv").write_text("\n".join(abstract) + "\n", "utf-8")
    write_json(folder / "counts.json", [])
    for name, flags in {
        "measure.metrics": ["--runs", *runs, "--output", "metrics.csv"],
        "results": [],
        "claims": ["--published", "published.tsv", "--counts", "counts.json", "--margin", "1"],
        "comparisons": ["--reference", "reinit", "--margin", "1"],
    }.items():
        made = ["--metrics", "metrics.csv", *flags, "--csv", f"tables/{name}.csv"]
        words = [name, *flags] if "." in name else ["evidence.tabulate", name, *made]
        done = stage(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
    (folder / "figures").mkdir()
    (folder / "figures" / "partition.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><path d="M0 0h9v9Z"/></svg>'
    )
    for name in FIGURES:
        forms = [f"--{form}=figures/{name}.{form}" for form in ("svg", "pdf")]
        done = stage("publish.draw", name, "--metrics", "metrics.csv", *forms, cwd=folder)
        assert done.returncode == 0, done.stderr
    figure = "![Accuracy by round](figures/accuracy_by_round.svg)"
    findings = f"# Findings\n\n{figure}\n\n## mnist, CNN\n\n- {HOSTILE}\n"
    (folder / "findings.md").write_text(findings, "utf-8")


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results: two data sets, five methods, two seeds."""
    folder = tmp_path_factory.mktemp("study with a space")
    make_study(folder)
    return folder


@pytest.fixture(scope="session")
def flags(study: Path) -> Callable[..., list[str]]:
    """The flags of the report; ``change`` replaces the values of some, None drops one."""

    def of(output: str = "report/index.html", **change: list | None) -> list[str]:
        usual: dict[str, list | None] = {
            "metrics": ["metrics.csv"],
            "runs": sorted(path.parent.relative_to(study) for path in study.rglob("run.json")),
            "tables": [f"tables/{name}.csv" for name in ("results", "claims", "comparisons")],
            "partitions": [f"data/{name}/partition/partition.json" for name in DATASETS],
            "figures": [f"figures/{name}.svg" for name in ("partition", *FIGURES)],
            "findings": ["findings.md"],
            "benchmarks": ["benchmarks"],
            "output": [output],
        }
        given = {name: values for name, values in (usual | change).items() if values is not None}
        return [word for name, values in given.items() for word in (f"--{name}", *map(str, values))]

    return of


@pytest.fixture(scope="session", name="stage")
def stage_fixture() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``stage`` for the tests, which cannot import a conftest."""
    return stage


@pytest.fixture(scope="session")
def page(study: Path, flags: Callable[..., list[str]]) -> Path:
    """The report of the study, written once."""
    done = stage("publish.report", *flags(), cwd=study)
    assert done.returncode == 0, done.stderr
    return study / "report" / "index.html"
