"""The README: what it shows of the workflow is what the workflow is."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

from autoprune.evidence.statistics import final_figures
from autoprune.metrics import read_metrics
from autoprune.rule_graph import drawn, edges, mermaid
from autoprune.style import decimal

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_rule_graph_is_current():
    graph = edges(ROOT)
    assert len(graph) > 10
    assert drawn(README) == graph, "README.md: the graph of the rules is stale; run `make docs`"


def test_a_stale_graph_is_redrawn_and_nothing_else_of_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n\n```mermaid\nflowchart LR\n    old --> older\n```\n\nafter\n")
    command = [sys.executable, "-m", "autoprune.rule_graph", "--page", str(page)]
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


def test_every_file_the_readme_names_exists():
    names = re.findall(r"\]\((?!http)([^)]+)\)", README)
    names += re.findall(r"`((?:config|tests|workflow)/[\w./-]+\.\w+)`", README)
    assert len(names) > 5
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_verdicts_of_make_are_those_of_the_committed_runs():
    claims = pd.read_csv(ROOT / "docs/findings/make/tables/claims.csv")
    rows = []
    for claim in claims[claims["source"] == "abstract"].itertuples():
        unit = {"%": " %", "×": "×", ")": " points"}[claim.published[-1]]
        ours, low, high = (decimal(x, 1) for x in (claim.ours, claim.low, claim.high))
        said = "–" if pd.isna(claim.ours) else f"{ours}{unit} [{low}, {high}]"
        variant = "–" if pd.isna(claim.variant) else claim.variant
        cells = [claim.claim, variant, claim.published, said, claim.verdict]
        rows.append(f"| {' | '.join(cells)} |")
    assert len(rows) == 9
    assert [row for row in rows if row not in README] == []


def test_the_numbers_on_real_handwriting_are_those_of_the_committed_runs():
    values, _ = final_figures(read_metrics(ROOT / "docs/findings/femnist-leaf/metrics.csv.gz"))
    values = values[values["dataset"] == "femnist"]
    sizes = ["parameters_with_statistics", "flops_tf_profiler", "bytes_total"]

    def cells(method, variant):
        runs = values[(values["method"] == method) & (values["variant"] == variant)]
        accuracy = 100 * runs["test_accuracy"]
        return f"{accuracy.mean():.1f} ± {accuracy.std():.1f} %", runs[sizes].mean()

    said, dense = cells("dense", "fedavg")
    size, flops, sent = dense
    rows = [f"| dense | {said} | {size:,.0f} | {flops:,.0f} | {sent / 1e6:.0f} MB |"]
    for name, variant in (("fresh", "reinit"), ("kept", "inherit")):
        said, means = cells("autoprune", variant)
        (size, flops, sent), fewer = means, 100 * (1 - means / dense)
        row = f"| autoprune, {name} weights | {said} | {size:,.0f} (−{fewer.iloc[0]:.0f} %)"
        row += f" | {flops:,.0f} (−{fewer.iloc[1]:.0f} %)"
        rows.append(f"{row} | {sent / 1e6:.0f} MB (÷ {dense.iloc[2] / sent:.1f}) |")
    assert [row for row in rows if row not in README] == []
    found, _ = cells("found-widths", "reinit")
    assert found in README
