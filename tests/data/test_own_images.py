"""A user's own images come in from folders and from tables as they are; each fault is one line."""

import contextlib
import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autoprune.core.errors import InputError
from autoprune.data.prepare import decoding, partition
from autoprune.data.prepare.__main__ import main
from autoprune.data.store import ClientStore

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "workflow"
# (client, label, grey level) of every image; the level says which image it is
IMAGES = [
    (client, label, 40 * number + 10 * place + 3 * again)
    for number, client in enumerate(("anna", "bob", "eve"))
    for place, label in enumerate(("9", "10", "2"))
    for again in range(3)
]
CLASSES = ["2", "9", "10"]  # by value, since all are numbers


def prepare(output, source, *flags):
    main([source, "--name", "own", "--output", str(output), "--workers", "1", *map(str, flags)])
    store = ClientStore.open(output)
    store.verify()
    return store


def plain(level, size=(8, 6)):
    return Image.new("RGB", size, (level, 0, 255 - level))


@pytest.fixture
def tree(tmp_path):
    """CLIENT/LABEL/image, 27 lossless images in four formats."""
    for number, (client, label, level) in enumerate(IMAGES):
        folder = tmp_path / "own" / client / label
        folder.mkdir(parents=True, exist_ok=True)
        plain(level).save(folder / f"{level}.{('png', 'bmp', 'PNG', 'tif')[number % 4]}")
    return tmp_path / "own"


def found(store):
    """(client, label, level) of every sample of a store."""
    classes = store.targets[0]["classes"]
    return sorted(
        (store.client_ids[client], classes[label], int(image[0, 0, 0]))
        for image, client, label in zip(
            store.images, store.clients, store.labels[:, 0], strict=True
        )
    )


def write_table(tree, rows=None, **columns):
    """A csv of ``tree`` beside it; ``rows`` (list of lists) replaces what would be written."""
    if rows is None:
        rows = [["path", "label", "client", *columns]]
        for number, path in enumerate(sorted(p for p in tree.glob("*/*/*"))):
            where = path.relative_to(tree.parent)
            own = [values[number % len(values)] for values in columns.values()]
            rows.append([str(where), where.parts[2], where.parts[1], *own])
    with open(tree.parent / "table.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return tree.parent / "table.csv"


def test_a_tree_keeps_every_image_with_its_client_and_label(tree, tmp_path, capsys):
    store = prepare(tmp_path / "out", "folder", "--folder", tree)
    assert capsys.readouterr().err == ""
    assert found(store) == sorted(IMAGES)
    assert store.shape == (6, 8, 3)
    assert store.targets == [{"name": "label", "classes": CLASSES}]
    assert (store.kind, store.polarity, store.natural_clients) == ("real", "colour", True)
    assert store.client_ids == ["anna", "bob", "eve"]
    assert np.bincount(store.clients[store.rows("train")]).tolist() == [7, 7, 7]
    assert (store.images == store.images[:, :1, :1]).all()


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "test"), ("training",)])
def test_a_tree_by_split_is_one_pool_with_that_split(tree, tmp_path, capsys, names):
    """As torchvision's ImageFolder has it: no client is called train."""
    clients = ("anna", "bob", "eve")
    for client, name in zip(clients, names, strict=False):
        (tree / client).rename(tree / name)
    for client in clients[len(names) :]:
        shutil.rmtree(tree / client)
    store = prepare(tmp_path / "out", "folder", "--folder", tree)
    assert f"{', '.join(sorted(names))}: splits, not clients" in capsys.readouterr().err
    assert (store.client_ids, store.natural_clients) == (["pool"], False)
    sizes = {3: [9, 9, 9], 2: [9, 4, 5], 1: [7, 1, 1]}[len(names)]
    assert list(store.samples.values()) == sizes
    if len(names) == 3:
        levels = store.images[store.rows("validation"), 0, 0, 0]
        assert {level // 40 for level in levels.tolist()} == {1}  # bob's
    division = ["--store", tmp_path / "out", "--target", "label", "--output", tmp_path / "p"]
    with pytest.raises(InputError, match="has no clients of its own"):
        partition.main([*map(str, division), "--scheme", "natural"])
    partition.main([*map(str, division), "--scheme", "iid", "--clients", "2"])


def test_a_tree_of_splits_and_clients_is_refused(tree, tmp_path):
    for client, name in (("anna", "train"), ("bob", "test")):
        (tree / client).rename(tree / name)
    words = ["own: test, train are splits, eve is none; expected CLIENT/LABEL/image, or only"]
    refused_in_one_line(tmp_path, words, "folder", "--folder", tree)
    (tree / "train").rename(tree / "anna")  # one such name alone may be somebody's
    store = prepare(tmp_path / "out", "folder", "--folder", tree)
    assert store.client_ids == ["anna", "eve", "test"]
    shutil.rmtree(tree / "anna")
    shutil.rmtree(tree / "eve")
    refused_in_one_line(tmp_path / "x", ["no folder train beside test"], "folder", "--folder", tree)


def test_a_table_gives_the_same_data_as_the_tree(tree, tmp_path):
    by_folder = prepare(tmp_path / "a", "folder", "--folder", tree, "--min-samples", 3)
    by_table = prepare(tmp_path / "b", "table", "--table", write_table(tree), "--min-samples", 3)
    assert by_table.checksum == by_folder.checksum
    assert by_table.targets == by_folder.targets


def as_tsv(path):
    pd.read_csv(path, dtype=str).to_csv(path.with_suffix(".tsv"), sep="\t", index=False)
    return path.with_suffix(".tsv")


def as_parquet(path):
    table = pd.read_csv(path)  # labels as numbers, clients as text
    table.to_parquet(path.with_suffix(".parquet"), row_group_size=5)
    return path.with_suffix(".parquet")


def as_windows_writes(path):
    text = path.read_text().replace("\r\n", "\n").replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n")
    return path


def absolute(path):
    table = pd.read_csv(path, dtype=str)
    table["path"] = [str(path.parent / name) for name in table["path"]]
    table[["client", "path", "label"]].to_csv(path, index=False)
    return path


@pytest.mark.parametrize("change", [as_tsv, as_parquet, as_windows_writes, absolute])
def test_a_table_may_come_in_several_forms(tree, tmp_path, change):
    table = change(write_table(tree))
    store = prepare(tmp_path / "out", "table", "--table", table)
    assert found(store) == sorted(IMAGES)
    assert store.targets == [{"name": "label", "classes": CLASSES}]


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        (["train", "test", "train"], {"train": 18, "validation": 4, "test": 5}),
        (["train", "validation", "test"], {"train": 9, "validation": 9, "test": 9}),
    ],
)
def test_a_tables_own_split_is_kept(tree, tmp_path, words, sizes):
    table = write_table(tree, part=words)
    flags = ("--split-column", "part", "--name-of-target", "digit")
    store = prepare(tmp_path / "out", "table", "--table", table, *flags)
    assert store.samples == sizes
    assert store.targets[0]["name"] == "digit"
    rows = pd.read_csv(table, dtype=str)
    levels = [int(Path(path).stem) for path in rows["path"][rows["part"] == "train"]]
    assert sorted(store.images[store.rows("train"), 0, 0, 0]) == sorted(levels)
    if "validation" in words:
        levels = [int(Path(path).stem) for path in rows["path"][rows["part"] == "validation"]]
        assert sorted(store.images[store.rows("validation"), 0, 0, 0]) == sorted(levels)


def test_columns_may_have_other_names(tree, tmp_path):
    table = write_table(tree)
    table.write_text(table.read_text().replace("path,label,client", "file,digit,phone"))
    flags = ("--path-column", "file", "--label-column", "digit", "--client-column", "phone")
    store = prepare(tmp_path / "out", "table", "--table", table, *flags)
    assert found(store) == sorted(IMAGES)
    assert store.targets[0]["name"] == "digit"


def test_columns_may_be_several_answers_and_numbers(tree, tmp_path):
    """Each a target of its name; the labels of classes are the same numbers beside them."""
    rows = len(write_table(tree).read_text().splitlines()) - 1
    glad = ["yes" if row % 3 else "no" for row in range(rows)]
    table = write_table(tree, glad=glad, age=[f"{20 + row / 8}" for row in range(rows)])
    columns = ["--label-columns", "label", "glad", "--number-columns", "age"]
    store = prepare(tmp_path / "out", "table", "--table", table, *columns)
    assert [target["name"] for target in store.targets] == ["label", "glad", "age"]
    assert store.classes("glad") == ["no", "yes"]
    assert store.classes("age") == []
    ages = store.labels[store.rows("train"), 2].astype(float)
    assert store.targets[2]["mean"] == pytest.approx(ages.mean())
    assert store.targets[2]["sd"] == pytest.approx(ages.std())
    alone = prepare(tmp_path / "classes", "table", "--table", table, "--label-column", "glad")
    assert (store.labels[:, 1] == alone.labels[:, 0]).all()
    number = prepare(tmp_path / "age", "table", "--table", table, "--number-columns", "age")
    assert [target["name"] for target in number.targets] == ["age"]


NUMBERS = {
    "text": ({"age": ["3", "old"]}, ["--number-columns", "age"], "age is 'old', expected a finite"),
    "endless": ({"age": ["3", "inf"]}, ["--number-columns", "age"], "age is 'inf', expected a fin"),
    "none": ({"age": ["3", "NaN"]}, ["--number-columns", "age"], "age is NaN, no value; fill it"),
    "absent": ({}, ["--number-columns", "age"], "0 columns 'age' (there are: "),
    "twice": ({"age": ["3"]}, ["--number-columns", "age", "age"], "named twice among age, age"),
    "both": ({}, ["--label-column", "label", "--label-columns", "label"], "not both"),
    "one word": (
        {"glad": ["yes"]},
        ["--label-columns", "label", "glad"],
        "glad: 'yes' is the only",
    ),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_bad_columns_of_targets_are_refused_in_one_line(tree, tmp_path, case):
    columns, flags, said = NUMBERS[case]
    rows = len(write_table(tree).read_text().splitlines()) - 1
    columns = {name: (cells * rows)[:rows] for name, cells in columns.items()}
    table = write_table(tree, **columns)
    refused_in_one_line(tmp_path, [said], "table", "--table", table, *flags)


def test_what_is_no_image_is_counted_and_left_out(tree, tmp_path, capsys):
    for name in ("Thumbs.db", "anna/.DS_Store", "bob/2/Thumbs.db", "bob/2/._10.png"):
        (tree / name).write_bytes(b"not an image")
    store = prepare(tmp_path / "out", "folder", "--folder", tree)
    assert found(store) == sorted(IMAGES)
    assert f"{tree}: 4 files left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "shape"),
    [
        (["--side", "5"], (5, 5, 3)),
        (["--height", "4", "--width", "9", "--channels", "1"], (4, 9, 1)),
    ],
)
def test_images_of_any_size_are_resized(tree, tmp_path, flags, shape):
    plain(3, (300, 11)).save(tree / "anna" / "9" / "3.tif")
    store = prepare(tmp_path / "out", "folder", "--folder", tree, *flags)
    assert store.shape == shape
    assert (store.images == store.images[:, :1, :1]).all()  # plain before, plain after
    if shape[2] == 3:
        assert found(store) == sorted([*IMAGES, ("anna", "9", 3)])
    assert store.polarity == ("colour" if shape[2] == 3 else "dark-on-light")


def form(channels=3, background=255):
    return decoding.Form(2, 3, channels, background=background)


def decoded(folder, image, suffix, channels=3, background=255, **options):
    image.save(folder / f"a.{suffix}", **options)
    part = (0, [(f"a.{suffix}", "")])
    ((rows, images),) = decoding.read(part, root=folder, form=form(channels, background))
    assert rows.tolist() == [0]
    return images[0]


GREY = np.array([[0, 7, 128], [200, 254, 255]], np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=2)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_lossless_formats_keep_every_pixel(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    assert np.array_equal(decoded(tmp_path, Image.fromarray(COLOUR), suffix, **options), COLOUR)


def test_grey_palette_and_16_bit_images_become_8_bit_ones(tmp_path):
    grey = Image.fromarray(GREY)
    as_colour = np.repeat(GREY[..., None], 3, axis=2)
    assert np.array_equal(decoded(tmp_path, grey, "png"), as_colour)
    assert np.array_equal(decoded(tmp_path, grey, "png", channels=1), GREY[..., None])
    assert np.array_equal(decoded(tmp_path, grey.convert("P"), "png"), as_colour)
    assert np.array_equal(decoded(tmp_path, grey.convert("P"), "gif"), as_colour)
    bilevel = np.where(GREY > 127, 255, 0).astype(np.uint8)
    found_ = decoded(tmp_path, Image.fromarray(bilevel).convert("1"), "png", channels=1)
    assert np.array_equal(found_, bilevel[..., None])
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert deep.mode == "I;16"
    assert np.array_equal(decoded(tmp_path, deep, "png", channels=1), GREY[..., None])


@pytest.mark.parametrize("background", [0, 255])
def test_transparent_pixels_show_the_background(tmp_path, background):
    alpha = np.array([[0, 255, 0], [255, 0, 255]], np.uint8)
    image = Image.fromarray(np.dstack([COLOUR, alpha]))
    pixels = decoded(tmp_path, image, "png", background=background)
    assert np.array_equal(pixels, np.where(alpha[..., None] == 255, COLOUR, background))
    palette = Image.fromarray(GREY).convert("P")
    pixels = decoded(tmp_path, palette, "png", channels=1, background=77, transparency=7)
    assert np.array_equal(pixels[..., 0], np.where(GREY == 7, 77, GREY))


def test_the_background_follows_what_is_drawn(tree, tmp_path):
    for path in tree.glob("*/*/*"):
        path.unlink()
        Image.new("LA", (8, 6), (100, 0)).save(path.with_suffix(".png"))
    for drawn, level in (("light-on-dark", 0), ("dark-on-light", 255), ("colour", 255)):
        flags = ("--folder", tree, "--drawn", drawn, "--channels", 1)
        store = prepare(tmp_path / drawn, "folder", *flags)
        assert store.polarity == drawn
        assert (store.images == level).all()


@pytest.mark.parametrize("turned", range(1, 9))
def test_photographs_are_turned_upright(tmp_path, turned):
    """Orientation 6, the phone held upright: the stored picture is turned left."""
    marks = Image.fromarray(COLOUR)
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = turned
    stored = marks.transpose(back[turned]) if turned > 1 else marks
    assert np.array_equal(decoded(tmp_path, stored, "png", exif=exif), COLOUR)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 9), height=st.integers(1, 40), width=st.integers(1, 40))
def test_every_row_comes_once_and_in_its_place(tmp_path_factory, rows, height, width):
    folder = tmp_path_factory.mktemp("rows")
    for row in range(rows):
        plain(row).save(folder / f"{row}.png")
    files = [(f"{row}.png", "") for row in range(rows)]
    images = decoding.images(folder, files, decoding.Form(height, width, 3))
    assert images.shape == (rows, height, width, 3)
    blocks = [block for part in images.parts for block in images.read(part)]
    assert np.concatenate([rows for rows, _ in blocks]).tolist() == list(range(rows))
    pixels = np.concatenate([pixels for _, pixels in blocks])
    assert (pixels[..., 0] == np.arange(rows)[:, None, None]).all()


def picture(path, image, **options):
    def apply(tree):
        (tree / path).unlink(missing_ok=True)
        image.save(tree / path, **options)

    return apply


def content(path, data):
    return lambda tree: (tree / path).write_bytes(data)


def emptied(path):
    def apply(tree):
        shutil.rmtree(tree / path)
        (tree / path).mkdir()

    return apply


def one_label(tree):
    for label in ("2", "10"):
        for client in ("anna", "bob", "eve"):
            shutil.rmtree(tree / client / label)


def broken_png():
    stream = io.BytesIO()
    Image.effect_noise((50, 50), 90).save(stream, "png")
    return stream.getvalue()[:1000]


BOMB = b"P5\n10000 10000\n255\n"  # just above where Pillow begins to warn
BAD_TREES = {
    "absent": (shutil.rmtree, ["own: no such folder", "CLIENT/LABEL/image"]),
    "empty": (emptied(""), ["own: no client folder in it"]),
    "client empty": (emptied("bob"), ["bob: no label folder in it"]),
    "label empty": (emptied("bob/2"), ["bob/2: no image in it (0 other files)"]),
    "no image": (
        lambda tree: (emptied("bob/2")(tree), content("bob/2/Thumbs.db", b"x")(tree)),
        ["bob/2: no image in it (1 other files)"],
    ),
    "image too high": (picture("bob/a.png", plain(1)), ["bob/a.png", "only label folders"]),
    "image at the top": (picture("a.jpg", plain(1)), ["a.jpg", "only client folders"]),
    "too deep": (lambda tree: (tree / "bob/2/x").mkdir(), ["bob/2/x: a folder where only images"]),
    "odd name": (lambda tree: (tree / "bob/a\nb").mkdir(), [r"'a\nb'", "cannot be shown"]),
    "one label": (one_label, ["'9' is the only label"]),
    "another size": (
        picture("eve/9/80.png", plain(80, (9, 6))),
        ["eve/9/80.png: 9x6 pixels, expected 8x6", "anna/10/10.tif", "give side"],
    ),
    "text": (content("eve/9/x.png", b"hello"), ["eve/9/x.png: not an image (5 bytes)"]),
    "PostScript": (picture("eve/9/x.png", plain(1), format="eps"), ["x.png: not an image"]),
    "cut off": (content("eve/9/x.png", broken_png()), ["x.png: the image cannot be decoded"]),
    "too large": (content("eve/9/x.pgm", BOMB), ["x.pgm: the image cannot be decoded", "bomb"]),
    "32 bits": (
        picture("eve/9/x.tif", Image.new("F", (8, 6))),
        ["eve/9/x.tif: 32-bit pixels (mode F)"],
    ),
}


def refused_in_one_line(tmp_path, words, *command):
    with pytest.raises(InputError) as caught:
        prepare(tmp_path / "out", *command)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert len(message) < 600 + 2 * len(str(tmp_path))
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("case", BAD_TREES)
def test_a_bad_tree_is_refused_in_one_line_that_names_the_place(tree, tmp_path, case):
    damage, words = BAD_TREES[case]
    damage(tree)
    refused_in_one_line(tmp_path, [str(tree), *words], "folder", "--folder", tree)


@pytest.mark.parametrize("deeper", ["data", "data/images", "a/b/c"])
@pytest.mark.parametrize("splits", [False, True])
def test_where_the_tree_lies_deeper_the_folder_that_works_is_named(tree, tmp_path, deeper, splits):
    """As archives unpack: own/data/train/LABEL/image, own/data/images/CLIENT/LABEL/image."""
    if splits:
        for client, name in zip(("anna", "bob", "eve"), ("train", "val", "test"), strict=True):
            (tree / client).rename(tree / name)
    inner = tmp_path / "unpacked" / deeper
    inner.parent.mkdir(parents=True)
    tree.rename(inner)
    words = [f"expected CLIENT/LABEL/image, which {inner} is: give that folder"]
    refused_in_one_line(tmp_path, words, "folder", "--folder", tmp_path / "unpacked")
    assert len(prepare(tmp_path / "out", "folder", "--folder", inner).images) == len(IMAGES)


def altered(number, cell, value):
    def apply(table):
        rows = list(csv.reader(io.StringIO(table.read_text())))
        rows[number][cell : cell + 1] = value
        with open(table, "w", newline="") as stream:
            csv.writer(stream).writerows(rows)

    return apply


def broken_image(table):
    for path in (table.parent / "own" / "eve" / "9").glob("80.*"):
        path.write_bytes(b"")


BAD_TABLES = {
    "absent": (lambda table: table.unlink(), ["no such file"]),
    "header only": (lambda table: table.write_text("path,label,client\n"), ["no row in it"]),
    "empty": (lambda table: table.write_text(""), ["cannot be read as a table (No columns"]),
    "no client": (altered(0, 2, ["clients"]), ["0 columns 'client' (there are: clients)"]),
    "label twice": (altered(0, 2, ["label"]), ["2 columns 'label'"]),
    "short row": (altered(3, 2, []), ["row 3: client is empty"]),
    "long row": (
        altered(3, 2, ["a", "b"]),
        ["Expected 3 fields in line 4, saw 4"],
    ),
    "empty label": (altered(3, 1, [" "]), ["row 3: label is empty"]),
    "quoted line end": (altered(3, 1, ["a\nb"]), ["row 3: label is 'a\\nb'"]),
    "missing file": (altered(3, 0, ["own/x.png"]), ["row 3: no file", "own/x.png"]),
    "a folder": (altered(3, 0, ["own"]), ["row 3: no file"]),
    "long name": (altered(3, 0, ["x" * 300]), ["row 3: no file"]),
    "twice": (
        altered(3, 0, ["own/../own/anna/10/10.tif"]),
        ["row 3: own/../own/anna/10/10.tif occurs twice, first in row 1"],
    ),
    "not an image": (broken_image, ["row 25: ", "own/eve/9/80.", "not an image"]),
    "a lost label": (altered(3, 1, ["NaN"]), ["row 3: label is NaN, no value; fill it in"]),
    "Latin-1": (
        lambda table: table.write_bytes(table.read_bytes().replace(b",eve", b",\xe8ve")),
        ["row 19: byte 0xe8 is not UTF-8, it looks like Latin-1 or Windows-1252; save"],
    ),
    "UTF-16": (
        lambda table: table.write_text(table.read_text(), encoding="utf-16"),
        ["header: byte 0xff is not UTF-8, it looks like UTF-16; save"],
    ),
    "open quote": (
        lambda table: table.write_text('path,label,client\n"a,1,b\n'),
        ["cannot be read as a table"],
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_in_one_line_that_names_the_row(tree, tmp_path, case):
    damage, words = BAD_TABLES[case]
    table = write_table(tree)
    damage(table)
    refused_in_one_line(tmp_path, [str(table), *words], "table", "--table", table)


def test_bad_splits_parquets_and_flags_are_refused_in_one_line(tree, tmp_path):
    table = write_table(tree, part=["train", "dev"])
    flags = ("table", "--table", table, "--split-column")
    words = ["row 2: part is 'dev', expected one of train, validation, test"]
    refused_in_one_line(tmp_path, words, *flags, "part")
    refused_in_one_line(tmp_path, ["0 columns 'parts' (there are: part"], *flags, "parts")

    parquet = as_parquet(write_table(tree))
    frame = pd.read_parquet(parquet)
    frame.loc[6, "client"] = None
    frame.to_parquet(parquet)
    refused_in_one_line(tmp_path, [f"{parquet}, row 7: client is empty"], *flags[:2], parquet)
    parquet.write_bytes(parquet.read_bytes()[:-9])
    refused_in_one_line(tmp_path, [f"{parquet}: cannot be read as a table"], *flags[:2], parquet)

    other = table.rename(table.with_suffix(".xlsx"))
    refused_in_one_line(tmp_path, [".csv, .tsv or .parquet"], *flags[:2], other)
    for sizes in (["--side", 5, "--height", 5, "--width", 5], ["--height", 5]):
        words = ["side, or height and width together"]
        refused_in_one_line(tmp_path, words, "folder", "--folder", tree, *sizes)


def test_a_fault_is_one_line_of_the_command(tree, tmp_path, stage, refused):
    (tree / "bob" / "2" / "x.png").write_bytes(broken_png())
    flags = ("--name", "own", "--output", tmp_path / "out", "--folder", tree)
    line = refused(stage("data.prepare", "folder", *flags))
    assert f"{tree}/bob/2/x.png: the image cannot be decoded" in line
    assert not list(tmp_path.glob("out/*"))


def test_celebas_own_files_are_such_a_table(tmp_path, monkeypatch):
    """What docs/data.md says, on six faces of three identities."""
    monkeypatch.chdir(tmp_path)
    faces = Path("celeba/img_align_celeba")
    faces.mkdir(parents=True)
    names = [f"{row + 1:06}.jpg" for row in range(6)]
    for row, name in enumerate(names):
        Image.new("RGB", (178, 218), (40 * row, 0, 0)).save(faces / name, quality=100)
    lists = {
        "list_attr_celeba": [f"{n} -1 {1 if row < 2 else -1}" for row, n in enumerate(names)],
        "identity_CelebA": [f"{name} {7 + row // 2}" for row, name in enumerate(names)],
        "list_eval_partition": [f"{name} {max(0, row - 3)}" for row, name in enumerate(names)],
    }
    lists["list_attr_celeba"][:0] = ["6", "Bald Male "]
    for file, lines in lists.items():
        Path(f"celeba/{file}.txt").write_text("\n".join(lines) + "\n")
    page = (ROOT / "docs/data.md").read_text()
    exec(page.split("```python\n")[1].split("```")[0], {})
    said = page.split("options: {table: ")[1].split("}")[0]
    assert said == "celeba/male.csv, split_column: split, side: 84, name_of_target: Male"
    flags = ("--split-column", "split", "--side", 84, "--name-of-target", "Male")
    store = prepare(tmp_path / "out", "table", "--table", "celeba/male.csv", *flags)
    assert store.samples == {"train": 4, "validation": 1, "test": 1}
    assert store.classes("Male") == ["no", "yes"]
    assert store.labels[:, 0].tolist() == [1, 1, 0, 0, 0, 0]
    assert [store.client_ids[client] for client in store.clients] == [*"778899"]
    assert store.images[:, 40, 40, 0] == pytest.approx(np.arange(0, 240, 40), abs=3)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_image_cut_at_any_byte_is_refused_or_whole(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(noise).save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    pixels = np.asarray(decoding.opened(folder, "whole.jpg"))
    found = None
    with contextlib.suppress(InputError):
        found = np.asarray(decoding.opened(folder, "cut.jpg"))
    assert found is None or np.array_equal(found, pixels)


def run_fresh(code, path):
    paths = os.pathsep.join(map(str, path))
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_torchvision_can_be_imported_beside_any_torch():
    code = (
        "from autoprune.core.vision import torchvision as tv\n"
        "print(tv.models.resnet18(num_classes=7).fc.out_features, tv.datasets.MNIST.__name__,"
        " tv.transforms.v2.functional.resize.__name__)"
    )
    process = run_fresh(code, [WORKFLOW])
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == ["7", "MNIST", "resize"]


@pytest.mark.slow
def test_a_torchvision_with_operators_of_its_own_is_left_alone(tmp_path):
    """A package in torchvision's place that defines nms itself: defining it again would fail."""
    package = tmp_path / "torchvision" / "transforms" / "v2"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "import torch\n"
        "own = torch.library.Library('torchvision', 'FRAGMENT')\n"
        "own.define('nms(Tensor a) -> Tensor')\n"
    )
    code = (
        "import torch\nfrom autoprune.core.vision import torchvision\n"
        "print(torch.ops.torchvision.nms.default._schema)"
    )
    process = run_fresh(code, [tmp_path, WORKFLOW])
    assert process.returncode == 0, process.stderr
    assert "torchvision::nms(Tensor a) -> Tensor" in process.stdout
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('another cause')")
    assert "RuntimeError: another cause" in run_fresh(code, [tmp_path, WORKFLOW]).stderr
