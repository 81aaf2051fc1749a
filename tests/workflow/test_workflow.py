"""The workflow as its users run it, on config/ci.yaml, from a path with a space."""

import csv
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CI = ["--configfile", "config/ci.yaml"]
RESULTS = Path("results/ci")
MNIST = ROOT.parent / "shared/data/mnist"

pytestmark = pytest.mark.slow


def snakemake(folder, *args, check=True):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *args],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def planned(folder, *args, overlays=()):
    """Job counts of a dry run, by rule."""
    done = snakemake(folder, "-n", *CI, *overlays, "--", *args)
    text = done.stdout + done.stderr
    if "Nothing to be done" in text:
        return {}
    table = text.split("Job stats:")[1].split("total")[0]
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A copy of the repository with the whole study of ci.yaml run in it."""
    folder = tmp_path_factory.mktemp("a path") / "the study"
    folder.mkdir()
    for name in ("Snakefile", "workflow", "config", "profiles"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    snakemake(folder, "all", *CI)
    return folder


@pytest.fixture
def edited(study):
    """Change a file of the study's code or configuration, and put it back afterwards."""
    before = {}

    def edit(name, old, new):
        path = study / name
        text = path.read_text()
        before.setdefault(path, (text, path.stat()))
        assert old in text
        path.write_text(text.replace(old, new))

    yield edit
    for path, (text, status) in before.items():
        path.write_text(text)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_all_makes_every_table_figure_and_the_report(study):
    for table in ("claims", "results", "partition", "comparisons", "ablations"):
        for ending in ("csv", "html", "md"):
            assert (study / RESULTS / "tables" / f"{table}.{ending}").stat().st_size > 100
    figures = sorted(path.stem for path in (study / RESULTS / "figures").glob("*.svg"))
    assert figures == [
        "accuracy_against_bytes",
        "accuracy_against_parameters",
        "accuracy_by_round",
        "kept_similarity",
        "latency",
        "null_distribution",
        "partition",
        "widths_by_layer",
        "widths_by_round",
    ]
    assert "not settled" in (study / RESULTS / "findings.md").read_text()
    page = (study / RESULTS / "report.html").read_text()
    assert "published against ours" in page
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', page)


def test_every_number_names_an_existing_file(study):
    metrics = pd.read_csv(study / RESULTS / "metrics.csv")
    assert set(metrics["dataset"]) == {"glyphs", "faces", "digits"}
    assert set(metrics["variant"]) == {"fedavg", "reinit", "inherit"}
    assert set(metrics[metrics["dataset"] == "digits"]["method"]) == {
        *("dense", "autoprune", "found-widths", "random-filters", "null-norms")
    }
    assert all((study / name).is_file() for name in metrics["source_file"].unique())


def test_the_published_networks_are_counted_exactly(study):
    claims = pd.read_csv(study / RESULTS / "tables" / "claims.csv")
    counts = claims[(claims["source"] == "notebook") & claims["claim"].str.contains("arameters")]
    assert len(counts) >= 10
    assert (counts["verdict"] == "holds").all()


def test_stand_ins_are_named_wherever_their_numbers_stand(study):
    for table in ("results", "partition"):
        text = (study / RESULTS / "tables" / f"{table}.md").read_text()
        lines = [line for line in text.splitlines() if re.match(r"\|\s*(glyphs|faces)", line)]
        assert lines
        assert all("stand-in" in line for line in lines)
    for figure in (study / RESULTS / "figures").glob("*.svg"):
        assert "stand-in" in figure.read_text(), figure.name


def test_a_second_run_has_nothing_to_do(study):
    assert planned(study, "all") == {}


def test_a_comment_a_docstring_or_a_touch_reruns_nothing(study, edited):
    path = "workflow/autoprune/federation/training.py"
    edited(path, "network.train()\n", "network.train()  # a remark\n")
    edited(path, '"""Train in place', '"""Really train in place')
    (study / "workflow/autoprune/pruning/rule.py").touch()
    assert planned(study, "all") == {}


def test_k_reruns_what_depends_on_it_and_nothing_else(study, edited):
    edited(
        "config/ci.yaml",
        "widths: [8, 8, 10], autoprune: {k: 1.5",
        "widths: [8, 8, 10], autoprune: {k: 1.6",
    )
    jobs = planned(study, "all")
    assert jobs["prune"] == 4  # one pair, two variants, two seeds
    assert jobs["count"] == 4
    assert not {"prepare", "partition", "baseline", "count_published"} & jobs.keys()


def test_a_helper_of_the_pruning_rule_reruns_the_pruned_runs_only(study, edited):
    edited("workflow/autoprune/pruning/rule.py", "square <= allowed", "square < allowed")
    jobs = planned(study, "all")
    assert jobs["prune"] == 8 + 10  # two seeds: two pairs with two arms, and one with five
    assert "baseline" not in jobs


def test_a_networks_code_reruns_its_own_runs_only(study, edited):
    edited("workflow/autoprune/models/resnet.py", "return F.relu(self.add", "return F.elu(self.add")
    jobs = planned(study, "all")
    assert (jobs["baseline"], jobs["prune"]) == (2, 4)


def test_a_seed_runs_that_seed_and_the_tables(study, edited):
    edited("config/ci.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    jobs = planned(study, "all")
    assert (jobs["baseline"], jobs["prune"]) == (3, 9)
    assert not {"prepare", "partition", "export", "export_rounded", "latency_host"} & jobs.keys()


def test_the_first_seeds_networks_are_exported_and_timed(study):
    """Exact ones of every method, rounded ones where a plan has scores; no phone was here."""
    latency = pd.read_csv(study / RESULTS / "tables/latency.csv")
    assert set(latency["kind"]) == {"host_proxy"}
    assert set(latency["seed"]) == {0}
    assert set(latency["precision"]) == {"fp32", "int8"}
    exact = latency[latency["round_widths_to"].isna()]
    assert len(exact) == 2 * len(latency["source_files"].unique()) == 2 * 9
    rounded = latency[latency["round_widths_to"] == 4]
    assert len(exact) + len(rounded) == len(latency)
    assert set(rounded["method"]) == {"autoprune", "null-norms"}
    assert all(int(n) % 4 == 0 or int(n) in (10, 14) for w in rounded["widths"] for n in w.split())
    assert (
        (latency["low"] <= latency["speed_up"]) & (latency["speed_up"] <= latency["high"])
    ).all()
    files = {hashlib.sha256(p.read_bytes()).hexdigest() for p in study.glob(f"{RESULTS}/**/*.onnx")}
    assert set(latency["model_sha256"]) <= files
    measured = json.loads((study / latency["source_files"][0]).read_text())
    assert (measured["kind"], measured["threads"]) == ("host_proxy", 1)
    assert all(len(of["rounds"]) == 3 for of in measured["measured"])


def test_another_multiple_trains_nothing(study, edited):
    edited("config/ci.yaml", "round_widths_to: [4]", "round_widths_to: [4, 6]")
    jobs = planned(study, "all")
    assert (jobs["export_rounded"], jobs["latency_host"]) == (7, 7)
    assert not {"baseline", "prune", "export", "count"} & jobs.keys()


def test_multiples_and_seeds_say_what_is_exported_and_timed(study):
    mine = study / "mine.yaml"
    mine.write_text("deploy: {round_widths_to: []}\n")
    jobs = planned(study, "all", overlays=[str(mine)])
    assert jobs["latency_host"] == 7
    assert "onnx-r4" not in snakemake(study, "-n", "-p", *CI, str(mine), "--", "all").stdout
    mine.write_text("deploy: {seeds: 2}\n")
    jobs = planned(study, "all", overlays=[str(mine)])
    assert (jobs["export"], jobs["export_rounded"], jobs["latency_host"]) == (5, 7, 9)
    mine.write_text("deploy: {seeds: 0}\n")
    jobs = planned(study, "all", overlays=[str(mine)])
    assert not {"export", "export_rounded", "latency_host"} & jobs.keys()


def test_a_formats_code_reruns_its_exports(study, edited):
    edited("workflow/autoprune/exports/onnx.py", "per_channel=True", "per_channel=False")
    jobs = planned(study, "all")
    assert (jobs["export"], jobs["export_rounded"], jobs["latency_host"]) == (5, 7, 9)
    assert not {"baseline", "prune", "count"} & jobs.keys()


def test_a_style_change_redraws_figures_only(study, edited):
    edited("workflow/autoprune/drawing.py", '"savefig.dpi": 200', '"savefig.dpi": 210')
    drawn = {"draw", "draw_controls", "describe_partition", "figures"}
    assert planned(study, "figures").keys() <= drawn


@pytest.mark.parametrize(
    "target",
    ["data", "baselines", "pruned", "complexity", "latency", "tables", "figures", "report", "all"],
)
def test_targets_exist_and_are_done(study, target):
    assert planned(study, target) == {}


def test_a_deleted_run_comes_back_with_the_same_bytes(study):
    run = study / RESULTS / "runs/glyphs/cnn/autoprune/inherit/seed-1"
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    shutil.rmtree(run)
    snakemake(study, *CI, "--", "complexity")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_failed_job_shows_its_reason_and_leaves_no_output(study, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "one.json").write_text('{"users": ["a"], "num_samples": [1], "user_data": {')
    overlay = tmp_path / "broken.yaml"
    overlay.write_text(f"datasets: {{femnist: {{options: {{folder: '{shards}'}}}}}}\n")
    done = snakemake(
        study,
        "data",
        "--configfile",
        "config/femnist-leaf.yaml",
        str(overlay),
        check=False,
    )
    assert done.returncode != 0
    reasons = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(reasons) == 1
    assert str(shards / "one.json") in reasons[0]
    assert not list((study / "results/femnist-leaf/data").rglob("*.npy"))


def test_the_papers_configuration_starts_with_its_downloads(study):
    done = snakemake(study, "-n", "all", "--configfile", "config/paper.yaml")
    assert "missing:" not in done.stderr
    assert re.findall(r"^download +(\d+)$", done.stdout, re.MULTILINE)[0] == "2"
    uncropped = snakemake(
        *(study, "-n", "data", "--configfile", "config/paper.yaml", "config/paper-uncropped.yaml")
    )
    assert re.findall(r"^prepare +(\d+)$", uncropped.stdout, re.MULTILINE)[0] == "1"


def test_a_missing_folder_of_the_users_is_named_before_anything_runs(study):
    done = snakemake(study, "-n", "data", "--configfile", "config/mnist.yaml")
    missing = [line for line in done.stderr.splitlines() if line.startswith("missing: ")]
    assert missing == ["missing: data set mnist: folder ../shared/data/mnist does not exist"]


@pytest.mark.skipif(not MNIST.is_dir(), reason="the real MNIST files are not beside the project")
def test_a_file_put_in_resources_by_hand_is_checked_and_used(study):
    receipt = "resources/downloads/mnist_test_labels.json"
    by_hand = study / "resources/downloads/t10k-labels-idx1-ubyte.gz"
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(b"\x1f\x8b something else")
    done = snakemake(study, receipt, check=False)
    assert done.returncode != 0
    assert "error: resources/downloads/t10k-labels-idx1-ubyte.gz" in done.stdout + done.stderr
    assert not (study / receipt).exists()
    assert by_hand.read_bytes() == b"\x1f\x8b something else"

    shutil.copy(MNIST / by_hand.name, by_hand)
    snakemake(study, receipt)
    assert "published" in (study / receipt).read_text()
    by_hand.unlink()  # to spare the space: what was made from it stays as it is
    assert "Nothing to be done" in snakemake(study, receipt).stderr


def test_the_readmes_example_of_own_images_makes_a_store(study):
    config = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    (study / "mine.yaml").write_text(config)
    rng = np.random.default_rng(0)
    for client, label, number in itertools.product("ab", ("cat", "dog"), range(10)):
        path = study / "folder" / client / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (28, 30), np.uint8)).save(path)
    snakemake(study, "data", "--configfile", "mine.yaml")
    header = json.loads((study / "results/mine/data/mine/store/header.json").read_text())
    assert header["clients"] == ["a", "b"]
    assert header["shape"] == [28, 28, 1]
    assert header["targets"] == [{"name": "label", "classes": ["cat", "dog"]}]
    assert sum(header["samples"].values()) == 40


def test_a_store_is_shared_between_workflows_by_the_cache(study, tmp_path, monkeypatch):
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path))
    for results in ("one", "two"):
        overlay = study / f"{results}.yaml"
        overlay.write_text(f"pathvars: {{results: results/{results}}}\n")
        store = f"results/{results}/data/digits/store/header.json"
        done = snakemake(study, store, "--cache", *CI, str(overlay))
    assert (study / store).exists()
    assert "python -m autoprune.data.prepare" not in done.stdout + done.stderr
    assert len(list(tmp_path.iterdir())) >= 5


def test_the_readmes_method_is_one_file_and_runs(study):
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    (study / "workflow/autoprune/methods/drop_one.py").write_text(example)
    mine = study / "mine.yaml"
    mine.write_text("seeds: [0]\nstudy: [digits-cnn]\nmethods: {drop-one: [weakest]}\n")
    run = study / "results/ci/runs/digits/cnn/drop-one/weakest/seed-0"
    snakemake(study, str((run / "plan.json").relative_to(study)), *CI, str(mine))
    with (run / "history.csv").open() as stream:
        widths = [row["widths"] for row in csv.DictReader(stream)]
    assert widths[:6] == ["12 14", "11 13", "10 12", "9 11", "8 10", "8 9"]
    assert widths[-1] == "8 8"


def test_controls_follow_the_plan_of_their_seed(study):
    """Nothing else asks for autoprune here; another k makes plan and control anew, dense not."""
    mine = study / "mine.yaml"
    text = "seeds: [0]\nstudy: [digits-cnn]\n"
    text += (
        "pairs: {digits-cnn: {methods: {dense: [fedavg], found-widths: [reinit], fedmap: [global]}"
    )
    mine.write_text(text + "}}\n")
    snakemake(study, "pruned", "baselines", *CI, str(mine))
    runs = study / "results/ci/runs/digits/cnn"
    plan = json.loads((runs / "autoprune/reinit/seed-0/plan.json").read_text())
    widths = json.loads((runs / "found-widths/reinit/seed-0/architecture.json").read_text())
    assert widths["widths"] == plan["shrinks"][-1]["widths"]
    masked = json.loads((runs / "fedmap/global/seed-0/evaluation.json").read_text())
    assert masked["nonzeros"] == plan["shrinks"][-1]["parameters"]
    mine.write_text(text + ", autoprune: {k: 1.3}}}\n")
    again = planned(study, "pruned", "baselines", overlays=[str(mine)])
    assert again["prune"] == 6  # the pair's own five, and fedmap
    assert "baseline" not in again
