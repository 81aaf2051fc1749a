"""A finished study in small, made up, for the check that compares it with a reference."""

import csv
import json
import shutil

import pytest

from autoprune.check.causes import current_code
from autoprune.core import environment, provenance
from autoprune.measure import metrics
from autoprune.measure.history import HISTORY

HEADER = [*HISTORY]
ARMS = [("dense", "fedavg"), ("autoprune", "reinit"), ("null-norms", "reinit")]


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_run(results, method, variant, seed):
    """One run of two rounds; a pruned one shrinks from 4 6 to 3 5 in the second."""
    folder = results / "runs" / "digits" / "cnn" / method / variant / f"seed-{seed}"
    folder.mkdir(parents=True)
    pruned = method != "dense"
    with (folder / "history.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        for at in range(3):
            small = pruned and at == 2
            size, widths = (70, "3 5") if small else (100, "4 6")
            accuracy = (20 + 3 * at + seed) / 225
            bytes_sent, payload = (size * 12, size * 8) if at else (0, 0)
            loss = "" if at == 0 else 2.3 - at / 7
            row = [at, loss, accuracy, 2.5 - at / 9, accuracy, size, size, size, widths]
            row += [*2 * [3 if at else 0], *4 * [0]]  # clients, all of them usable
            row += [*2 * [bytes_sent], *2 * [payload], int(small), int(pruned)]
            writer.writerow([*row, int(small), "1.0000 0.6667"])
    size = 70 if pruned else 100
    scores = {name: accuracy for name in metrics.SCORES if "accuracy" in name}
    counts = {
        "test_loss": 2.2,
        "test_examples": 225,
        "validation_examples": 200,
        "nonzeros": size,
        "bits": 32 * size,
    }
    write_json(folder / "evaluation.json", scores | counts)
    complexity = {"parameters": size, "parameters_with_statistics": size}
    complexity |= {"macs": 50 * size, "flops_tf_profiler": 100 * size, "classes": 10}
    complexity |= {"input_shape": [1, 28, 28]}
    write_json(folder / "complexity.json", complexity)
    if pruned:
        layers = [
            {"layer": "conv1", "kept": [0, 1, 3], "lower": 1.25, "upper": 2.5},
            {"layer": "conv2", "kept": [0, 1, 2, 4, 5], "lower": 3.5, "upper": 4.75},
        ]
        norms = "null-kept" if method == "null-norms" else "trained"
        cut = {"round": 2, "layers": layers, "widths": [3, 5]}
        plan = {"norms": norms, "base": {"widths": [4, 6]}, "shrinks": [cut]}
        write_json(folder / "plan.json", plan)
    settings = {"seed": seed, "rounds": 2, "torch-threads": 1}
    run = {
        "dataset": "digits", "data_kind": "real", "stands_for": "", "model": "cnn",
        "method": method, "variant": variant, "seed": seed,
        "settings": settings | ({"k": 1.5} if pruned else {}),
        "store_checksum": "ab" * 32, "partition_checksum": "cd" * 32,
        "versions": provenance.versions(),
    }  # fmt: skip
    name = f"digits/cnn/{method}/{variant}/seed-{seed}"
    write_json(folder / "run.json", run | {"code": current_code(name)})
    return run


def write_study(results, seeds=(0, 1)):
    runs = [write_run(results, *arm, seed) for arm in ARMS for seed in seeds]
    folders = list((results / "runs").glob("*/*/*/*/*"))
    metrics.collect(folders).to_csv(results / "metrics.csv", index=False, lineterminator="\n")
    write_json(results / "environment.json", environment.describe(runs))
    store = {"source": "digits", "samples": {"train": 1347, "test": 225}}
    write_json(results / "data/digits/store/header.json", store | {"preprocessing": {"crop": None}})
    divided = {"scheme": "dirichlet", "settings": {"alpha": 0.5}, "clients": 12}
    write_json(results / "data/digits/partition/partition.json", divided)
    network = {"dataset": "femnist", "model": "cnn", "widths": [32, 64], "parameters": 56126}
    write_json(results / "published_counts.json", [network])
    for name, text in {
        "null/digits-cnn.csv": "null,draw,applications,widths\nkept,0,3,3 5\nkept,1,3,3 4\n",
        "tables/claims.csv": "claim,variant,ours,verdict,source_files\n"
        f"fewer parameters,reinit,30.5,does not hold,{results}/a.json\n",
        "tables/partition.csv": "dataset,clients\ndigits,12\n",
        "tables/latency.csv": "dataset,milliseconds\ndigits,1.25\n",
    }.items():
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).write_text(text)
    return results


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    """The folder of results; not to be changed."""
    return write_study(tmp_path_factory.mktemp("verify") / "results")


@pytest.fixture
def results(made_up, tmp_path):
    """A copy to change."""
    shutil.copytree(made_up, tmp_path / "results")
    return tmp_path / "results"
