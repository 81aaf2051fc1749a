"""The README: what it shows of the workflow is what the workflow is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from autoprune.check.rule_graph import drawn, edges, mermaid

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
GRAPH_PAGE = ROOT / "docs/workflow.md"


def test_the_rule_graph_is_current():
    graph = edges(ROOT)
    assert len(graph) > 10
    text = GRAPH_PAGE.read_text()
    assert drawn(text) == graph, f"{GRAPH_PAGE}: the graph of the rules is stale; run `make docs`"


@pytest.mark.long
def test_a_stale_graph_is_redrawn_and_nothing_else_of_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n\n```mermaid\nflowchart LR\n    old --> older\n```\n\nafter\n")
    command = [sys.executable, "-m", "autoprune.check.rule_graph", "--page", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert drawn(text) == edges(ROOT)
    assert text.startswith("before\n\n```mermaid\nflowchart LR\n")
    assert text.endswith("\n```\n\nafter\n")


def test_the_graph_is_drawn_from_first_to_last():
    graph = {("b", "c"), ("a", "b"), ("a", "c"), ("b", "b")}
    assert mermaid(graph).splitlines()[2:-1] == [
        *("    a --> b", "    a --> c", "    b --> b", "    b --> c")
    ]


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_that_a_page_names_exists(path):
    text = path.read_text()
    linked = [path.parent / name for name in re.findall(r"\]\((?!http)([^)#]+)\)", text)]
    named = re.findall(r"`((?:config|docs|tests|workflow|benchmarks)/[\w./-]+\.\w+)`", text)
    assert [name for name in [*linked, *(ROOT / name for name in named)] if not name.exists()] == []
    assert linked or named


def test_the_readme_fits_a_few_screens():
    assert len(README.splitlines()) <= 150


def test_the_answers_numbers_are_cells_of_the_findings():
    """Each difference with its interval, and each reduction, stands in docs/findings.md."""
    answers = re.search(r"## Answers so far\n(.*?)\n## ", README, re.DOTALL)[1]
    page = (ROOT / "docs/findings.md").read_text()
    said = re.findall(r"[+−]\d+\.\d \[[^\]]+\]", answers)
    assert len(said) >= 5
    assert [number for number in said if number not in page] == []
    removed = re.findall(r"(\d+) %(?: on| at|, but)", answers)
    assert [share for share in removed if f"{share} % fewer parameters" not in page] == []
