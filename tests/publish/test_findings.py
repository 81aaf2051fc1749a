"""The page of findings: every answer is a row of the tables, every table is short."""

import re

import pandas as pd
import pytest

from autoprune.core.errors import InputError
from autoprune.evidence.questions import QUESTIONS
from autoprune.publish.findings import ASKED, answers, interval, margins, tradeoffs
from autoprune.publish.findings import main as write

INTERVAL = {"ours": 1.5, "low": 1.0, "high": 2.0, "n": 4}
TRAINED = {"training_ours": 1.25, "training_low": 0.5, "training_high": 2.5}


def claim(number=0, variant="reinit", verdict="holds", data="MNIST/CNN", **other):
    row = {"claim": QUESTIONS[number].claim, "source": "control", "variant": variant}
    return row | {"data": data, "verdict": verdict, "answer": ""} | INTERVAL | TRAINED | other


def compared(method, variant, question="equal rounds", **other):
    row = {"dataset": "mnist", "data_kind": "real", "model": "cnn", "method": method}
    row |= {"variant": variant, "question": question, "n": 4, "accuracy_percent": 90.0}
    row |= {"accuracy_sd": 1.0, "nonzeros": 1000, "trained_rounds": 200, "still_rising": "no"}
    row |= {"dead_runs": 0, "accuracy_n": 4, "failed_replies": "", "margin_points": 1.25}
    row |= {"difference_points": 1.0, "difference_low": -1.0, "difference_high": 3.0}
    return row | other


@pytest.fixture
def study(tmp_path):
    """A results folder with the tables the page reads, and a figure."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/accuracy_by_round.svg").write_text("<svg/>")
    arms = [("autoprune", "reinit"), ("dense", "fedavg"), ("autoprune", "inherit")]
    nothing = dict.fromkeys(("difference_points", "difference_low", "difference_high"))
    rows = [
        compared(*arm, question, **(nothing if arm == arms[0] else {}), nonzeros=size)
        for arm, size in zip(arms, (150, 1000, 800), strict=True)
        for question in ("equal rounds", "equal training rounds", "equal bytes")
    ]
    tables = {
        "comparisons": rows,
        "claims": [claim(), claim(0, "inherit", "not resolved"), claim(2, verdict="not tested")],
        "ablations": [{"ablation": "last round", "n": 4, **nothing, "difference_points": 0.3}],
    }
    for name, content in tables.items():
        pd.DataFrame(content).to_csv(tmp_path / "tables" / f"{name}.csv", index=False)
    return tmp_path


def test_the_page_has_answers_then_a_figure_and_a_table_a_study(study):
    page = study / "findings.md"
    write(["--study", "MNIST by writer", str(study), "--output", str(page)])
    text = page.read_text()
    assert len(text.splitlines()) < 60
    answered = text[: text.index("## MNIST by writer")]
    assert (
        "as accurate as dense?** MNIST/CNN (margin 1.2): **yes**, +1.5 [1.0, 2.0], at equal"
        in answered
    )
    assert "+1.3 [0.5, 2.5] (n = 4)" in answered or "+1.2 [0.5, 2.5] (n = 4)" in answered
    assert "**not settled**" in answered
    assert "Would the widths" not in answered  # asked of nothing
    assert "85 % fewer parameters at 90.0 %" in answered
    assert "![Accuracy by round](figures/accuracy_by_round.svg)" in text
    rows = [line for line in text.splitlines() if line.startswith("| autoprune")]
    assert len(rows) == 2
    assert re.search(r"\| – +\| – +\| – +\|$", rows[0])
    assert rows[1].count("+1.0 [−1.0, 3.0]") == 3
    assert "- last round: +0.3 points (n = 4)" in text
    assert "significantly" not in text


def test_at_most_eight_answers_whatever_is_asked():
    rows = [claim(n, variant) for n in range(len(QUESTIONS)) for variant in ("reinit", "inherit")]
    sized = {"claim": "the size of CNN on FEMNIST, autoprune, needs training", "answer": "inside"}
    rows += [claim() | sized | {"verdict": "does not hold", "variant": ""}]
    arms = [compared("dense", "fedavg"), compared("autoprune", "reinit", nonzeros=100)]
    margin = margins(pd.DataFrame(arms))
    assert margin == {"MNIST/CNN": 1.25}
    found = answers([pd.DataFrame(rows)], margin) + tradeoffs(pd.DataFrame(arms))
    assert len(found) == 8
    assert "no 1 of 1. CNN on FEMNIST: inside" in found[-2]
    of_parameters = [line for line in found if "MNIST/CNN: **yes**" in line]
    assert len(of_parameters) == 1  # whose margin is one of parameters
    assert all(line.startswith("- **") and "does not say" in line for line in found)


def test_each_question_is_one_of_the_claims_table():
    assert {asked.claim for asked in ASKED} == {question.claim for question in QUESTIONS}


def test_a_difference_without_an_interval_is_the_number_alone():
    row = {"ours": -1.26, "low": None, "high": None}
    assert interval(row, "ours", "low", "high") == "−1.3"
    assert interval(row, "low", "low", "high") == "–"


def test_wrong_input_is_one_line(study, tmp_path):
    flags = ["--study", "It", str(study), "--output", str(tmp_path / "page.md")]
    (study / "tables/claims.csv").write_text("claim\nx\n")
    with pytest.raises(InputError, match=r"claims\.csv: column source is missing"):
        write(flags)
    (study / "tables/claims.csv").unlink()
    with pytest.raises(InputError, match=r"claims\.csv: not a CSV file"):
        write(flags)
    assert not (tmp_path / "page.md").exists()
