"""docs/how-to: every page is listed, and does what it says in a copy of the repository."""

import re
import shutil

import pytest
from pages import blocks, execute, own_test, pages

from copies import ROOT

EXECUTED = [page for page in pages() if not own_test(page)]


@pytest.mark.long
@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page, studied, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"page {page.stem}") / "autoprune"
    shutil.copytree(studied, folder, symlinks=True)  # with the times of the files
    execute(page.read_text(), folder, f"docs/how-to/{page.name}")


def test_every_page_is_listed_and_every_listed_page_exists():
    index = (ROOT / "docs/README.md").read_text()
    unlisted = [page.name for page in pages() if f"](how-to/{page.name})" not in index]
    assert unlisted == [], "docs/README.md: list these pages with a line on what they are for"
    listed = [
        line.split("](how-to/")[1].split(")")[0]
        for line in index.splitlines()
        if "](how-to/" in line
    ]
    assert sorted(listed) == sorted(page.name for page in pages())


def test_every_file_that_the_docs_link_to_exists():
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "config/README.md"]:
        for link in re.findall(r"\]\((?!http|#)([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"


def test_a_page_that_is_not_executed_here_names_its_own_test():
    for page in pages():
        test = own_test(page)
        if test:
            assert (ROOT / test).is_file(), f"{page.name} names {test}, which does not exist"
            assert page.name in (ROOT / test).read_text(), f"{test} does not mention {page.name}"
        else:
            ran = [block for block in blocks(page.read_text()) if block.language == "sh"]
            assert ran, f"{page.name} has no ```sh block: nothing of it is tested"


def test_a_wrong_command_file_or_output_fails(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / ".venv").mkdir()
    wrong = "a\n\n```sh\nfalse\n```\n"
    with pytest.raises(AssertionError, match="page:3"):
        execute(wrong, folder)
    page = '```yaml title="new/a.yaml"\nk: 2\n```\n\n```sh\ncat new/a.yaml\n```\n'
    page += "\n```text\nk: {}\n```\n"
    execute(page.format("2"), folder)
    execute(page.format("..."), folder)
    with pytest.raises(AssertionError, match="page:9: expected"):
        execute(page.format("3"), folder)
