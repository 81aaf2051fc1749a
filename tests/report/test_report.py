"""The report as a file: what it gathers, what it escapes, how large it is, how it fails."""

import csv
import json
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autoprune.core.errors import InputError
from autoprune.core.labels import differs
from autoprune.core.provenance import closure
from autoprune.publish.origin import origin
from autoprune.publish.page import TEMPLATES
from autoprune.publish.report.__main__ import main
from autoprune.publish.report.runs import short_plan, shorter
from autoprune.publish.report.study import duration
from autoprune.publish.report.views import threshold

# attributes by which a browser fetches something without being asked
FETCHING = {"src", "srcset", "poster", "background", "data", "xlink:href"}


class Tags(HTMLParser):
    """Every element of a page with its attributes, and the text of scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self._open = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._open = tag == "script"
        if self._open:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._open = self._open and tag != "script"

    def handle_data(self, data):
        if self._open:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def tags(page):
    return Tags(page.read_text("utf-8"))


@pytest.fixture(scope="module")
def data(tags):
    return json.loads(tags.scripts[0])


def test_the_page_loads_nothing_from_outside(tags):
    for tag, attributes in tags.found:
        for name in FETCHING & set(attributes):
            assert attributes[name].startswith("data:"), (tag, attributes)
        if tag == "link":
            assert attributes["href"].startswith("data:")
    policy = next(a["content"] for t, a in tags.found if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_styles_and_scripts_name_no_address(page, tags):
    text = page.read_text("utf-8")
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", text))
    assert addresses <= {"https://arxiv.org/abs/2411.01759", "http://www.w3.org/2000/svg"}


def test_what_looks_like_html_stays_text(page, data):
    assert "<b id=hostile>" not in page.read_text("utf-8")
    settings = data["settings"]
    assert settings["note"] == "</script><b id=hostile>&amp;\u2028"


def test_the_page_is_small(page):
    assert page.stat().st_size < 1_000_000


def test_each_run_has_its_curve_plan_files_and_origin(data):
    runs = {run["id"]: run for run in data["runs"]}
    assert len(runs) == 20
    run = runs["glyphs/cnn/autoprune/reinit/seed-1"]
    assert run["curves"]["round"] == list(range(7))
    assert run["curves"]["widths"] == [[0, 12, 14], [2, 10, 12]]
    assert run["curves"]["live"] == [[0, 12, 7], [2, 10, 6]]
    assert run["curves"]["shrunk"] == [2]
    sent = [run["final"][name] for name in ("bytes_total", "payload_total")]
    assert sent == [2 * 20 * (1200 + 5 * 900), 2 * 16 * (1200 + 5 * 900)]
    layer = run["plan"]["shrinks"][0]["layers"][0]
    assert layer["removed"] == [0, 1]
    assert layer["width"] == 12
    assert layer["lower"] < layer["mean"] < layer["upper"]
    names = {name for name, _ in run["files"]}
    assert names == {
        *("history.csv", "evaluation.json", "complexity.json", "run.json", "plan.json")
    }
    assert run["address"] == "../runs/glyphs/cnn/autoprune/reinit/seed-1"
    assert run["cost"] == {"seconds": 90, "memory_mb": 321}
    assert data["versions"][run["versions"]]["torch"] == "2.13.0"
    assert run["settings"] == {"seed": 1}
    assert data["settings"]["rounds"] == 6
    assert runs["glyphs/cnn/dense/fedavg/seed-0"]["plan"] is None
    assert runs["glyphs/cnn/fedmap/global/seed-0"]["plan"]["mask"] == [[2, 700]]
    taylor = runs["mnist/cnn/taylor/one-shot/seed-0"]["plan"]["shrinks"][0]["layers"][1]
    assert taylor == {"layer": "conv2", "width": 14, "removed": [0, 1]}


def test_a_number_leads_to_the_runs_whose_files_the_table_names(page, data):
    text = page.read_text("utf-8")
    section = text[text.index('id="results-table"') :]
    row = next(r for r in re.findall(r"<tr data.*?</tr>", section, re.DOTALL) if "Taylor" in r)

    def behind(places):
        return {data["runs"][int(place)]["id"] for place in places.split()}

    own = {f"glyphs/cnn/taylor/one-shot/seed-{seed}" for seed in (0, 1)}
    twins = {f"glyphs/cnn/dense/fedavg/seed-{seed}" for seed in (0, 1)}
    whole, *cells = re.findall(r'data-runs="([\d ]+)"', row)
    assert behind(whole) == own | twins  # the changes need the dense twins
    assert {frozenset(behind(cell)) for cell in cells} == {frozenset(own)}  # an accuracy does not
    change = next(cell for cell in re.findall("<td.*?</td>", row) if "[" in cell)
    assert "data-runs" not in change


def test_stand_in_data_is_named_before_any_number(page):
    text = page.read_text("utf-8")
    body = text[text.index("<body>") : text.index('id="data"')]
    assert body.index("<strong>Stand-in data.</strong> glyphs") < body.index("<table")
    rows = re.findall(r"<tr data-runs.*?</tr>", body, re.DOTALL)
    generated = [row for row in rows if ">glyphs" in row]
    assert len(generated) == 10  # five of the results, five of the comparisons
    assert all('class="stand-in"' in row for row in generated)
    assert not any('class="stand-in"' in row for row in rows if row not in generated)


def test_claims_come_first_and_every_verdict_has_its_rule(page):
    text = page.read_text("utf-8")
    sections = re.findall(r'<section id="([^"]+)"', text)
    assert sections == ["claims", "run", "findings", "results", "comparisons", "figures", "browser"]
    claims = re.findall(r'<tbody role="rowgroup" .*?</tbody>', text, re.DOTALL)
    assert len(claims) > 8
    assert all(re.search(r"<dt>Rule</dt><dd>[^<]{10,}", claim) for claim in claims)
    assert "STAND-IN DATA ONLY: glyphs (stand-in)/CNN" in text
    variants = {re.search('data-label="our variant">(.*?)<', claim)[1] for claim in claims}
    assert variants >= {"autoprune, fresh weights", "autoprune, kept weights"}
    assert not variants & {"reinit", "inherit"}
    # the findings follow without their own figures
    findings = text[text.index('id="findings"') : text.index('id="results"')]
    assert "mnist, CNN" in findings
    assert "Accuracy by round]" not in findings


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"metrics": ["none.csv"]}, "none.csv: no such file"),
        ({"tables": ["tables/results.csv"]}, "claims.csv is not among"),
        ({"tables": ["tables/claims.csv", "tables/none.csv"]}, "tables/none.csv: no such file"),
        ({"partitions": ["data/none/partition.json"]}, "none/partition.json: no such file"),
        ({"figures": ["figures/none.svg"]}, "figures/none.svg: no such file"),
        ({"findings": ["none.md"]}, "none.md: no such file"),
        ({"environment": ["none.json"]}, "none.json: no such file"),
        ({"runs": ["runs/none"]}, "runs/none/run.json: no such file"),
    ],
)
def test_a_missing_input_is_named_and_leaves_no_page(study, flags, monkeypatch, change, word):
    monkeypatch.chdir(study)
    with pytest.raises(InputError, match=re.escape(word)):
        main(flags("wrong/index.html", **change))
    assert not (study / "wrong").exists()


def test_a_run_without_a_code_version_is_refused_in_one_line(study, stage, flags, tmp_path):
    folder = tmp_path / "seed-0"
    shutil.copytree(study / "runs/mnist/cnn/dense/fedavg/seed-0", folder)
    about = json.loads((folder / "run.json").read_text())
    del about["code"]
    (folder / "run.json").write_text(json.dumps(about))
    done = stage("publish.report", *flags("wrong/index.html", runs=[folder]), cwd=study)
    assert done.returncode == 1
    assert done.stderr == f"error: {folder}/run.json: code is missing; run it again\n"
    assert not (study / "wrong").exists()


def test_the_page_says_in_what_its_methods_differ_from_their_sources(page):
    text = page.read_text("utf-8")
    said = re.findall(r"<p class=\"note\">([^<]* differs from its source: .*?)</p>", unescape(text))
    assert said == [
        f"{name} differs from its source: {differs(method)}."
        for name, method in (("Taylor", "taylor"), ("FedMap-like", "fedmap"))
    ]


def test_the_page_needs_neither_findings_nor_benchmarks_nor_figures(study, flags, monkeypatch):
    monkeypatch.chdir(study)
    optional = {"findings": [], "benchmarks": None, "figures": [], "environment": []}
    main(flags("bare/index.html", **optional))
    text = Path("bare/index.html").read_text("utf-8")
    assert 'id="findings"' not in text
    assert "<dt>Hours</dt>" not in text


def test_hours_and_environment_are_told(study, flags, monkeypatch):
    monkeypatch.chdir(study)
    environment = {
        "schema_version": 1,
        "machine": {"cores": 7, "memory_gb": 33.5},
        "git": {"commit": "0123456789abcdef0123", "modified": True},
    }
    Path("environment.json").write_text(json.dumps(environment))
    other = Path("benchmarks/runs/glyphs/cnn/old/variant/seed-0.tsv")  # of an earlier grid
    other.parent.mkdir(parents=True)
    other.write_text("s\tmax_rss\n99999.0\t1.0\n")
    Path("benchmarks/draw.tsv").write_text("s\tmax_rss\n200.0\tNA\n")
    main(flags("told/index.html", environment=["environment.json"]))
    text = Path("told/index.html").read_text("utf-8")
    assert "7 cores, 33.5 GB of memory" in text
    assert "0123456789ab, with changes that are not committed" in text
    assert "30 min of training, 3 min for all else" in text  # 20 runs of 90 seconds


def test_latency_leads_to_the_measurement_and_to_the_run_of_the_network(study, flags, monkeypatch):
    """The columns are those of tables/latency.csv; a phone's row names its network."""
    monkeypatch.chdir(study)
    row = {
        "dataset": "mnist", "data_kind": "real", "model": "cnn", "method": "taylor",
        "variant": "one-shot", "seed": "1", "widths": "12 12", "round_widths_to": "4",
        "precision": "int8", "format": "onnx", "engine": "an engine 1.0", "threads": "1",
        "median_ms": "1.25", "least_ms": "1.2", "most_ms": "1.5", "speed_up": "1.5",
        "low": "1.4", "high": "1.61", "macs_factor": "1.33", "macs_dense": "4", "macs": "3",
        "model_id": "x", "network": "study", "repeats": "", "hot": "", "resolved": "resolved",
        "slower_with_fewer_macs": "no", "flags": "", "p90_ms": "", "p95_ms": "", "cpu_mask": "",
        "test_accuracy": "", "session_left_out": "", "delegate": "xnnpack",
        "nodes_delegated": "9", "nodes_total": "10",
    }  # fmt: skip
    host = {"kind": "host_proxy", "device": "a host"}
    host["source_files"] = "latency/mnist/cnn/taylor/one-shot/seed-1.json"
    phone = {"kind": "phone", "device": "a phone", "source_files": "android/one/runs.csv"}
    with Path("tables/latency.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*row, *host])
        writer.writeheader()
        writer.writerows([row | host, row | phone])
    main(flags("timed/index.html", tables=["tables/claims.csv", "tables/latency.csv"]))
    text = Path("timed/index.html").read_text("utf-8")
    rows = re.findall(r"<tr data-runs.*?</tr>", text, re.DOTALL)
    assert len(rows) == 2
    data = json.loads(Tags(text).scripts[0])
    for shown, given in zip(rows, (host, phone), strict=True):
        place = int(re.search(r'data-runs="(\d+)"', shown)[1])
        assert data["runs"][place]["id"] == "mnist/cnn/taylor/one-shot/seed-1"
        assert f'data-measured="{given["source_files"]}"' in shown
        assert ">1.50 [1.40, 1.61]</button>" in shown
        assert given["kind"].replace("_", " ") in shown
        assert ">12 12 (multiples of 4)</td>" in shown


def test_the_report_imports_neither_torch_nor_flwr():
    modules = closure("autoprune.publish.report.__main__")
    heavy = [name for name in modules if name.startswith(("autoprune.fed", "autoprune.models"))]
    # the names of training's settings, of which metrics speak; of torch and flwr it knows nothing
    known = ("", ".settings", ".chosen")
    assert set(heavy) <= {f"autoprune.federation{of}" for of in known}
    probe = "import sys, autoprune.publish.report.__main__ as _; "
    probe += "sys.exit(bool({'torch', 'flwr'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], cwd=Path(__file__).parents[2] / "workflow")
    assert done.returncode == 0


def contrast(one, other):
    """Contrast ratio of WCAG 2.2, 1 to 21."""

    def luminance(colour):
        parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_text_colours_of_the_page_can_be_read():
    css = (TEMPLATES / "page.css").read_text("utf-8")
    dark_at = css.index("prefers-color-scheme: dark")
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", part))
        for part in (css[:dark_at], css[dark_at:])
    )
    for colours in (light, dark):
        for ink, ground in [
            *(("ink", "paper"), ("dim", "paper"), ("link", "paper"), ("dim", "sheet")),
            *(("ink", "sheet"), ("link", "sheet"), ("good", "good-bg"), ("bad", "bad-bg")),
            *(("open", "open-bg"), ("alarm", "alarm-bg"), ("paper", "ink")),
        ]:
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(
    ("published", "rule", "at"),
    [
        ("89 %", "mean ≥ 89 %; a seed's value is the average", 89),
        ("up to 5×", "mean ≥ 5×", 5),
        ("comparable (no figure given)", "mean of (own − dense) ≥ −1.00 points", -1),
        ("7,529,588", "the count of the published widths, equal exactly", 7529588),
        ("71.55 %", "|mean − published| ≤ 1.00 points", 71.55),
    ],
)
def test_a_claims_threshold_is_read_from_its_text(published, rule, at):
    assert threshold({"published": published, "rule": rule}) == at


def test_a_measurement_of_a_network_leads_to_its_run():
    run = "a/cnn/dense/fedavg/seed-0"

    def behind(file, **row):
        return origin({"source_files": file, **row}, "answer")

    assert list(behind(f"results/runs/{run}/evaluation.json").runs) == [run]
    assert behind(f"results/latency/{run}.json").networks == [run]
    names = {"dataset": "a", "model": "cnn", "method": "dense", "variant": "fedavg", "seed": "0"}
    assert behind("resources/android/one/runs.csv", **names).networks == [run]
    counts = behind("results/published_counts.json")
    assert (counts.runs, counts.networks) == ({}, [])
    assert counts.others == ["results/published_counts.json"]


def test_numbers_are_as_short_as_they_can_be():
    assert json.dumps([shorter(v) for v in (0.123456789, 3.0, 1e9, float("nan"), None)]) == (
        "[0.12346, 3, 1000000000, null, null]"
    )
    assert [duration(s) for s in (40, 720, 7200)] == ["40 s", "12 min", "2.0 h"]


def test_a_broken_plan_is_named():
    with pytest.raises(Exception, match=r"here: no pruning plan .*'shrinks'"):
        short_plan({"base": {"widths": [3]}}, "here")


def test_an_edited_template_style_or_script_makes_the_page_again():
    """Code versions know Python only: the rules must name each of the other files."""
    others = {file.name for file in TEMPLATES.iterdir()}
    rules = (Path(__file__).parents[2] / "workflow/rules/publish.smk").read_text("utf-8")
    assert others == set(re.findall(r"\b[a-z]+\.(?:html\.j2|css|js)\b", rules))
