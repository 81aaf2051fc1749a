"""Seeds for a stated precision: how many, what they cost, and the overlay that runs them."""

import numpy as np
import pytest
import yaml

from autoprune.core.errors import InputError
from autoprune.evidence.inference import Sample, projected, simultaneous
from autoprune.evidence.power import cost, main, needed, seeds_for
from autoprune.measure.metrics import collect

SPREAD = {0: -0.03, 1: 0.0, 2: 0.02, 3: 0.01}


@pytest.fixture
def results(run_folder, tmp_path):
    """Dense and kept weights on four seeds, with benchmarks of 30 and 90 CPU seconds a run."""
    folders = []
    for method, variant, seconds in (("dense", "fedavg", 30), ("autoprune", "inherit", 90)):
        for seed, shift in SPREAD.items():
            about = {"method": method, "variant": variant, "seed": seed, "rounds": 12}
            folders.append(run_folder(**about, test_accuracy=0.8 + shift * (1 + (seconds == 90))))
            path = tmp_path / f"benchmarks/runs/glyphs/cnn/{method}/{variant}/seed-{seed}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"s\th:m:s\tmax_rss\tcpu_time\n99.0\t0:01:39\t321.0\t{seconds}\n")
    collect(folders).to_csv(tmp_path / "metrics.csv", index=False)
    return tmp_path


def test_the_seeds_needed_are_the_fewest_that_will_do():
    draw = np.random.default_rng(0)
    samples = [Sample(tuple(draw.normal(scale=2 + name, size=6))) for name in range(4)]
    contrasts = [{name: 1.0, 0: -1.0} for name in (1, 2, 3)]
    found = needed(samples, contrasts, 2.0)
    for place, seeds in enumerate(found):
        assert projected(samples, contrasts, seeds)[place] <= 2.0
        assert projected(samples, contrasts, seeds - 1)[place] > 2.0
    # half the width takes about four times the seeds
    assert needed(samples, contrasts, 1.0)[2] == pytest.approx(4 * found[2], rel=0.15)
    assert needed(samples, contrasts, 1e-2) == [None] * 3
    assert needed([Sample((1.0,)), Sample((2.0,))], [{0: 1.0, 1: -1.0}], 1.0) == [None]


def test_the_command_says_what_precision_takes_and_writes_the_overlay(results, stage):
    flags = ("--results", results, "--half-width", 2, "--output", "more.yaml")
    done = stage("power", *flags, cwd=results)
    assert (done.returncode, done.stderr) == (0, "")
    shares = [[100 * (0.8 + scale * shift) for shift in SPREAD.values()] for scale in (2, 1)]
    samples = [Sample(tuple(own), pool="p") for own in shares]
    contrast = [{0: 1.0, 1: -1.0}]
    (half,) = (one.half_width for one in simultaneous(samples, contrast))
    (number,) = needed(samples, contrast, 2)
    hours = (number - 4) * (30 + 90) / 3600
    line = next(line for line in done.stdout.splitlines() if line.startswith("glyphs"))
    assert f"{half:.2f}" in line
    assert line.split()[-4:-1] == ["4", str(number), f"{hours:.2f}"]
    said = f"All questions: {number} seeds of every arm of the study, {hours:.2f} core-hours"
    assert said in done.stdout
    assert yaml.safe_load((results / "more.yaml").read_text()) == {"seeds": list(range(number))}
    assert "more.yaml: written" in done.stdout


def test_a_precision_that_is_reached_asks_for_nothing(results, capsys):
    main(["--results", str(results), "--half-width", "50"])
    assert "The seeds that have run, 4, are enough" in capsys.readouterr().out


def test_help_says_that_significance_is_no_reason_to_stop(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "Stop by precision" in text
    assert "find differences that are not there" in text


def test_a_run_that_was_never_timed_has_no_cost(results):
    arm = ("autoprune", "inherit")
    assert cost(results / "benchmarks", "glyphs", "cnn", arm) == 90
    assert cost(results / "none", "glyphs", "cnn", arm) is None
    path = results / "benchmarks/runs/glyphs/cnn/autoprune/inherit/seed-0.tsv"
    path.write_text("s\tcpu_time\n60.0\tNA\n")  # too short for Snakemake to measure
    assert cost(results / "benchmarks", "glyphs", "cnn", arm) == pytest.approx((60 + 3 * 90) / 4)
    path.write_text("minutes\n1\n")
    with pytest.raises(InputError, match=r"seed-0\.tsv: no benchmark of Snakemake"):
        cost(results / "benchmarks", "glyphs", "cnn", arm)


def test_new_seeds_come_behind_those_that_have_run():
    assert seeds_for([0, 1, 2], 5) == [0, 1, 2, 3, 4]
    assert seeds_for([1, 7], 4) == [0, 1, 2, 7]
    assert seeds_for([3], 1) == [3]


@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_a_precision_that_is_none_is_one_line(results, value):
    with pytest.raises(InputError, match=r"--half-width: found .*, expected above 0 points"):
        main(["--results", str(results), f"--half-width={value}"])


def test_without_questions_there_is_nothing_to_ask(run_folder, tmp_path):
    collect([run_folder()]).to_csv(tmp_path / "metrics.csv", index=False)
    with pytest.raises(InputError, match="no question has both its arms"):
        main(["--results", str(tmp_path)])
