"""Latency tables: what is measured, how well a device's times are told by it, what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from autoprune.core.errors import InputError
from autoprune.measure.latency_table import Row as Timed
from autoprune.measure.latency_table import designed, errors, fits, main, read_rows, table_of
from autoprune.models import Architecture
from autoprune.models.counts import Counts
from autoprune.pruning.latency import Latency, added, parts
from autoprune.pruning.settings import Rule
from autoprune.pruning.target import aim_of

BASE = Architecture("cnn", (32, 48), (1, 16, 16), 10)
COUNTS = Counts(BASE)


def device(widths, lanes=8):
    """A device that computes 8 filters at a time, has 0.01 ms to spare, and never a bad day."""
    of = parts(COUNTS, widths, lanes)
    return float(added(of, [0.01, 0.3, 0.02, 0.1, 0.0, 0.2, 0.0]))


ROWS = [Timed(w, device(w)) for w in (BASE.widths, *designed(BASE, 40, 0))]


def write(path, table):
    path.write_text(json.dumps(table))
    return str(path)


def test_a_device_that_goes_by_lanes_is_told_from_a_few_networks(tmp_path):
    table = table_of(BASE, ROWS, {"kind": "given"})
    assert table["lanes"] == 8
    assert table["left_out_error_percent"]["largest"] < 0.1
    told = Latency.read(write(tmp_path / "t.json", table), COUNTS, 1)
    for widths in designed(BASE, 30, 1):
        assert float(told(widths)) == pytest.approx(device(widths), rel=1e-3)


def test_its_error_is_of_networks_that_it_was_not_fitted_to():
    """One network that takes twice as long is told wrong by half, whatever the others say."""
    slow = [row._replace(milliseconds=2 * row.milliseconds) if n == 5 else row
            for n, row in enumerate(ROWS)]  # fmt: skip
    assert errors(COUNTS, slow, 8)[5] == pytest.approx(-0.5, abs=0.02)


def test_a_wider_network_is_never_told_to_be_faster(tmp_path):
    stream = np.random.default_rng(0)
    noisy = [row._replace(milliseconds=row.milliseconds * stream.uniform(0.5, 2)) for row in ROWS]
    path = write(tmp_path / "t.json", table_of(BASE, noisy, {}))
    told = Latency.read(path, COUNTS, 1)
    for widths in stream.integers(1, np.array(BASE.widths), (50, 2)):
        more = widths + (np.array(BASE.widths) > widths)
        assert float(told(more)) >= float(told(widths))


def test_a_search_goes_by_it(tmp_path):
    path = write(tmp_path / "t.json", table_of(BASE, ROWS, {}))
    goal = 0.6 * device(BASE.widths)
    aim = aim_of(Rule(patience=3, cap=3, target_latency_ms=goal, latency_table=path), BASE)
    assert all(device(widths) == pytest.approx(goal, rel=0.06) for widths in aim.places.tolist())


def test_widths_that_are_measured():
    drawn = designed(BASE, 20, 0, multiple=16)
    assert len(drawn) == len(set(drawn)) == 5  # 2 x 3 less the whole network
    assert all(fits(widths, BASE, 16) for widths in drawn)
    assert designed(BASE, 20, 0) != designed(BASE, 20, 1)


def edited(**changes):
    return {**table_of(BASE, ROWS, {}), **changes}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "schema_version is missing; make the latency table again"),
        (edited(schema_version=9), "schema_version is 9, expected 1"),
        (
            edited(network=BASE.with_widths((32, 64)).to_json()),
            r"is of cnn of widths \[32, 64\], .* the run trains cnn of widths \[32, 48\]",
        ),
        (edited(multiple=16), "width_multiple: found 8, expected a multiple of 16"),
        (edited(lanes=0), "lanes: found 0"),
        (edited(milliseconds=[1.0]), "expected 7 numbers of at least 0"),
        (edited(milliseconds=[-1.0] * 7), "expected 7 numbers of at least 0"),
    ],
)
def test_a_table_that_is_not_of_this_network_is_refused(tmp_path, table, words):
    with pytest.raises(InputError, match=words) as caught:
        Latency.read(write(tmp_path / "t.json", table), COUNTS, 8)
    assert "t.json" in str(caught.value)


PHONE = pd.DataFrame(
    {
        "widths": ["32 48", "16 48", "16 48", "8 8"],
        "median_ms": [2.0, 1.2, 1.4, 0.5],
        "threads": [1, 1, 1, 4],
        "session_id": "pixel",
    }
)


def test_times_of_a_phone(tmp_path):
    path = tmp_path / "android.csv"
    PHONE.to_csv(path, index=False)
    with pytest.raises(InputError, match="threads: found 1, 4; choose by --only threads=1"):
        read_rows(str(path), BASE)
    rows = read_rows(str(path), BASE, ["threads=1", "session_id=pixel"])
    assert rows == [((32, 48), 2.0), ((16, 48), pytest.approx(1.3))]
    with pytest.raises(InputError, match="2 networks, expected at least 9"):
        table_of(BASE, rows, {})
    for column, value, words in [
        ("widths", "32", "row 1: widths: found '?32'?, expected 2 numbers"),
        ("widths", "a b", "row 1: widths: found 'a b'"),
        ("median_ms", -1, "row 1: median_ms: found -1"),
        ("median_ms", None, "row 1: median_ms: found nan"),
    ]:
        wrong = PHONE.assign(threads=1)
        wrong.loc[0, column] = value
        wrong.to_csv(path, index=False)
        with pytest.raises(InputError, match=words):
            read_rows(str(path), BASE)


@pytest.mark.long
def test_this_host_is_measured(tiny, tmp_path, capsys):
    """Real files on the real engine: times are no numbers to test, that they become a table is."""
    words = ["--model", "cnn", "--widths", "8", "8", "--store", str(tiny / "store")]
    words += ["--target", "character", "--networks", "9", "--rounds", "2", "--multiple", "2"]
    main([*words, "--output", str(tmp_path / "t.json")])
    assert "of networks left out it is" in capsys.readouterr().out
    table = json.loads((tmp_path / "t.json").read_text())
    base = Architecture.from_json(table["network"])
    assert table["device"]["kind"] == "host"
    assert len(table["rows"]) == 10
    assert float(Latency.read(str(tmp_path / "t.json"), Counts(base), 2)((8, 8))) > 0
