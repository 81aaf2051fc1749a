"""The workflow as its users run it, on config/ci.yaml, from a path with a space."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from autoprune.publish.items import items
from stages import run_stage

ROOT = Path(__file__).resolve().parents[2]
CI = ["--configfile", "config/ci.yaml"]
RESULTS = Path("results/ci")
# ci.yaml has no map of k and patience; of each other figure there is one
DRAWN = [n for n, item in items("figures").items() if item.only_with not in ("map", "target")]
MNIST = ROOT.parent / "shared/data/mnist"

pytestmark = pytest.mark.slow


def snakemake(folder, *args, check=True):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    told = {"cwd": folder, "env": environment, "timeout": 600}
    done = run_stage("snakemake", "--cores", "2", *args, **told)
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
def study(studied, tmp_path_factory):
    """A copy of the repository with the whole study of ci.yaml in it, moved since it was run."""
    folder = tmp_path_factory.mktemp("a path") / "the study"
    return shutil.copytree(studied, folder, symlinks=True)  # with the times of the files


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
    # and no target, other task or metric
    more = ("scores", "target")
    tables = [name for name, item in items("tables").items() if item.only_with not in more]
    for table in tables:
        for ending in ("csv", "html", "md", "tex"):
            assert (study / RESULTS / "tables" / f"{table}.{ending}").stat().st_size > 100
    figures = sorted(path.stem for path in (study / RESULTS / "figures").glob("*.svg"))
    assert figures == DRAWN
    assert "not settled" in (study / RESULTS / "findings.md").read_text()
    readers = (study / RESULTS / "report" / "index.html").read_text()
    assert readers.count('<tbody role="rowgroup"') == len(
        pd.read_csv(study / RESULTS / "tables" / "claims.csv")
    )
    stills = re.findall(r'alt="Figure ([\w ]+)\. ', readers)
    assert sorted(stills) == [name.replace("_", " ") for name in figures]
    page = (study / RESULTS / "report.html").read_text()
    assert "published against ours" in page
    assert "report/index.html" in page
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', page)


def test_every_number_names_an_existing_file(study):
    metrics = pd.read_csv(study / RESULTS / "metrics.csv")
    assert set(metrics["dataset"]) == {"glyphs", "faces", "digits"}
    assert set(metrics["variant"]) == {"fedavg", "reinit", "inherit"}
    assert set(metrics[metrics["dataset"] == "digits"]["method"]) == {
        *("dense", "autoprune", "found-widths", "narrow", "random-filters", "null-norms")
    }
    assert all((study / name).is_file() for name in metrics["source_file"].unique())


def test_the_study_is_what_the_committed_reference_says(study, tmp_path):
    """Fails where a commit moves a number: `make reference` then records it, on purpose."""
    done = snakemake(study, "verify", *CI, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^SAME: \d{4} figures compared", done.stdout, re.MULTILINE)
    assert planned(study, "verify") == {"verify": 1}  # whenever it is asked for
    nowhere = tmp_path / "nowhere.yaml"
    nowhere.write_text("verify: {reference: null}\n")
    done = snakemake(study, "verify", *CI, str(nowhere), check=False)
    assert done.returncode != 0
    assert "error: no reference to compare with (config: verify.reference is null)" in done.stdout


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
    edited("workflow/autoprune/pruning/settings.py", "Half-width of the", "Half the width of the")
    (study / "workflow/autoprune/pruning/rule.py").touch()
    for images in study.glob(f"{RESULTS}/data/*/store/images.npy"):
        images.touch()  # the faces are more than the megabyte that Snakemake compares by itself
    assert planned(study, "all") == {}


def test_k_reruns_what_depends_on_it_and_nothing_else(study, edited):
    edited(
        "config/ci.yaml",
        "widths: [8, 8, 10], rounds: 4, autoprune: {k: 1.5",
        "widths: [8, 8, 10], rounds: 4, autoprune: {k: 1.6",
    )
    jobs = planned(study, "all")
    assert jobs["prune"] == 4  # one pair, two variants, two seeds
    assert jobs["count"] == 2  # the seeds of an arm in one job
    assert not {"prepare", "partition", "baseline", "published_counts"} & jobs.keys()


def test_a_helper_of_the_pruning_rule_reruns_the_pruned_runs_only(study, edited):
    edited("workflow/autoprune/pruning/rule.py", "square <= allowed", "square < allowed")
    jobs = planned(study, "all")
    assert jobs["prune"] == 8 + 12  # two seeds: two pairs with two arms, and one with six
    assert "baseline" not in jobs


def test_a_networks_code_reruns_its_own_runs_only(study, edited):
    edited("workflow/autoprune/models/resnet.py", "return F.relu(self.add", "return F.elu(self.add")
    jobs = planned(study, "all")
    assert (jobs["baseline"], jobs["prune"]) == (2, 4)


def test_a_seed_runs_that_seed_and_the_tables(study, edited):
    edited("config/ci.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    jobs = planned(study, "all")
    assert (jobs["baseline"], jobs["prune"]) == (3, 10)
    assert not {"prepare", "partition", "export", "export_rounded", "latency_host"} & jobs.keys()


def test_the_first_seeds_networks_are_exported_and_timed(study):
    """Exact ones of every method, rounded ones where a plan has scores; no phone was here."""
    latency = pd.read_csv(study / RESULTS / "tables/latency.csv")
    assert set(latency["kind"]) == {"host_proxy"}
    assert set(latency["seed"]) == {0}
    assert set(latency["precision"]) == {"fp32", "int8"}
    exact = latency[latency["round_widths_to"].isna()]
    assert len(exact) == 2 * len(latency["source_files"].unique()) == 2 * 10
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


@pytest.mark.long
def test_multiples_and_seeds_say_what_is_exported_and_timed(study):
    mine = study / "mine.yaml"
    mine.write_text("deploy: {round_widths_to: []}\n")
    jobs = planned(study, "all", overlays=[str(mine)])
    assert jobs["latency_host"] == 7
    assert "onnx-r4" not in snakemake(study, "-n", "-p", *CI, str(mine), "--", "all").stdout
    mine.write_text("deploy: {seeds: 2}\n")
    jobs = planned(study, "all", overlays=[str(mine)])
    assert (jobs["export"], jobs["export_rounded"], jobs["latency_host"]) == (6, 7, 10)
    mine.write_text("deploy: {seeds: 0}\n")
    jobs = planned(study, "all", overlays=[str(mine)])
    assert not {"export", "export_rounded", "latency_host"} & jobs.keys()


def test_a_formats_code_reruns_its_exports(study, edited):
    edited("workflow/autoprune/measure/formats/onnx.py", "per_channel=True", "per_channel=False")
    jobs = planned(study, "all")
    assert (jobs["export"], jobs["export_rounded"], jobs["latency_host"]) == (6, 7, 10)
    assert not {"baseline", "prune", "count"} & jobs.keys()


def test_a_style_change_redraws_figures_only(study, edited):
    edited("workflow/autoprune/publish/plotting.py", '"savefig.dpi": 200', '"savefig.dpi": 210')
    assert planned(study, "figures").keys() <= {"draw", "figures"}


def test_an_edited_figure_is_drawn_again_and_no_other(study, edited):
    edited("workflow/autoprune/publish/figures/widths_by_layer.py", "{:.3g}", "{:.4g}")
    jobs = planned(study, "figures", "tables")
    assert {name: count for name, count in jobs.items() if name != "figures"} == {"draw": 1}


def test_targets_exist_and_are_done(study):
    targets = ["data", "baselines", "pruned", "complexity", "latency", "tables", "figures"]
    targets += ["report_page", "report", "all"]
    assert planned(study, *targets) == {}


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
    said = map(str.strip, done.stderr.splitlines())
    reasons = [line for line in said if line.startswith("error:")]
    assert len(reasons) == 1
    assert str(shards / "one.json") in reasons[0]
    assert not list((study / "results/femnist-leaf/data").rglob("*.npy"))


@pytest.mark.long
def test_the_papers_configuration_starts_with_its_downloads(study):
    paper = ["config/paper.yaml", "config/methods.yaml", "config/paper-controls.yaml"]
    done = snakemake(study, "-n", "--quiet", "rules", "--configfile", *paper, "--", "all")
    assert "missing:" not in done.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    assert (jobs["download"], jobs["prepare"]) == ("2", "5")
    # of five seeds: six pairs' 24 methods, slimming on two, 10 more and the ablations' three pairs
    assert int(jobs["prune"]) == 5 * (6 * 24 + 2 * 3 + 10 + 4)
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


@pytest.mark.long
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
    assert again["prune"] == 7  # the pair's own six, and fedmap
    assert "baseline" not in again


def ort_log(median_ms):
    """What onnxruntime_perf_test prints of 50 runs around a median."""
    times = {"Min": 0.95, "Max": 1.2, "P50": 1, "P90": 1.1, "P95": 1.1, "P99": 1.2, "P999": 1.2}
    lines = ["Setting intra_op_num_threads to 1", "Total inference requests: 50"]
    lines += [f"Average inference time cost total: {1.01 * median_ms:.6f} ms"]
    lines += [f"{name} Latency: {x * median_ms / 1000:.9f} s" for name, x in times.items()]
    return "\n".join(lines) + "\n"


@pytest.mark.long
def test_a_phones_session_is_in_the_latency_table_and_the_claims(study, tmp_path):
    """Of one pair and seed: measured by hand, handed in, changed, spoilt, taken away."""
    study = shutil.copytree(study, tmp_path / "with a phone", symlinks=True)
    # with a session the networks of every seed are exported: of one seed and pair they are there
    (study / "phone.yaml").write_text("seeds: [0]\nstudy: [glyphs-cnn]\n")
    results, mine, overlay = study / RESULTS, [*CI, "phone.yaml"], {"overlays": ["phone.yaml"]}
    names = ("tables/claims.csv", "tables/latency.csv", "figures/latency.svg")
    tables = [str(RESULTS / name) for name in names]
    snakemake(study, *tables, *mine)
    claim = claims_on_android(results)
    assert claim["tested_on"] == "not measured: no session in resources/android"
    assert len((results / "latency/android.csv").read_text().splitlines()) == 1

    manifests = sorted(map(str, results.glob("runs/glyphs/cnn/**/manifest.json")))
    words = []
    for repeat, order in enumerate((["dense", "autoprune"], ["autoprune", "dense"]), start=1):
        for method in order:
            log = study / "logs" / f"{method}-{repeat}.txt"
            log.parent.mkdir(exist_ok=True)
            log.write_text(ort_log({"dense": 0.05, "autoprune": 0.02}[method]))
            variant = {"dense": "fedavg", "autoprune": "reinit"}[method]
            words += ["--log-of", f"glyphs-cnn-{method}-{variant}-s0-fp32.onnx", str(log)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "autoprune.phone", "import-logs", *words),
            *("--session", study / "resources/android/my-phone", "--manifests", *manifests),
            *("--started-at", "2026-11-03T14:05:00Z", "--delegate", "cpu", "--warmup-runs", "1"),
            *("--manufacturer", "Maker", "--phone", "P1", "--tool-version", "1.31.1"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(study / "workflow")},
    )
    assert done.returncode == 0, done.stderr

    read = {"import_latency": 1, "tabulate": 2, "draw": 1}
    assert planned(study, *tables, **overlay) == read
    snakemake(study, *tables, *mine)
    claim = claims_on_android(results)
    assert (claim["ours"], claim["n"], claim["verdict"]) == (2.5, 2, "holds")
    assert "STAND-IN DATA ONLY: glyphs (stand-in)/CNN seed 0: 2.50" in claim["tested_on"]
    latency = pd.read_csv(results / "tables/latency.csv")
    phone = latency[latency["kind"] == "phone"]
    assert sorted(phone["median_ms"]) == [0.02, 0.05]
    assert phone["speed_up"].dropna().tolist() == [2.5]
    assert (latency["kind"] == "host_proxy").any()
    assert "stand-in" in (results / "figures/latency.svg").read_text()
    assert planned(study, *tables, **overlay) == {}

    session = study / "resources/android/my-phone"
    (session / "raw/crash.log").write_text("Segmentation fault\n")
    assert planned(study, *tables, **overlay) == read
    log = next(session.glob("raw/001-*"))
    log.write_text(ort_log(0.04))
    done = snakemake(study, tables[0], *mine, check=False)
    assert done.returncode != 0
    assert "runs.csv, line 2: raw_log_sha256: found" in done.stdout + done.stderr
    assert not (results / "latency/android.csv").exists()
    shutil.rmtree(session)
    snakemake(study, tables[0], *mine)
    assert claims_on_android(results)["verdict"] == "not tested"


def claims_on_android(results):
    """The row of the claims table on a phone's inference time."""
    table = pd.read_csv(results / "tables/claims.csv")
    (row,) = table[table["claim"].str.contains("Android")].to_dict("records")
    return row


def test_a_finished_study_is_archived_and_its_numbers_traced(study, tmp_path):
    """The zip opens in an empty folder, its checksums are right, and every table leads to data."""

    def python(folder, *words):
        done = run_stage(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python(study, "autoprune.publish.archive", *CI, "--output", str(tmp_path / "study.zip"))
    opened = tmp_path / "opened"
    shutil.unpack_archive(tmp_path / "study.zip", opened)
    subprocess.run(["sha256sum", "-c", "--quiet", "manifest-sha256.txt"], cwd=opened, check=True)
    for path in opened.rglob("*"):
        if path.is_file():
            assert str(study).encode() not in path.read_bytes(), path
    assert (opened / RESULTS / "report.html").is_file()
    for ending in ("svg", "pdf"):
        drawn = (opened / RESULTS / "figures").glob(f"*.{ending}")
        assert sorted(path.stem for path in drawn) == DRAWN
    cells = {
        "results": "1:test_accuracy",
        "claims": "1:ours",
        "comparisons": "3:difference_points",
        "ablations": "1:difference_points",
    }
    for table, cell in cells.items():
        for folder in (study, opened):
            text = python(folder, "autoprune.check.trace", table, cell, "--results", str(RESULTS))
            assert "now: the code here is the same" in text
            assert "state: as recorded" in text
            assert "data set " in text
