"""The published sizes beside what k and patience leave of untrained networks."""

import pytest

from autoprune.core.errors import InputError
from autoprune.evidence.published_sizes import COLUMNS, published_size_rows


def null_file(path, *places):
    """One published size: its place in each null, as (null, P, low, high)."""
    rows = [
        f"{null},femnist,cnn,autoprune,2.2,1000,21488,30000,20000,40000,{p},{low},{high}"
        for null, p, low, high in places
    ]
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("fresh", "kept", "verdict", "says"),
    [
        ((0.99, 0.98, 1), (0.12, 0.1, 0.14), "does not hold", "inside what k and patience give"),
        ((0.01, 0.0, 0.02), (0.02, 0.01, 0.03), "holds", "smaller than what k and patience give"),
        ((0.30, 0.2, 0.4), (0.02, 0.01, 0.03), "not resolved", "at the edge of what"),
        ((0.06, 0.04, 0.08), (0.3, 0.2, 0.4), "not resolved", "at the edge of what"),
    ],
)
def test_both_nulls_stand_in_one_row(tmp_path, fresh, kept, verdict, says):
    (row,) = published_size_rows(null_file(tmp_path / "p.csv", ("kept", *kept), ("fresh", *fresh)))
    assert row["verdict"] == verdict
    assert row["resolved"] == ("no" if verdict == "not resolved" else "yes")
    assert row["claim"] == "the size of CNN on FEMNIST, autoprune, needs training"
    assert row["published"] == "21,488 parameters"
    assert row["answer"] == (
        f"{says}{row['answer'].removeprefix(says).partition('(')[0]}"
        f"(P = {fresh[0]:.2f} (fresh) and {kept[0]:.2f} (kept))"
    )
    assert f"kept weights: median 30,000 [20,000, 40,000], P = {kept[0]:.2f}" in row["tested_on"]
    assert row["ours"] is None


def test_what_is_not_there_is_one_line(tmp_path):
    assert published_size_rows(None) == []
    with pytest.raises(InputError, match="expected fresh and kept"):
        published_size_rows(null_file(tmp_path / "p.csv", ("kept", 0.1, 0.0, 0.2)))
    with pytest.raises(InputError, match=r"none\.csv"):
        published_size_rows(str(tmp_path / "none.csv"))
