"""How-to pages as tests read them: fenced blocks in order, run in a copy of the repository.

```sh runs, ```text is what the block before it prints (doctest's "..." stands for anything), and a
block with title="PATH" is that file, written before what follows runs.
"""

import doctest
import re
import subprocess
from dataclasses import dataclass

from copies import ROOT, environment

FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TESTED_BY = re.compile(r"<!-- tested by (\S+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is, its text, its line in the page."""

    language: str
    file: str | None
    text: str
    line: int


def pages():
    """Every how-to page."""
    return sorted((ROOT / "docs/how-to").glob("*.md"))


def own_test(page):
    """The test that a page names as its own; None for the others, which are executed here."""
    found = TESTED_BY.search(page.read_text())
    return found and found[1]


def blocks(text):
    """The page's fenced blocks, in order."""
    return [
        Block(found[1], found[2], found[3], text[: found.start()].count("\n") + 1)
        for found in FENCE.finditer(text)
    ]


def execute(text, folder, name="page"):
    """Do what a page says, in ``folder``; AssertionError names the line that is not so."""
    printed = None
    for block in blocks(text):
        where = f"{name}:{block.line}"
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "sh":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=folder,
                env=environment(folder),
                capture_output=True,
                text=True,
                timeout=1200,
            )
            assert done.returncode == 0, f"{where}\n{block.text}{done.stdout}{done.stderr}"
            printed = done.stdout
        elif block.language == "text":
            assert printed is not None, f"{where}: nothing ran before this output"
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            same = doctest.OutputChecker().check_output(block.text, printed, flags)
            assert same, f"{where}: expected\n{block.text}\nfound\n{printed}"
