"""The comparison: nothing changed is the same, and any changed cell is found and named."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.check.causes import Causes, causes, changed_platform, changed_versions
from autoprune.check.compare import KINDS, Tolerances, compare, size
from autoprune.check.reference import Record, gather
from autoprune.check.report import MOVED, OTHER_VERSIONS, SAME, last_line, report, verdict
from autoprune.core import environment
from autoprune.measure.table import GIVEN

AUTOPRUNE = "digits/cnn/autoprune/reinit/seed-0"
NULL = "digits/cnn/null-norms/reinit/seed-0"
DENSE = "digits/cnn/dense/fedavg/seed-0"


@pytest.fixture(scope="module")
def record(made_up):
    return gather(made_up)


def changed(record, table, column, value, **where):
    """A copy with one cell set; ``where`` picks the row."""
    tables = copy.deepcopy(record.tables)
    rows = [row for row in tables[table] if where.items() <= row.items()]
    assert len(rows) == 1
    assert column in rows[0]
    rows[0][column] = value
    return Record(tables, record.made)


def judged(reference, results, same_platform=True, **tolerances):
    return compare(reference, results, same_platform, Tolerances(**tolerances))


@pytest.mark.parametrize("same_platform", [True, False])
def test_results_are_the_same_as_themselves(record, same_platform):
    found = judged(record, record, same_platform)
    assert found.changes == []
    assert sum(found.compared.values()) > 200
    assert set(found.compared) <= set(KINDS)
    assert verdict(found, causes(record, record), any_versions=False) == SAME


def test_what_was_given_to_a_run_is_no_result_of_it(record):
    assert {"k", "input_height"} <= GIVEN
    assert not GIVEN & {column for row in record.tables["runs"] for column in row}


@given(st.data())
def test_any_single_changed_cell_is_reported_and_named(record, data):
    tables = {name: rows for name, rows in record.tables.items() if rows and name != "settings"}
    table = data.draw(st.sampled_from(sorted(tables)))
    number = data.draw(st.integers(0, len(tables[table]) - 1))
    column = data.draw(st.sampled_from(sorted(tables[table][number])))
    edited = copy.deepcopy(record.tables)
    old = edited[table][number][column]
    new = data.draw(st.sampled_from(["7.25", "-1", "0", "changed", ""]).filter(lambda v: v != old))
    edited[table][number][column] = new
    found = judged(record, Record(edited, record.made))
    assert found.changes
    told = report(found, Causes(), Tolerances(), shown=None)
    if len(found.changes) == 1 and found.changes[0].what == column:  # a value of a row both have
        change = found.changes[0]
        assert (change.old, change.new) == (old, new)
    else:  # a cell that names the row: one row is missing and another new
        assert {c.what for c in found.changes} <= {"row", "run"}
    assert all(change.where in told and change.what in told for change in found.changes)
    worded = table.startswith("tables/") and found.changes[0].allowed
    assert told.splitlines()[-1].startswith(SAME if worded else MOVED)


def test_the_largest_change_of_the_most_telling_kind_comes_first(record):
    results = changed(record, "rounds", "train_loss", "9.0", run=DENSE, round="1")
    results = changed(results, "rounds", "test_accuracy", "0.5", run=DENSE, round="1")
    results = changed(results, "rounds", "test_accuracy", "0.9", run=DENSE, round="2")
    results = changed(results, "data", "store", "ff" * 32, dataset="digits")
    moved = judged(record, results).moved()
    assert [change.kind for change in moved] == ["data", "accuracy", "accuracy", "loss"]
    assert [c.where for c in moved[1:3]] == [f"{DENSE} round 2", f"{DENSE} round 1"]
    assert moved[1].size == pytest.approx(100 * 0.9 - 100 * 26 / 225)


def test_sizes_are_points_for_accuracy_and_percent_otherwise():
    assert size("accuracy", "0.5", "0.51") == pytest.approx(1.0)
    assert size("bytes", "200", "150") == pytest.approx(-25.0)
    assert size("plans", "conv1", "conv2") is None
    assert size("bytes", "0", "5") == float("inf")


@pytest.mark.parametrize(
    ("table", "column", "value", "where", "allowed"),
    [
        # what no training decides is the same on every machine
        ("data", "store", "ff" * 32, {"dataset": "digits"}, False),
        ("published", "parameters", "56127", {"model": "cnn"}, False),
        ("null", "widths", "3 6", {"draw": "0"}, False),
        ("runs", "parameters", "101", {"run": DENSE}, False),
        ("runs", "bytes_total", "5001", {"run": DENSE}, False),
        ("rounds", "widths", "4 5", {"run": NULL, "round": "2"}, False),
        ("plans", "kept", "4", {"run": NULL, "layer": "conv1"}, False),
        ("plans", "lower", "1.3", {"run": NULL, "layer": "conv1"}, False),
        ("tables/partition", "clients", "13", {}, False),
        # what trained weights decide, a little
        ("runs", "parameters", "72", {"run": AUTOPRUNE}, True),
        ("runs", "parameters", "90", {"run": AUTOPRUNE}, False),
        ("rounds", "widths", "3 4", {"run": AUTOPRUNE, "round": "2"}, True),
        ("plans", "filters", "0123456789ab", {"run": AUTOPRUNE, "layer": "conv1"}, True),
        # but the boundaries of the first shrink come from one round of training only
        ("plans", "lower", "1.2505", {"run": AUTOPRUNE, "layer": "conv1"}, True),
        ("plans", "lower", "1.3", {"run": AUTOPRUNE, "layer": "conv1"}, False),
        # the reported accuracy within five points, one evaluation within ten
        ("runs", "test_accuracy", str(26 / 225 + 0.049), {"run": DENSE}, True),
        ("runs", "test_accuracy", str(26 / 225 + 0.051), {"run": DENSE}, False),
        ("rounds", "test_accuracy", str(26 / 225 + 0.09), {"run": DENSE, "round": "2"}, True),
        ("rounds", "test_accuracy", str(26 / 225 + 0.11), {"run": DENSE, "round": "2"}, False),
        ("runs", "test_loss", "2.3", {"run": DENSE}, True),
        ("runs", "test_loss", "2.6", {"run": DENSE}, False),
    ],
)
def test_another_platform_excuses_what_training_decides_and_nothing_else(
    record, table, column, value, where, allowed
):
    results = changed(record, table, column, value, **where)
    assert len(judged(record, results).moved()) == 1  # on the same platform nothing is excused
    assert len(judged(record, results, same_platform=False).moved()) == (0 if allowed else 1)


def test_on_another_platform_tables_made_from_trained_runs_are_counted_as_not_judged(record):
    results = changed(record, "tables/claims", "ours", "99.0")
    found = judged(record, results, same_platform=False)
    assert found.changes == []
    assert found.skipped["published tables"] == 2  # ours and the verdict
    assert judged(record, results).moved()[0].where == "claims: fewer parameters, reinit"


def test_wording_is_no_number_but_a_verdict_is_one(record):
    tables = copy.deepcopy(record.tables)
    tables["tables/claims"][0]["rule"] = "mean of all"
    before = Record(tables, record.made)
    found = judged(before, changed(before, "tables/claims", "rule", "the mean of all pairs"))
    assert (found.moved(), len(found.allowed())) == ([], 1)
    assert judged(before, changed(before, "tables/claims", "verdict", "holds")).moved()


def test_of_a_table_that_moved_alone_its_own_module_is_the_first_suspect(record):
    """Whatever else was edited since: that would have moved figures of runs."""
    tables, made = copy.deepcopy(record.tables), copy.deepcopy(record.made)
    del tables["tables/partition"], made["modules"]["autoprune.evidence.partition"]
    made["modules"] |= {"autoprune.core.block": "0" * 16, "autoprune.publish.axes": "0" * 16}
    before = Record(tables, made)

    def said(results):
        found, why = judged(before, results), causes(before, results)
        return last_line(found, why, any_versions=False).partition("suspect: ")[2]

    assert said(record) == "autoprune.evidence.partition new, of no run"
    assert said(changed(record, "runs", "macs", "1", run=DENSE)).startswith("autoprune.core.block")
    del before.tables["tables/claims"], made["modules"]["autoprune.evidence.claims"]
    assert said(record) == "autoprune.evidence.claims new, of no run"


def test_paths_and_timings_are_no_part_of_a_reference(record, made_up):
    assert "tables/latency" not in record.tables
    assert str(made_up) not in str(record)


def made(record, **environment_changes):
    value = copy.deepcopy(record.made)
    for path, new in environment_changes.items():
        part = value["environment"]
        *parents, last = path.split("__")
        for name in parents:
            part = part[name]
        part[last] = new
    return value


def test_a_library_of_another_version_is_named_with_its_runs(record):
    value = copy.deepcopy(record.made)
    numpy = next(iter(value["versions"]["numpy"]))
    value["versions"]["numpy"] = {numpy: 5, "9.9.9": 1}
    assert changed_versions(record.made, value) == [f"numpy {numpy} → 9.9.9 in 1 of 6 runs"]
    pandas = made(record, versions=record.made["environment"]["versions"] | {"pandas": "9.9.9"})
    (line,) = changed_versions(record.made, pandas)
    assert line.startswith("pandas ")
    assert line.endswith("→ 9.9.9 in the environment")
    why = causes(record, Record(record.tables, value))
    found = judged(record, record)
    assert verdict(found, why, any_versions=False) == OTHER_VERSIONS
    assert verdict(found, why, any_versions=True) == SAME


def test_a_build_of_the_same_version_is_another_platform_and_no_other_version(record):
    value = copy.deepcopy(record.made)
    torch = next(iter(value["versions"]["torch"])).partition("+")[0]
    value["versions"]["torch"] = {f"{torch}+other": 6}
    assert changed_versions(record.made, value) == []
    assert [line.split()[0] for line in changed_platform(record.made, value)] == ["torch"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"machine__cpu": "Another"}, "cpu "),
        ({"kernels__family": "7"}, "family "),
        ({"kernels__limits": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}, "limits none → ONEDNN_MAX_CPU_ISA"),
        ({"kernels__instructions": ["imaginary"]}, "instructions "),
    ],
)
def test_what_decides_last_bits_makes_another_class_of_platform(record, change, line):
    assert changed_platform(record.made, record.made) == []
    lines = changed_platform(made(record, kernels__limits={}), made(record, **change))
    assert any(text.startswith(line) for text in lines)


def test_memory_cores_and_pythons_patch_level_do_not(record):
    other = made(record, machine__cores=999, machine__memory_gb=0.5, python="3.11.99")
    assert changed_platform(record.made, other) == []
    assert changed_versions(record.made, other) == []


def test_a_limit_on_instruction_sets_is_seen(monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert environment.kernels()["limits"]["ATEN_CPU_CAPABILITY"] == "default"
