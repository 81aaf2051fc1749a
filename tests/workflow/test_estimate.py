"""What a study will take: bytes as a run counts them, sizes as stores have them, plain refusals."""

import json
import re

import pytest

from autoprune.core.options import read
from autoprune.data.prepare import __main__ as prepare
from autoprune.data.prepare import sources
from autoprune.measure.table import read_metrics
from autoprune.models import Architecture
from autoprune.study import estimate
from autoprune.study.speed import Speed, traffic
from copies import ROOT
from stages import run_here

BASE = Architecture("cnn", (32, 64), (1, 28, 28), 62)
RULE = {"k": 2.2, "patience": 3, "cap": 50}


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("glyphs", {"clients": 12, "samples": 30, "seed": 1}),
        ("faces", {"clients": 8, "samples": 12, "seed": 1}),
        ("digits", {}),
    ],
)
def test_a_source_says_how_large_its_data_become(source, options, tmp_path):
    """Within what chance does to the number of a client's images."""
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    prepare.main([source, "--name", "x", "--output", str(tmp_path / "store"), *flags])
    header = json.loads((tmp_path / "store/header.json").read_text())
    module = sources.load(source)
    said = module.expected(read(module.Options, options))
    assert list(said.shape) == header["shape"]
    assert said.clients == len(header["clients"])
    assert said.classes in {len(target["classes"]) for target in header["targets"]}
    held_out = header["samples"]["validation"] + header["samples"]["test"]
    for found, expected in ((said.train, header["samples"]["train"]), (said.held_out, held_out)):
        assert found == pytest.approx(expected, rel=0.25)


def test_phases_cover_the_run_and_shrink_where_filters_go():
    settings = {"rounds": 200, "seed": 0}
    found = {}
    for method, like in (
        ("dense", "fedavg"),
        ("fedmap", "global"),
        ("autoprune", "reinit"),
        ("autoprune", "inherit"),
        ("narrow", "reinit"),
        ("fpgm", "one-shot"),
    ):
        phases = estimate.phases(settings | {"method": method, "like": like}, RULE, BASE)
        assert sum(phase.rounds for phase in phases) == pytest.approx(200)
        found[method, like] = sum(phase.architecture.widths[1] for phase in phases[-1:])
    assert found["dense", "fedavg"] == found["fedmap", "global"] == 64
    assert found["narrow", "reinit"] == found["autoprune", "reinit"] == found["fpgm", "one-shot"]
    assert found["autoprune", "reinit"] < found["autoprune", "inherit"] < 64


def test_totals_by_hand():
    """Two runs of 10 rounds with 4 clients' visits of a second, 3 evaluations of 180 images."""
    settings = {
        "rounds": 10, "clients_per_round": 5, "evaluate_every": 5, "batch_norm": "refreshed",
        "local_epochs": 1, "batch_size": 8, "learning_rate": 0.1, "epsilon": 1e-7,
        "precision": "fp32",
    }  # fmt: skip
    data = estimate.Expected(4, 80, 100, (28, 28, 1), 62)
    runs = [
        estimate.Planned(
            estimate.Run("d", "cnn", "dense", "fedavg", seed), settings, data,
            [estimate.Phase(10, BASE)],
        )
        for seed in (0, 1)
    ]  # fmt: skip
    speeds = {runs[0].asked(runs[0].phases[0]): Speed(1.0, 0.01)}
    (own,) = estimate.totals(runs, speeds).values()
    assert own.runs == 2
    assert own.longest == pytest.approx(10 * 4 + 3 * (100 + 80) * 0.01)
    assert own.seconds == pytest.approx(2 * own.longest)
    assert own.sent == 2 * 10 * 4 * traffic(BASE, refreshed=True)[0]


def test_the_bytes_are_those_that_runs_count():
    """Of the dense runs under docs/findings, whose networks never change."""
    for study in ("mnist-writers", "femnist-leaf"):
        metrics = read_metrics(ROOT / f"docs/findings/{study}/metrics.csv.gz")
        dense = metrics[(metrics["method"] == "dense") & (metrics["seed"] == 0)]
        final = dense[dense["round"].isna()].set_index("metric")["value"]
        classes = int(final["classes"])
        base = Architecture("cnn", (32, 64), (1, 28, 28), classes)
        visits = final["rounds"] * final["clients_per_round"]
        assert visits * traffic(base, refreshed=True)[0] == pytest.approx(
            final["bytes_total"], rel=0.001
        ), study


def test_the_command(tmp_path):
    """A pair of the CI study, of one network; its lines: runs, their bytes, memory and disk."""
    dense = tmp_path / "dense.yaml"
    dense.write_text("pairs: {glyphs-cnn: {device: cuda, methods: {dense: [fedavg]}}}\n")
    done = run_here(
        "autoprune.estimate", "--configfile", "config/ci.yaml", dense, "--cores", "1", "--pair",
        "glyphs-cnn",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"glyphs-cnn: timing \d networks\n", done.stderr)  # takes up to a minute
    lines = done.stdout.splitlines()
    assert lines[1].split()[:2] == ["glyphs-cnn", "2"]
    for wanted in (
        r"on 1 cores?: \d+ \w+ of training",
        r"memory: [\d,]+ MB a run and the images, \d",
        r"disk: [\d.]+ GB",
        "runs that are told a GPU are timed as if they had none",
    ):
        assert re.search(wanted, done.stdout), done.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--configfile", "config/unipen.yaml", "{own}"],
            "datasets.unipen: how large the data of source",
        ),
        (["--cores", "0"], "--cores: found 0, expected at least 1"),
        (["--pair", "digit-cnn"], "did you mean 'digits-cnn'?"),
        (["--configfile", "none.yaml"], "none.yaml: No such file"),
    ],
)
def test_what_cannot_be_estimated_is_one_line(flags, words, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(json.dumps({"pathvars": {"results": str(tmp_path)}}))  # nothing prepared there
    done = run_here("autoprune.estimate", *(flag.format(own=own) for flag in flags))
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
