"""What tables say of methods that are not as their sources have them."""

import subprocess
import sys
from pathlib import Path

from autoprune.core.labels import METHODS, differs
from autoprune.evidence.differences import differences_note, method_label


def test_each_method_that_differs_has_one_sentence_in_the_order_of_labels():
    said = differences_note(reversed(METHODS))
    assert len(said) == sum(bool(differs(method)) for method in METHODS) > 5
    assert said[0].startswith("L1 norm differs from its source: prunes every layer")
    assert said[-1].startswith("GETA differs from its source: ")
    assert all(sentence.endswith(".") for sentence in said)


def test_only_those_that_were_run_and_are_known():
    (sentence,) = differences_note(["autoprune", "dense", "mine", "fpgm", "fpgm"])
    assert sentence == f"FPGM differs from its source: {differs('fpgm')}."
    assert differences_note([]) == []


def test_a_method_without_labels_has_its_own_name():
    assert method_label("prunefl") == "PruneFL-like"
    assert method_label("mine") == "mine"


def test_nobody_waits_for_torch_to_read_them():
    probe = "import sys, autoprune.evidence.differences as d; d.differences_note(d.METHODS); "
    probe += "sys.exit(bool({'torch', 'flwr'} & set(sys.modules)))"
    workflow = Path(__file__).parents[2] / "workflow"
    assert subprocess.run([sys.executable, "-c", probe], cwd=workflow).returncode == 0
