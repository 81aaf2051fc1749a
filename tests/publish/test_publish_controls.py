"""The controls' figures: what they hold, that they are readable, and the null behind one."""

from xml.etree import ElementTree

import matplotlib.text
import pytest

from autoprune.measure.floors import floor_share, floors
from autoprune.measure.floors import main as write_floors
from autoprune.measure.metrics import collect
from autoprune.measure.table import read_metrics
from autoprune.models import Architecture
from autoprune.publish.draw import figure
from autoprune.publish.items import items
from autoprune.publish.plotting import save

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def inputs(study, tmp_path):
    """Metrics of five pairs, a null of each, and a table of kept filters."""
    metrics = read_metrics(study / "metrics.csv")
    null = []
    for dataset, model in {tuple(p) for p in metrics[["dataset", "model"]].to_numpy()}:
        path = tmp_path / f"{dataset}-{model}.csv"
        path.write_text(
            "null,parameters_with_statistics\n"
            + "".join(f"{('fresh', 'kept')[n % 2]},{400 + 7 * n}\n" for n in range(40))
        )
        null.append(str(path))
    head = (
        "dataset,model,method,variant,layer,filters,seeds,jaccard,jaccard_low,jaccard_high,chance"
    )
    kept = tmp_path / "kept.csv"
    kept.write_text(f"{head}\nglyphs,cnn,autoprune,inherit,1,32,2,0.5,,,0.4\n")
    floors = tmp_path / "floors.csv"
    write_floors(["--metrics", str(study / "metrics.csv"), "--output", str(floors)])
    return {"metrics": metrics, "null": sorted(null), "kept": str(kept), "floors": str(floors)}


def draw(name, inputs):
    """A figure of those of the inputs that it asks for."""
    return figure(name, **{flag: inputs[flag] for flag in items("figures")[name].inputs})


def map_of(folders, tmp_path):
    """The map over k and patience of some runs."""
    path, least = tmp_path / "m.csv", str(tmp_path / "least.csv")
    collect(folders).to_csv(path, index=False)
    write_floors(["--metrics", str(path), "--output", least])
    return figure("k_patience_map", metrics=read_metrics(path), floors=least)


@pytest.mark.parametrize(("name", "panels"), [("null_distribution", 5), ("widths_by_layer", 5)])
def test_a_panel_for_each_pair_in_readable_letters(inputs, name, panels):
    drawn = draw(name, inputs)
    assert len(drawn.axes) == panels
    drawn.draw_without_rendering()
    texts = [t for t in drawn.findobj(matplotlib.text.Text) if t.get_text()]
    assert min(t.get_fontsize() for t in texts) >= 7
    for ax in drawn.axes:
        assert ("(stand-in)" in ax.get_title()) == ("MNIST" not in ax.get_title())


def test_widths_are_written_into_the_map(inputs):
    drawn = draw("widths_by_layer", inputs)
    resnet = next(ax for ax in drawn.axes if "ResNet" in ax.get_title())
    names = [t.get_text() for t in resnet.get_yticklabels()]
    assert names == ["dense (FedAvg)", "autoprune, fresh weights", "autoprune, kept weights"]
    assert [t.get_text() for t in resnet.texts][:3] == ["16", "32", "64"]


def test_each_cell_of_an_svg_says_its_value_where_it_is(inputs, tmp_path):
    drawn = draw("widths_by_layer", inputs)
    save(drawn, tmp_path / "f.svg")
    image = ElementTree.parse(tmp_path / "f.svg").getroot()
    rows = image.findall(f"{SVG}g[@id='values']/{SVG}g")
    assert len(rows) == sum(len(ax.get_yticklabels()) for ax in drawn.axes)
    resnet = next(ax for ax in drawn.axes if "ResNet" in ax.get_title())
    cells = {shape.findtext(f"{SVG}title"): shape for row in rows for shape in row}
    said = "dense (FedAvg), layer 3\n64 of 64 filters"
    assert said in cells
    at = next(row for row in rows if len(row) == 3)[2]  # ResNet's first row, third layer
    assert at.findtext(f"{SVG}title") == said
    x, y, width, height = (float(at.attrib[name]) for name in ("x", "y", "width", "height"))
    box = resnet.get_position()
    full, high = 72 * drawn.get_figwidth(), 72 * drawn.get_figheight()
    assert x + width == pytest.approx(box.x1 * full, abs=0.2)
    assert y == pytest.approx((1 - box.y1) * high, abs=0.2)
    assert height == pytest.approx(box.height * high / 3, abs=0.2)


def test_kept_filters_stand_beside_chance(inputs):
    (ax,) = draw("kept_similarity", inputs).axes
    assert [t.get_text() for t in ax.texts] == ["0.50 (0.40)"]


def test_the_map_needs_runs_of_several_k_and_patience(inputs, run_folder, tmp_path):
    assert "no runs with k" in text_of(draw("k_patience_map", inputs))
    folders = [run_folder()]
    for k in (1.6, 2.2):
        for patience in (1, 3):
            folders.append(
                run_folder(
                    method="autoprune",
                    variant=f"k{k}-p{patience}",
                    settings={"k": k, "patience": patience, "cap": 8},
                )
            )
    left, accuracy = map_of(folders, tmp_path).axes
    assert left.get_title().endswith("parameters left, %")
    assert accuracy.get_title().endswith("test accuracy, %")
    assert len(left.texts) == len(accuracy.texts) == 4
    # 5x5 kernels and biases of widths 32 64 on one channel, then 62 classes: 832 + 51264 + 4030
    # = 56126; of widths 3 3 it is 78 + 228 + 248 = 554, of 5 5 130 + 630 + 372 = 1132
    names = [t.get_text() for t in left.get_yticklabels()]
    assert names == ["1.6\n≥ 3 3\n≥ 1.0 %", "2.2\n≥ 5 5\n≥ 2.0 %"]
    assert not [t.get_text() for t in accuracy.get_yticklabels()]


def test_the_map_is_of_runs_that_train_alike_whether_clients_failed_or_not(run_folder, tmp_path):
    dense = {"clients-per-round": 10, "optimizer-state": "fresh"}
    searched = [dense | {"k": k, "patience": p, "cap": 8} for k in (1.6, 2.2) for p in (1, 3)]
    arms = {f"k{one['k']}-p{one['patience']}": (one, 10) for one in searched}
    arms["k1.6-p1"] = (searched[0], 9)  # a client of each cohort failed
    arms["k2.8-p1"] = (searched[0] | {"k": 2.8, "clients-per-round": 20}, 20)
    arms["k2.8-p3"] = (searched[1] | {"k": 2.8, "optimizer-state": "carried"}, 10)
    folders = [run_folder(settings=dense)]
    for variant, (settings, clients) in arms.items():
        own = {"method": "autoprune", "variant": variant, "settings": settings, "clients": clients}
        folders.append(run_folder(**own))
    left, _ = map_of(folders, tmp_path).axes
    assert [t.get_text().split("\n")[0] for t in left.get_yticklabels()] == ["1.6", "2.2"]
    assert len(left.texts) == 4


@pytest.mark.parametrize(
    ("widths", "shape", "classes", "k", "share"),
    [
        ((32, 64), (1, 28, 28), 62, 1.6, 554 / 56126),
        ((32, 64), (1, 28, 28), 62, 2.2, 1132 / 56126),
        # three channels and two classes: 32 * 76 + 64 * 801 + 2 * 65; 5 * 76 + 5 * 126 + 2 * 6
        ((32, 64), (3, 28, 28), 2, 2.2, 1022 / 53826),
        # a layer that starts below its floor stays: 3 * 26 + 5 * 76 + 62 * 6 of 3 * 26 + 64 * 76
        # + 62 * 65
        ((3, 64), (1, 28, 28), 62, 2.2, 830 / 8972),
    ],
)
def test_the_floors_share_of_parameters_by_hand(widths, shape, classes, k, share):
    base = Architecture("cnn", widths, shape, classes)
    assert floor_share(base, k) == pytest.approx(share)


def text_of(figure):
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize(("k", "least"), [(2.0, 5), (2.2, 5), (2.4, 6), (2.5, 7), (3.0, 10)])
def test_floors_are_those_of_the_closed_form(k, least):
    """method.md names them; a layer that starts below stays."""
    assert floors([64, 3], k) == (least, 3)
