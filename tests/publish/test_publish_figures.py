"""The figures: that they are drawn, the same each time, and can be told apart without colour."""

import itertools

import matplotlib.colors as colours
import matplotlib.text
import pytest

from autoprune.core.errors import InputError
from autoprune.core.files import sha256_file
from autoprune.measure.metrics import collect
from autoprune.measure.table import read_metrics
from autoprune.publish.draw import figure as draw
from autoprune.publish.plotting import COLOURS, DASHES, MARKERS, save
from made_studies import write_run
from stages import run_stage

FIGURES = (
    *("accuracy_by_round", "widths_by_round"),
    *("accuracy_against_parameters", "accuracy_against_bytes"),
)


@pytest.fixture(scope="module")
def metrics(study):
    return read_metrics(study / "metrics.csv")


@pytest.fixture
def figure():
    """A maker of figures, closed in the end."""
    import matplotlib.pyplot as plt

    yield lambda name, table: draw(name, metrics=table)
    plt.close("all")


def files(folder):
    """Checksums of the files below a folder: where they differ, no difference of long bytes."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): sha256_file(path) for path in paths}


@pytest.mark.parametrize("name", FIGURES)
def test_same_bytes_from_shuffled_rows(study, tmp_path, figure, metrics, name):
    first, *rest = (study / "metrics.csv").read_text().splitlines(keepends=True)
    (tmp_path / "m.csv").write_text(first + "".join(reversed(rest)))
    for place, table in (("a", metrics), ("b", read_metrics(tmp_path / "m.csv"))):
        table = table[table["dataset"] == "faces"]  # two pairs
        save(figure(name, table), *(tmp_path / place / f"f.{end}" for end in ("svg", "pdf")))
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_the_command_writes_the_same_bytes_in_another_process(study, tmp_path, figure, metrics):
    name = "accuracy_by_round"
    flags = ["--metrics", study / "metrics.csv", "--svg", "out/f.svg", "--pdf", "out/f.pdf"]
    done = run_stage("autoprune.publish.draw", name, *flags, cwd=tmp_path, strict=True)
    assert (done.returncode, done.stderr) == (0, "")
    save(figure(name, metrics), *(tmp_path / "here" / f"f.{end}" for end in ("svg", "pdf")))
    assert files(tmp_path / "out") == files(tmp_path / "here")
    assert b"<svg" in (tmp_path / "out/f.svg").read_bytes()[:1000]
    pdf = (tmp_path / "out/f.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # embedded, as TrueType
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


@pytest.mark.parametrize("name", FIGURES)
def test_panels_say_what_they_show_in_readable_letters(figure, metrics, name):
    drawn = figure(name, metrics)
    titles = [ax.get_title() for ax in drawn.axes]
    assert len(titles) == (10 if name == "widths_by_round" else 5)
    for title in titles:
        assert ("(stand-in)" in title) == ("MNIST" not in title)
    drawn.draw_without_rendering()
    texts = [text for text in drawn.findobj(matplotlib.text.Text) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 8
    (legend,) = drawn.legends
    box = legend.get_window_extent()
    # Below every panel, labels included: it hides no data.
    assert box.y1 <= min(ax.get_tightbbox().y0 for ax in drawn.axes)
    assert box.x0 >= 0
    assert box.x1 <= drawn.bbox.x1


@pytest.mark.parametrize("name", FIGURES)
def test_one_dense_seed_is_enough(run_folder, tmp_path, figure, name):
    collect([run_folder()]).to_csv(tmp_path / "m.csv", index=False)
    drawn = figure(name, read_metrics(tmp_path / "m.csv"))
    assert len(drawn.axes) == 1


@pytest.fixture(scope="module")
def nine_by_twelve(tmp_path_factory):
    """Nine data sets and twelve arms, a quarter of them absent."""
    folder = tmp_path_factory.mktemp("many")
    arms = [("dense", "fedavg"), *((f"method{at}", "v") for at in range(11))]
    folders = [
        write_run(folder / f"{at}-{place}", dataset=f"set{at}", method=method, variant=variant)
        for at in range(9)
        for place, (method, variant) in enumerate(arms)
        if (at + place) % 4
    ]
    collect(folders).to_csv(folder / "m.csv", index=False)
    return read_metrics(folder / "m.csv")


@pytest.mark.parametrize("name", FIGURES)
def test_nine_panels_and_twelve_arms_with_gaps(nine_by_twelve, figure, name):
    drawn = figure(name, nine_by_twelve)
    assert len(drawn.axes) >= 9
    if name != "widths_by_round":
        labels = [text.get_text() for text in drawn.legends[0].get_texts()]
        assert len([label for label in labels if label.startswith(("dense", "method"))]) == 12
        drawn.draw_without_rendering()
        assert drawn.legends[0].get_window_extent().x0 >= 0


def test_a_method_missing_from_a_pair_leaves_a_gap(run_folder, tmp_path, figure):
    folders = [
        run_folder(dataset="a", method="autoprune", variant="reinit"),
        run_folder(dataset="a", method="autoprune", variant="inherit"),
        run_folder(dataset="b", method="autoprune", variant="inherit"),
    ]
    collect(folders).to_csv(tmp_path / "m.csv", index=False)
    drawn = figure("widths_by_round", read_metrics(tmp_path / "m.csv"))
    assert [bool(ax.lines) for ax in drawn.axes] == [True, True, False, True]


def test_shrinks_are_marked_in_their_rounds(run_folder, tmp_path, figure):
    folder = run_folder(method="autoprune", variant="inherit", rounds=8, shrink_rounds=[2, 5])
    collect([folder]).to_csv(tmp_path / "m.csv", index=False)
    drawn = figure("accuracy_by_round", read_metrics(tmp_path / "m.csv"))
    lanes = [line for line in drawn.axes[0].lines if line.get_linestyle() == "None"]
    assert [list(line.get_xdata()) for line in lanes] == [[2, 5]]


def dashed(ax):
    return [line for line in ax.lines if line.is_dashed()]


def test_live_filters_are_dashed_beside_the_widths(run_folder, tmp_path, figure):
    folder = run_folder(
        method="autoprune", variant="inherit", rounds=6, shrink_rounds=[2, 3], every=3
    )
    history = (folder / "history.csv").read_text().splitlines()
    shares = {0: "1.0000 1.0000", 3: "1.0000 0.7500", 6: "1.0000 0.2500"}  # evaluated rounds
    lines = [
        f"{line[: line.rindex(',')]},{shares.get(at, '')}" for at, line in enumerate(history[1:])
    ]
    (folder / "history.csv").write_text("\n".join([history[0], *lines]) + "\n")
    collect([folder]).to_csv(tmp_path / "m.csv", index=False)
    drawn = figure("widths_by_round", read_metrics(tmp_path / "m.csv"))
    (ax,) = drawn.axes
    widths = [line.get_ydata() for line in ax.lines if not line.is_dashed()]
    live = [line.get_ydata() for line in dashed(ax)]
    assert list(live[0]) == list(widths[0])
    # between evaluations the fraction is that of the last one, of the width of the round
    of_second = [1, 1, 1, 0.75, 0.75, 0.75, 0.25]
    assert list(live[1]) == [s * w for s, w in zip(of_second, widths[1], strict=True)]
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()].count("of them live") == 1
    assert "2,000 training images" in legend.get_title().get_text().replace("\n", " ")


def test_metrics_without_live_filters_are_drawn_without(metrics, figure):
    old = metrics[~metrics["metric"].str.startswith("live_")]
    drawn = figure("widths_by_round", old)
    assert len(drawn.axes) == 10
    assert not any(dashed(ax) for ax in drawn.axes)
    (legend,) = drawn.legends
    assert "of them live" not in [text.get_text() for text in legend.get_texts()]
    assert "training images" not in legend.get_title().get_text()


def test_dense_is_joined_to_what_was_pruned(run_folder, tmp_path, figure):
    folders = [
        run_folder(test_accuracy=0.8),
        run_folder(method="autoprune", variant="reinit", test_accuracy=0.7),
    ]
    collect(folders).to_csv(tmp_path / "m.csv", index=False)
    drawn = figure("accuracy_against_parameters", read_metrics(tmp_path / "m.csv"))
    joins = [line for line in drawn.axes[0].lines if len(line.get_xdata()) == 2]
    assert [list(line.get_ydata()) for line in joins] == [[0.8, 0.7]]


def test_arms_differ_in_grey():
    def lightness(colour):
        return sum(w * c for w, c in zip((0.30, 0.59, 0.11), colours.to_rgb(colour), strict=True))

    first = sorted(map(lightness, COLOURS[:3]))
    assert min(b - a for a, b in itertools.pairwise(first)) > 0.2
    assert len(set(COLOURS)) == len(set(MARKERS)) == 12
    looks = {(COLOURS[at], DASHES[at % len(DASHES)], MARKERS[at]) for at in range(12)}
    assert len(looks) == 12


def test_nothing_to_draw_is_one_line_and_no_file(study, tmp_path, stage):
    lines = (study / "metrics.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if ",validation_accuracy," not in line]
    (tmp_path / "m.csv").write_text("".join(kept))
    flags = ["--metrics", "m.csv", "--svg", "f.svg", "--pdf", "f.pdf"]
    done = stage("publish.draw", "accuracy_by_round", *flags, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: metrics: no run has validation_accuracy by round; nothing to draw\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


def test_no_widths_is_one_line(metrics, figure):
    with pytest.raises(InputError, match="width_1"):
        figure("widths_by_round", metrics[~metrics["metric"].str.startswith("width_")])
