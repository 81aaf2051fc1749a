"""Runs as the training leaves them, small and made up, for the tests of evidence and publishing."""

import contextlib
import csv
import io
import itertools
import json
import math
import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from autoprune.measure.table import to_csv
from autoprune.publish import tables
from stages import run_here

ROOT = Path(__file__).parents[1]
HISTORY = (
    "round,train_loss,validation_accuracy,validation_loss,test_accuracy,parameters,"
    "parameters_with_statistics,nonzeros,widths,clients,usable,late,raised,refused,unanswered,"
    "bytes_down,bytes_up,payload_down,payload_up,shrunk,searching,restarted,live"
)
WRAPPING = 60  # bytes of a message that are no numbers
UNITS = 10  # held-out clients, all alike
STARTS = {"cnn": (32, 64), "resnet": (16, 32, 64), "inception": (32, *[16] * 3, *[32] * 3, 96, 96)}
# dataset, data_kind, stands_for, model, classes
PAIRS = [
    ("glyphs", "stand-in", "femnist", "cnn", 62),
    ("glyphs", "stand-in", "femnist", "inception", 62),
    ("faces", "stand-in", "celeba", "cnn", 2),
    ("faces", "stand-in", "celeba", "resnet", 2),
    ("mnist", "real", "", "cnn", 10),
]
DRAWN = ("svg", "pdf")
ARMS = [("dense", "fedavg"), ("autoprune", "reinit"), ("autoprune", "inherit")]


def count(widths: Sequence[int]) -> int:
    """A parameter count that falls with the widths; not that of any real network."""
    return 26 * widths[0] + sum(9 * a * b + b for a, b in itertools.pairwise(widths))


def live_text(widths: Sequence[int], progress: float, variant: str) -> str:
    """Fractions of live filters; where weights are kept, up to half of the last layer's die."""
    dying = 0.5 * progress * (variant == "inherit")
    shares = [1 - dying * place / (len(widths) - 1 or 1) for place in range(len(widths))]
    alive = [max(1, round(w * share)) / w for w, share in zip(widths, shares, strict=True)]
    return " ".join(f"{share:.4f}" for share in alive)


def write_run(
    folder: Path,
    *,
    dataset: str = "glyphs",
    data_kind: str = "stand-in",
    stands_for: str = "femnist",
    model: str = "cnn",
    classes: int = 62,
    method: str = "dense",
    variant: str = "fedavg",
    seed: int = 1,
    rounds: int = 4,
    clients: int = 5,
    test_accuracy: float | None = None,
    shrink_rounds: Sequence[int] | None = None,
    share: float = 0.85,
    every: int = 2,
    test_examples: int = 400,
    settings: dict | None = None,
    late: int = 0,
) -> Path:
    """One run folder. Bytes are 4 a parameter, each way and client; ``late`` clients a round fail.

    Accuracy climbs from chance; a ``test_accuracy`` that is given is that of every evaluation
    after round 0, on validation images too.
    """
    draw = random.Random(f"{dataset}{model}{method}{variant}{seed}")
    widths = STARTS[model]
    if shrink_rounds is None:
        shrink_rounds = () if method == "dense" else range(2, 2 + rounds // 3)
    last = max(shrink_rounds, default=0)
    final = test_accuracy
    if final is None:
        loss = {"fedavg": 0.0, "inherit": 0.015}.get(variant, 0.03)
        final = (0.75 if classes > 2 else 0.92) - loss + draw.uniform(-0.01, 0.01)
    rows, accuracy = [], 1 / classes
    for at in range(rounds + 1):
        shrunk = at in shrink_rounds
        if shrunk:
            widths = tuple(max(2, math.floor(w * draw.uniform(share, 1))) for w in widths)
        start = last if variant == "reinit" else 0
        accuracy = final - (final - 1 / classes) * math.exp(-4 * max(at - start, 0) / rounds)
        seen = accuracy + draw.uniform(-0.02, 0.02)
        if at and test_accuracy is not None:
            accuracy = seen = test_accuracy
        evaluated = at % every == 0 or at == rounds
        size = count(widths)
        sent = clients * size * 4 if at else 0
        rows.append(
            [
                at,
                "" if at == 0 else round(2 * math.exp(-at / rounds), 6),
                round(seen, 9) if evaluated else "",
                round(1 - seen, 6) if evaluated else "",
                round(accuracy, 9) if evaluated else "",
                size,
                size + 10,
                size + 10,
                " ".join(map(str, widths)),
                *((clients, clients - late, late) if at else (0, 0, 0)),
                *(0, 0, 0),
                sent,
                sent,
                max(sent - WRAPPING * clients, 0),
                max(sent - WRAPPING * clients, 0),
                int(shrunk),
                int(method != "dense" and 0 < at <= last + 3),
                int(shrunk and variant == "reinit"),
                live_text(widths, at / rounds, variant) if evaluated else "",
            ]
        )
    folder.mkdir(parents=True)
    with (folder / "history.csv").open("w", newline="") as stream:
        stream.write(HISTORY + "\n")
        csv.writer(stream, lineterminator="\n").writerows(rows)
    identity = {
        "dataset": dataset, "data_kind": data_kind, "stands_for": stands_for, "model": model,
        "method": method, "variant": variant, "seed": seed, "settings": settings or {},
    }  # fmt: skip
    size = count(widths)
    evaluation = {
        "test_accuracy": final, "test_accuracy_last": final, "test_accuracy_best": final,
        "test_accuracy_worst_decile": final / 2, "test_macro_accuracy": final,
        "nonzeros": size + 10, "bits": 32 * (size + 10),
        "test_loss": 0.5, "test_examples": test_examples,
        "validation_accuracy": rows[-1][2], "validation_loss": 0.5, "validation_examples": 400,
    }  # fmt: skip
    complexity = {
        "family": model, "widths": list(widths), "input_shape": [1, 28, 28], "classes": classes,
        "parameters": size, "parameters_with_statistics": size + 10,
        "macs": 100 * size, "flops_tf_profiler": 205 * size,
    }  # fmt: skip
    for name, value in {
        "run": identity,
        "evaluation": evaluation,
        "complexity": complexity,
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    images = (test_examples + 400) // UNITS
    units = "".join(f"{unit},{images},{final * images}\n" for unit in range(UNITS))
    (folder / "units.csv").write_text("unit,examples,right\n" + units)
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """A maker of run folders in the layout of results/."""

    def make(**settings) -> Path:
        parts = {
            "dataset": "glyphs", "model": "cnn", "method": "dense", "variant": "fedavg", "seed": 1
        } | settings  # fmt: skip
        names = [str(parts[name]) for name in ("dataset", "model", "method", "variant")]
        return write_run(tmp_path.joinpath("runs", *names, f"seed-{parts['seed']}"), **settings)

    return make


def rows_of(raw: pd.DataFrame) -> list[dict[str, str]]:
    """A raw table as its CSV is read again."""
    return list(csv.DictReader(io.StringIO(to_csv(raw))))


def shown(table: str, raw: pd.DataFrame) -> pd.DataFrame:
    """A table for people, made from its CSV alone."""
    return tables.readable(tables.load(table), rows_of(raw))


def stage(name: str, *flags: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What ``python -W error -m autoprune.<name>`` comes to."""
    return run_here(f"autoprune.{name}", *flags, cwd=cwd)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with metrics.csv of five data set/model pairs, three arms, two seeds."""
    folder = tmp_path_factory.mktemp("study")
    runs = []
    for dataset, kind, stands_for, model, classes in PAIRS:
        for method, variant in ARMS:
            for seed in (1, 2):
                place = folder / "runs" / dataset / model / method / variant / f"seed-{seed}"
                runs.append(
                    write_run(
                        place,
                        dataset=dataset,
                        data_kind=kind,
                        stands_for=stands_for,
                        model=model,
                        classes=classes,
                        method=method,
                        variant=variant,
                        seed=seed,
                        rounds=30,
                    )
                )
    relative = [run.relative_to(folder) for run in runs]
    done = stage("measure.metrics", "--runs", *relative, "--output", "metrics.csv", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session", name="stage")
def stage_fixture() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``stage`` for the tests, which cannot import a conftest."""
    return stage


OVERLAY = """
seeds: [1, 2]
study: [glyphs-cnn]
datasets: {glyphs: {options: {clients: 6, samples: 20}}}
pairs: {glyphs-cnn: {methods: {dense: [fedavg], autoprune: [reinit, inherit]}}}
"""


@pytest.fixture(scope="session")
def finished(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with a finished study: made-up runs on real stores, tables from them.

    Its figures are empty files: what is drawn is the business of other tests.
    """
    project = tmp_path_factory.mktemp("project")
    for name in ("config", "LICENSE", "CITATION.cff", "envs", "Snakefile"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, project / name)
    (project / "config/mine.yaml").write_text(OVERLAY)
    shutil.copytree(study / "runs/glyphs/cnn", project / "results/runs/glyphs/cnn")
    with contextlib.chdir(project):
        _make_data(Path("results/data/glyphs"))
        for run in sorted(Path("results/runs").glob("*/*/*/*/seed-*")):
            _complete(run)
        _make_tables()
    return project


def _make_data(folder: Path) -> None:
    from autoprune.data.prepare import __main__ as prepare
    from autoprune.data.prepare import partition

    size = ["--clients", "6", "--samples", "20", "--seed", "0"]
    prepare.main(["glyphs", "--name", "glyphs", *size, "--output", str(folder / "store")])
    flags = ["--target", "character", "--scheme", "natural", "--seed", "0"]
    places = ["--store", str(folder / "store"), "--output", str(folder / "partition")]
    partition.main([*places, *flags])


def _complete(run: Path) -> None:
    """What training leaves beside the numbers."""
    from autoprune.data.partition import Partition

    data = Path("results/data/glyphs")
    about = json.loads((run / "run.json").read_text())
    about |= {
        "code": "0123456789abcdef",
        "store_checksum": json.loads((data / "store/header.json").read_text())["checksum"],
        "partition_checksum": Partition.open(data / "partition").checksum,
        "settings": {"rounds": 30, "k": 2.2},
        "versions": {"python": "3.11.7", "torch": "2.13.0", "cpu": "a processor"},
    }
    (run / "run.json").write_text(json.dumps(about))
    (run / "architecture.json").write_text("{}")
    (run / "weights.safetensors").write_bytes(b"weights")
    (run / "checkpoint.safetensors").write_bytes(b"of a killed process")


def _make_tables() -> None:
    from autoprune.evidence import tabulate
    from autoprune.measure import complexity, metrics
    from autoprune.publish import findings, render_table
    from autoprune.publish.items import items, timed

    runs = [str(run) for run in Path("results/runs").glob("*/*/*/*/seed-*")]
    files = ["--output", "results/metrics.csv", "--units", "results/units.csv"]
    metrics.main(["--runs", *runs, *files])
    counts = "results/published_counts.json"
    complexity.main(["--published", "config/published.tsv", "--output", counts])
    measured = ["--metrics", "results/metrics.csv"]
    forms = {"csv": "csv", "html": "html", "markdown": "md", "latex": "tex"}
    more = {
        "claims": ["--published=config/published.tsv", "--counts", counts, "--margin=1"],
        "comparisons": ["--reference", "reinit", "--margin", "1"],
        "partition": ["--partitions", "results/data/glyphs/partition/partition.json"],
    }
    aimed = {name for name, item in items("tables").items() if item.only_with == "target"}
    left_out = {*timed("tables"), *aimed}  # nothing was measured or aimed at
    for name in sorted({*items("tables")} - left_out):
        flags = more.get(name, []) + measured * ("metrics" in items("evidence")[name].inputs)
        files = [f"--{flag}=results/tables/{name}.{ending}" for flag, ending in forms.items()]
        tabulate.main([name, *flags, files[0]])
        render_table.main([name, *files])
    findings.main(["--study", "It", "results", "--output", "results/findings.md"])
    Path("results/figures").mkdir()
    for name in items("figures"):
        for ending in DRAWN:
            Path(f"results/figures/{name}.{ending}").write_text("")
