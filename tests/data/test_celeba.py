"""CelebA's own files and LEAF's shards of it are read whole; each fault is one line."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autoprune.core.errors import InputError
from autoprune.data.prepare import decoding
from autoprune.data.prepare.__main__ import main
from autoprune.data.store import ClientStore

WORKFLOW = Path(__file__).parents[2] / "workflow"
ATTRIBUTES = ["Bald", "Eyeglasses", "Male", "Smiling"]
# identity, official part and the answers of each image; identity 31 is in training alone
FACES = [("31", 0)] * 4 + [("7", 0)] * 3 + [("20", 1)] * 2 + [("5", 2)] * 3
ANSWERS = np.array([[(row >> bit) & 1 for bit in range(4)] for row in range(len(FACES))])


def face(row, size=(178, 218)):
    """A smooth picture, so that a wrong crop or another picture shows in every pixel."""
    down, across = np.mgrid[: size[1], : size[0]]
    channels = [across + 5 * row, down, (across + down) // 2 + 3 * row]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def name(row):
    return f"{row + 1:06}.jpg"


def write_lists(folder, rows):
    head = f"{len(rows)}\n{' '.join(ATTRIBUTES)} \n"
    lines = [name(row) + "".join(f"{2 * a - 1:3}" for a in ANSWERS[row]) for row in rows]
    (folder / "list_attr_celeba.txt").write_text(head + "\n".join(lines) + "\n")
    for file, column in (("identity_CelebA.txt", 0), ("list_eval_partition.txt", 1)):
        lines = [f"{name(row)} {FACES[row][column]}\n" for row in rows]
        (folder / file).write_text("".join(lines))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder exactly as CelebA's, of 12 images of 4 identities."""
    folder = tmp_path_factory.mktemp("celeba")
    write_lists(folder, range(len(FACES)))
    (folder / "img_align_celeba").mkdir()
    for row in range(len(FACES)):
        face(row).save(folder / "img_align_celeba" / name(row), quality=95)
    return folder


@pytest.fixture
def copied(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "in"))


def prepare(output, folder, *flags, source="celeba"):
    given_ = [source, "--name", "c", "--output", output, "--workers", 1]
    main([*map(str, given_), *([] if folder is None else ["--folder", str(folder)]), *flags])
    store = ClientStore.open(output)
    store.verify()
    return store


def expected_image(folder, row, box):
    """By Pillow alone, whose bilinear filter widens with the reduction, which is antialiasing."""
    with Image.open(folder / "img_align_celeba" / name(row)) as image:
        return np.asarray(image.crop(box).resize((84, 84), Image.Resampling.BILINEAR))


SQUARE, WHOLE = (0, 20, 178, 198), (0, 0, 178, 218)


@pytest.mark.parametrize(("frame", "box"), [("square", SQUARE), ("whole", WHOLE)])
def test_the_official_split_keeps_every_image_answer_and_identity(original, tmp_path, frame, box):
    store = prepare(tmp_path, original, "--frame", frame)
    assert store.shape == (84, 84, 3)
    assert store.samples == {"train": 7, "validation": 2, "test": 3}
    assert [target["name"] for target in store.targets] == ATTRIBUTES
    assert store.classes("Male") == ["no", "yes"]
    assert (store.kind, store.polarity, store.natural_clients) == ("real", "colour", True)
    order = range(len(FACES))  # FACES are sorted as the store sorts: by part and identity
    assert [store.client_ids[client] for client in store.clients] == [FACES[r][0] for r in order]
    assert np.array_equal(store.labels, ANSWERS[order])
    for place, row in enumerate(order):
        assert np.array_equal(store.images[place], expected_image(original, row, box))


def test_a_split_by_client_holds_out_of_every_identity(original, tmp_path):
    flags = ("--split", "by-client", "--test-fraction", "0.4", "--min-samples", "3")
    store = prepare(tmp_path, original, *flags, "--seed", "3")
    assert store.client_ids == ["31", "5", "7"]
    assert store.dropped == [{"client": "20", "samples": 2, "reason": "fewer than 3 samples"}]
    assert store.samples == {"train": 6, "validation": 2, "test": 2}
    assert np.bincount(store.clients[store.rows("train")]).tolist() == [2, 2, 2]
    rows = [int("".join(map(str, label[::-1])), 2) for label in store.labels]
    assert sorted(rows) == [0, 1, 2, 3, 4, 5, 6, 9, 10, 11]
    for row, image, client in zip(rows, store.images, store.clients, strict=True):
        assert np.array_equal(image, expected_image(original, row, SQUARE))
        assert store.client_ids[client] == FACES[row][0]


def test_an_official_split_drops_only_small_identities_that_train(original, tmp_path, capsys):
    store = prepare(tmp_path, original, "--min-samples", "4")
    assert store.client_ids == ["20", "31", "5"]
    assert store.samples == {"train": 4, "validation": 2, "test": 3}
    assert "dropped 1 of 4 clients (3 samples)" in capsys.readouterr().err


def pack(folder, prefix):
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "img_align_celeba", prefix)
        for path in (folder / "img_align_celeba").iterdir():
            archive.write(path, f"{prefix}{path.name}")
    shutil.rmtree(folder / "img_align_celeba")


def nest(folder):
    (folder / "img_align_celeba").rename(folder / "inner")
    (folder / "img_align_celeba").mkdir()
    (folder / "inner").rename(folder / "img_align_celeba" / "img_align_celeba")


def rewrite(change):
    def apply(folder):
        for path in folder.glob("*.txt"):
            path.write_bytes(change(path.read_bytes()))

    return apply


def shuffle_identities(folder):
    path = folder / "identity_CelebA.txt"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


SAME = {
    "zip": lambda folder: pack(folder, "img_align_celeba/"),
    "zip in a folder": lambda folder: pack(folder, "img_align_celeba/img_align_celeba/"),
    "folder in a folder": nest,
    "CRLF": rewrite(lambda text: text.replace(b"\n", b"\r\n")),
    "blank lines at the end": rewrite(lambda text: text + b"\n \n\n"),
    "no line end at the end": rewrite(bytes.strip),
    "byte order mark": rewrite(lambda text: b"\xef\xbb\xbf" + text),
    "another order": shuffle_identities,
}


@pytest.mark.parametrize("case", SAME)
def test_other_packing_and_line_ends_give_the_same_store(original, copied, tmp_path, case):
    SAME[case](copied)
    first = prepare(tmp_path / "a", original)
    assert prepare(tmp_path / "b", copied).checksum == first.checksum


def test_chosen_attributes_are_the_targets_in_the_order_given(original, tmp_path):
    store = prepare(tmp_path, original, "--attributes", "Smiling", "Bald", "--side", "20")
    assert [target["name"] for target in store.targets] == ["Smiling", "Bald"]
    assert np.array_equal(store.labels, ANSWERS[:, [3, 0]])
    assert store.shape == (20, 20, 3)


@pytest.mark.parametrize("said", [202599, 3])
def test_a_wrong_count_is_told_where_the_lists_agree(copied, tmp_path, capsys, said):
    edit(ATTR, f"{len(FACES)}\n", f"{said}\n")(copied)
    assert len(prepare(tmp_path / "out", copied).images) == len(FACES)
    told = capsys.readouterr().err
    assert f"list_attr_celeba.txt: line 1 says {said} images, 12 follow" in told
    assert "going on" in told


ATTR, IDENTITY, PART = "list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"


def edit(file, old, new):
    def apply(folder):
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return apply


def remove(path):
    return lambda folder: (folder / path).unlink()


def image(content):
    return lambda folder: (folder / "img_align_celeba" / name(4)).write_bytes(content)


def saved(picture, form):
    stream = io.BytesIO()
    picture.save(stream, form)
    return stream.getvalue()


def no_images(folder):
    shutil.rmtree(folder / "img_align_celeba")


def broken_zip(folder):
    pack(folder, "img_align_celeba/")
    path = folder / "img_align_celeba.zip"
    path.write_bytes(path.read_bytes()[:-100])


def wrong_bytes_in_zip(folder):
    pack(folder, "img_align_celeba/")
    path = folder / "img_align_celeba.zip"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        begin = archive.getinfo(f"img_align_celeba/{name(4)}").header_offset
    content[begin + 500 : begin + 900] = bytes(400)
    path.write_bytes(content)


BAD = {
    "no attributes": (remove(ATTR), [ATTR, "no such file"]),
    "no identities": (remove(IDENTITY), [IDENTITY, "no such file"]),
    "no partition": (remove(PART), [PART, "no such file"]),
    "empty attributes": (lambda f: (f / ATTR).write_text(""), [ATTR, "line 1: 'nothing'"]),
    "no count": (edit(ATTR, "12\n", ""), [ATTR, "line 1: 'Bald Eyeglasses", "number of images"]),
    "csv": (edit(ATTR, "12\n", "image_id,Bald\n"), [ATTR, "line 1: 'image_id,Bald'", "own text"]),
    "not text": (lambda f: (f / ATTR).write_bytes(b"\xff\xd8\xff"), [ATTR, "as text"]),
    "no names": (edit(ATTR, "Bald Eyeglasses Male Smiling \n", ""), ["line 2: '000001.jpg -1"]),
    "name twice": (edit(ATTR, "Bald Eye", "Male Eye"), ["line 2", "each once"]),
    "value 0": (
        edit(ATTR, "000003.jpg -1", "000003.jpg 0"),
        ["line 5", "Bald of 000003.jpg is '0'"],
    ),
    "short line": (edit(ATTR, "000003.jpg -1", "000003.jpg"), ["line 5: 3 values", "expected 4"]),
    "twice": (edit(ATTR, "000003.jpg", "000002.jpg"), ["line 5: 000002.jpg occurs twice"]),
    "cut off": (
        lambda f: (f / ATTR).write_text("\n".join((f / ATTR).read_text().split("\n")[:9])),
        [IDENTITY, "000008.jpg is not in", "says 12 images, 7 follow; 12 are here"],
    ),
    "identity missing": (
        edit(IDENTITY, "000003.jpg 31\n", ""),
        [IDENTITY, "no line for 000003.jpg", "line 5", "12 follow; 11 are here"],
    ),
    "identity twice": (edit(IDENTITY, "000003", "000002"), [IDENTITY, "line 3: 000002.jpg occurs"]),
    "identity empty": (
        edit(IDENTITY, "000003.jpg 31", "000003.jpg"),
        [IDENTITY, "line 3: '000003.jpg', expected an image and its identity"],
    ),
    "identity of another": (
        edit(IDENTITY, "000012.jpg", "000013.jpg"),
        [IDENTITY, "no line for 000012.jpg"],
    ),
    "part missing": (edit(PART, "000012.jpg 2\n", ""), [PART, "no line for 000012.jpg"]),
    "part 3": (edit(PART, "000012.jpg 2", "000012.jpg 3"), [PART, "line 12", "one of 0, 1, 2"]),
    "no images": (no_images, ["neither img_align_celeba/ nor img_align_celeba.zip"]),
    "image missing": (
        remove(f"img_align_celeba/{name(4)}"),
        [ATTR, "line 7: 000005.jpg is not in", "1 of 12"],
    ),
    "image empty": (image(b""), [ATTR, "line 7: ", "000005.jpg: not an image (0 bytes)"]),
    "image is a page": (image(b"<html>" * 99), ["000005.jpg: not an image"]),
    "image cut off": (
        image(saved(face(4), "jpeg")[:2000]),
        [ATTR, "line 7: ", "000005.jpg: the image cannot be decoded"],
    ),
    "image in the wild": (
        image(saved(face(4, (409, 687)), "jpeg")),
        ["000005.jpg: 409x687 pixels, expected 178x218; only the images of img_align_celeba"],
    ),
    "zip cut off": (broken_zip, ["img_align_celeba.zip: not a whole zip archive"]),
    "zip damaged": (wrong_bytes_in_zip, ["img_align_celeba.zip: img_align_celeba/000005.jpg"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_fault_is_one_line_that_names_its_place_and_nothing_is_written(copied, tmp_path, case):
    damage, words = BAD[case]
    damage(copied)
    with pytest.raises(InputError) as caught:
        prepare(tmp_path / "out", copied)
    message = str(caught.value)
    assert str(copied) in message
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert len(message) < 300 + 2 * len(str(copied))
    left = list((tmp_path / "out").iterdir()) if (tmp_path / "out").exists() else []
    assert left == []


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("smiling", "'smiling'; did you mean Smiling?"),
        ("Eyeglases", "did you mean Eyeglasses?"),
        ("xyz", "it has Bald, Eyeglasses, Male, Smiling"),
    ],
)
def test_an_unknown_attribute_is_answered_by_the_ones_near(original, tmp_path, wanted, words):
    with pytest.raises(InputError) as caught:
        prepare(tmp_path / "out", original, "--attributes", "Male", wanted)
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_fault_in_a_worker_process_is_one_line(copied, tmp_path, stage, refused):
    image(saved(face(4), "jpeg")[:2000])(copied)
    # One image a part, so that several processes are at work.
    flags = ("--folder", copied, "--side", 1024, "--workers", 2)
    process = stage("data.prepare", "celeba", "--name", "c", "--output", tmp_path / "out", *flags)
    assert "000005.jpg: the image cannot be decoded" in refused(process)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.long
def test_the_store_does_not_depend_on_the_number_of_workers(copied, tmp_path):
    pack(copied, "img_align_celeba/")
    flags = ("--side", "700")  # two images a part
    one = prepare(tmp_path / "one", copied, *flags)
    two = prepare(tmp_path / "two", copied, *flags, "--workers", "2")
    assert one.checksum == two.checksum


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_image_cut_at_any_byte_is_refused_or_whole(original, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")
    whole = (original / "img_align_celeba" / name(0)).read_bytes()
    (folder / "whole.jpg").write_bytes(whole)
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


@pytest.mark.long
def test_torchvision_can_be_imported_beside_any_torch():
    code = (
        "from autoprune.data.prepare.vision import torchvision as tv\n"
        "print(tv.models.resnet18(num_classes=7).fc.out_features, tv.datasets.MNIST.__name__,"
        " tv.transforms.v2.functional.resize.__name__)"
    )
    process = run_fresh(code, [WORKFLOW])
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == ["7", "MNIST", "resize"]


@pytest.mark.long
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
        "import torch\nfrom autoprune.data.prepare.vision import torchvision\n"
        "print(torch.ops.torchvision.nms.default._schema)"
    )
    process = run_fresh(code, [tmp_path, WORKFLOW])
    assert process.returncode == 0, process.stderr
    assert "torchvision::nms(Tensor a) -> Tensor" in process.stdout
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('another cause')")
    assert "RuntimeError: another cause" in run_fresh(code, [tmp_path, WORKFLOW]).stderr


def shard(rows):
    """A LEAF shard of these images; LEAF halves by `/`, so that answers are 0.0 and 1.0."""
    users = sorted({FACES[row][0] for row in rows})
    mine = {user: [row for row in rows if FACES[row][0] == user] for user in users}
    data = {u: {"x": list(map(name, r)), "y": [row % 2 / 1 for row in r]} for u, r in mine.items()}
    return {"users": users, "num_samples": [len(r) for r in mine.values()], "user_data": data}


def write_shards(folder, **parts):
    for part, rows in parts.items():
        (folder / part).mkdir(parents=True)
        (folder / part / f"all_data_niid_0_keep_5_{part}_9.json").write_text(
            json.dumps(shard(rows))
        )
    return folder


def test_leafs_split_of_celeba_is_kept(original, tmp_path):
    shards = write_shards(tmp_path, train=[0, 1, 2, 4, 5], test=[3, 6, 9, 10])
    flags = ("--train", str(shards / "train"), "--test", str(shards / "test"))
    store = prepare(tmp_path / "out", None, *flags, "--raw", str(original), source="leaf_celeba")
    assert store.client_ids == ["31", "5", "7"]
    assert store.samples == {"train": 5, "validation": 2, "test": 2}
    assert [target["name"] for target in store.targets] == ["Smiling"]
    train = store.rows("train")
    assert store.clients[train].tolist() == [0, 0, 0, 2, 2]
    assert store.labels[train, 0].tolist() == [0, 1, 0, 0, 1]
    for place, row in enumerate([0, 1, 2, 4, 5]):
        assert np.array_equal(store.images[place], expected_image(original, row, WHOLE))


def test_shards_without_a_split_are_split_by_seed(original, tmp_path):
    write_shards(tmp_path, all=range(len(FACES)))
    flags = ("--raw", str(original), "--test-fraction", "0.5")
    store = prepare(tmp_path / "out", tmp_path / "all", *flags, source="leaf_celeba")
    assert store.client_ids == ["20", "31", "5", "7"]
    assert sum(store.samples.values()) == len(FACES)
    assert (np.bincount(store.clients[store.rows("train")]) >= 1).all()


def change(key, value):
    return lambda data: {**data, key: value}


def change_user(key, value):
    def apply(data):
        data["user_data"]["31"][key] = value
        return data

    return apply


BAD_SHARDS = {
    "list": (lambda data: [data], "not a LEAF shard"),
    "no users": (change("users", None), "not a LEAF shard"),
    "other users": (change("users", ["31", "8"]), "expected the same ones in each"),
    "number as user": (change("users", [31, "7"]), "expected the same ones in each"),
    "few counts": (change("num_samples", [4]), "`num_samples` 1"),
    "other count": (change("num_samples", [5, 3]), "user 31: 4 images in `x`, 4 answers in `y`"),
    "no y": (change_user("y", None), "user 31: expected an object with lists `x` and `y`"),
    "short y": (change_user("y", [1, 0]), "user 31: 4 images in `x`, 2 answers"),
    "answer -1": (change_user("y", [1, 0, -1, 1]), "user 31, row 2: answer -1, expected 0 or 1"),
    "pixels": (change_user("x", [[0.5] * 784] * 4), "user 31, row 0: pixels in `x`"),
    "number as name": (change_user("x", [1, 2, 3, 4]), "row 0: 1 in `x`, expected the file name"),
    "twice": (change_user("x", [name(0)] * 4), "row 1: 000001.jpg was given before"),
    "no image": (change_user("x", ["a.jpg", *map(name, (1, 2, 3))]), "row 0: a.jpg is not in"),
}


@pytest.mark.parametrize("case", BAD_SHARDS)
def test_a_bad_shard_of_names_is_refused_in_one_line(original, tmp_path, case):
    alter, words = BAD_SHARDS[case]
    path = tmp_path / "in" / "a.json"
    path.parent.mkdir()
    path.write_text(json.dumps(alter(shard(range(7)))))
    with pytest.raises(InputError) as caught:
        prepare(tmp_path / "out", path.parent, "--raw", str(original), source="leaf_celeba")
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
