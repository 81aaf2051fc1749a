"""The graph of the rules in docs/workflow.md, drawn anew by `make docs`."""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import write_text

Edge = tuple[str, str]
GRAPH = re.compile(r"^```mermaid\n.*?^```$", re.MULTILINE | re.DOTALL)


def edges(folder: Path) -> set[Edge]:
    """(rule, rule that needs its output) of target `all`, as Snakemake sees the workflow.

    Raises InputError with Snakemake's last line when it cannot read it.
    """
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "mermaid-js"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", done.stdout))
    if not names:
        raise InputError(f"snakemake --rulegraph: {done.stderr.strip().rpartition(chr(10))[2]}")
    return {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", done.stdout)}


def mermaid(graph: set[Edge]) -> str:
    """The graph as a fenced block, what comes first in the workflow first."""
    order: TopologicalSorter[str] = TopologicalSorter()
    for before, after in sorted(graph):
        if before != after:  # a method that follows a run of the same rule
            order.add(after, before)
    rank = {name: number for number, name in enumerate(order.static_order())}
    lines = [f"    {a} --> {b}" for a, b in sorted(graph, key=lambda e: (rank[e[0]], rank[e[1]]))]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


def drawn(text: str) -> set[Edge]:
    """The edges that a page shows."""
    return set(re.findall(r"^    (\w+) --> (\w+)$", "\n".join(GRAPH.findall(text)), re.MULTILINE))


def main(argv: Sequence[str] | None = None) -> None:
    """Redraw the graph where it differs from the workflow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=Path("docs/workflow.md"))
    args = parser.parse_args(argv)
    text = args.page.read_text(encoding="utf-8")
    if len(GRAPH.findall(text)) != 1:
        raise InputError(f"{args.page}: expected one block ```mermaid, which is redrawn")
    graph = edges(Path.cwd())
    if drawn(text) != graph:
        write_text(args.page, GRAPH.sub(lambda _: mermaid(graph), text))
    print(args.page)


if __name__ == "__main__":
    run_main(main)
