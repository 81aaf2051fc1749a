"""Tables as LaTeX: every text comes out as it stands, and the files compile and fit the page."""

import re
import shutil
import subprocess
import unicodedata

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autoprune.evidence import tabulate
from autoprune.measure.complexity import main as count
from autoprune.publish import render_table
from autoprune.publish.latex import escape, is_number, latex_table
from autoprune.publish.page import table_page
from autoprune.publish.render_table import markdown_table
from autoprune.publish.tables import partition

# what TeX makes of a command: written down anew, so that a wrong entry is seen
PRINTED = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^",
    r"\textasciigrave{}": "`", r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|",
    r"\char34{}": '"', r"\textendash{}": "–", r"\textemdash{}": "—", r"\textellipsis{}": "…",
    r"\textquotedblleft{}": "“", r"\textquotedblright{}": "”", r"\textquoteleft{}": "‘",
    r"\textquoteright{}": "’", r"\ensuremath{-}": "−", r"\ensuremath{\pm}": "±",
    r"\texttimes{}": "×", r"\textdiv{}": "÷", r"\textperiodcentered{}": "·",
    r"\ensuremath{\geq}": "≥", r"\ensuremath{\leq}": "≤", r"\ensuremath{\approx}": "≈",
    r"\ensuremath{\alpha}": "α", r"\ensuremath{\Omega}": "Ω", r"\textmu{}": "µ",
    r"\texttwosuperior{}": "²", r"\ensuremath{^6}": "⁶", r"\'a": "á", r"\'e": "é",
    "{[}": "[", "{*}": "*", "{}": "", "~": "\xa0", **{f"\\{sign}": sign for sign in "&%$#_{}"},
}  # fmt: skip
TOKENS = re.compile(
    "|".join(map(re.escape, sorted(PRINTED, key=len, reverse=True))) + "|.", re.DOTALL
)
ORDINARY = "\\&%$#_{}~^`<>|\"'-–—“”‘’[]*±×÷·−²⁶≥≤≈αΩµ,. aáé…\n"


def printed(latex):
    """What a reader sees; fails where a bare special character is left."""
    seen = []
    for token in TOKENS.findall(latex):
        assert token in PRINTED or token not in '\\&%$#_{}~^`<>|"', (token, latex)
        seen.append(PRINTED.get(token, token))
    return "".join(seen)


@given(st.text(st.sampled_from(ORDINARY)))
@example(r"50 % of C:\new_dir & {a} ~ b^2 #1 $x$")
@example("---''[")
@example("[0.1, −2] ± 3 × 4 ÷ 5")
def test_every_text_is_printed_as_it_stands(text):
    escaped = escape(text)
    assert printed(escaped) == unicodedata.normalize("NFC", text).replace("\n", " ")


@given(st.text())
def test_any_text_can_be_typed_in_any_encoding(text):
    escaped = escape(text)
    assert escaped.isascii()
    assert not re.search(r"--|''|,,|``", escaped)  # two would print as one other sign
    assert not escaped.startswith(("[", "*"))  # a row's end would swallow them


def test_a_letter_without_a_command_is_named():
    assert escape("a 字\t\x00") == "a [U+5B57]  "


def test_what_counts_as_a_number():
    for value in ("46.6 ± 9.8 (n=3)", "−1.5 [−2, +3]", "–", "12.5 MB (÷ 2.1)", "7.5 ms", "3 %"):
        assert is_number(value), value
    for value in ("3 clients", "off", "30,626, 196 % (off budget)", "k=2", ""):
        assert not is_number(value), value


def wide(rows):
    return pd.DataFrame(
        {
            "data": ["a_b"] * (rows // 2) + ["c"] * (rows - rows // 2),
            "a number, %": ["<b>1.5 ± 0.2 (n=3)</b>", *["−7"] * (rows - 1)],
            "words": ["R&D at 5 % of {all}/" * 6] * rows,
            "more": ["and words again " * 5] * rows,
            "why": ["because", "so", *["because"] * (rows - 2)],
            "dull": ["x"] * rows,
        }
    )


def test_headings_bold_long_texts_and_notes():
    paper = {"data": "heading", "why": "below", "dull": "left out"}
    text = latex_table(wide(4), "T", ["100 % of it"], paper)
    assert text.count(r"\multicolumn{4}{l}{\itshape a\_b} \\") == 1
    assert text.count(r"{\itshape c} \\") == 1
    assert r"\textbf{1.5 \ensuremath{\pm} 0.2 (n=3)}" in text
    assert "Why \\textendash{} W1: because; W2: so." in text
    assert "other files: dull." in text
    assert r"100 \% of it\par" in text
    spec = re.search(r"\\begin\{tabular\}\{(.*)\}\n", text)[1]
    assert spec.startswith("r>")
    assert spec.endswith("l")
    shares = [float(share) for share in re.findall(r"p\{([0-9.]+)\\textwidth\}", spec)]
    assert len(shares) == 2
    assert sum(shares) < 0.9
    assert "longtable}{" not in text


def test_more_rows_than_a_page_break_over_pages():
    text = latex_table(wide(60), "T", [])
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 1
    assert r"\onecolumn" in text


def test_bold_is_bold_in_all_three_readable_forms():
    frame = pd.DataFrame({"a": ["<b>−1.5</b>", "<i>x</i>"]})
    assert '<td class="n"><b>−1.5</b></td>' in table_page(frame, "t", [])
    assert "**−1.5**" in markdown_table(frame, [])
    assert "&lt;i&gt;x&lt;/i&gt;" in table_page(frame, "t", [])


@pytest.fixture(scope="module")
def papers(study, tmp_path_factory):
    """Each table of a study as LaTeX, and a row of each reason for a longtable."""
    folder = tmp_path_factory.mktemp("latex")
    measured = ["--metrics", str(study / "metrics.csv")]
    count(["--published", "config/published.tsv", "--output", str(folder / "counts.json")])
    of_claims = ["--published", "config/published.tsv", "--counts", f"{folder}/counts.json"]
    arms = ["glyphs-cnn/autoprune/reinit", "glyphs-cnn/dense/fedavg"]
    for name, flags in {
        "results": [],
        "claims": [*of_claims, "--margin", "1"],
        "comparisons": ["--reference", "reinit", "--margin", "1"],
        "ablations": ["--ablation", "100 % of_it & more", *arms],
    }.items():
        tabulate.main([name, *measured, *flags, "--csv", f"{folder}/x.csv"])
        forms = ["--csv", f"{folder}/x.csv", "--html", f"{folder}/x.html"]
        forms += ["--markdown", f"{folder}/x.md", "--latex", f"{folder}/{name}.tex"]
        render_table.main([name, *forms])
    (folder / "wide.tex").write_text(latex_table(wide(4), "T", [], {"data": "heading"}))
    nasty = pd.DataFrame({"a": ['字 \\ ~^ <|> "é" `x\'', "[−2]"], "b": ["1", "*"]})
    (folder / "nasty.tex").write_text(latex_table(nasty, "T", ["Ω ≥ 10⁶ “x” …"]))
    row = {
        "dataset": "faces (stand-in)", "source": "faces", "scheme": "dirichlet, α = 0.5",
        "target": "male", "clients": "3550", "samples per client, min": "10",
        "samples per client, median": "226", "samples per client, max": "524", "classes": "62",
        "label entropy per client, bits": "4.76", "train": "671,585", "validation": "77,483",
        "test": "77,483", "held out, also trained on": "12", "of these, other labels": "1",
        "dropped clients": "3", "dropped samples": "7",
        "dropped, why": "3 clients, 7 samples: fewer than 2 samples (partition)",
    }  # fmt: skip
    paper = {column.title: column.paper for column in partition.COLUMNS}
    assert list(row) == list(paper)
    (folder / "partition.tex").write_text(latex_table(pd.DataFrame([row] * 3), "T", [], paper))
    return folder


def test_every_table_compiles_and_fits_a_two_column_page(papers, monkeypatch):
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex on the PATH")
    sources = {path.stem: path.read_text() for path in sorted(papers.glob("*.tex"))}
    short = [name for name, text in sources.items() if "{longtable}{" not in text]
    assert {"results", "ablations", "partition", "wide", "nasty"} <= set(short)
    assert "claims" not in short
    floats = [rf"\begin{{table*}}\caption{{x}}\input{{{name}}}\end{{table*}}" for name in short]
    pages = [rf"\input{{{name}}}\clearpage" for name in sources if name not in short]
    (papers / "paper.tex").write_text(
        "\\documentclass[twocolumn]{article}\n"
        "\\usepackage[textwidth=7.1in,textheight=9.4in]{geometry}\n"
        "\\usepackage{array,booktabs,longtable}\n\\begin{document}\n"
        + "\n".join([*floats, r"text\clearpage\onecolumn", *pages])
        + "\n\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for _ in range(3):  # a longtable's columns settle in the third
        done = subprocess.run(command, cwd=papers, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:]
    assert "Overfull" not in done.stdout, done.stdout
