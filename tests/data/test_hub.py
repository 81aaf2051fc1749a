"""The hub's parquet files are read as they are shaped; bad ones are refused in one line."""

import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from autoprune.core.errors import InputError
from autoprune.data.prepare.__main__ import main
from autoprune.data.prepare.readers import hub_files
from autoprune.data.prepare.sources import CHARACTERS as CLASSES
from autoprune.data.prepare.sources import hub
from autoprune.data.store import ClientStore

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write(path, images, columns, names=None, group=100):
    """A parquet file as `datasets` writes it: image structs, class names in the metadata."""
    features = {column: {"names": found, "_type": "ClassLabel"} for column, found in names.items()}
    schema = pa.schema(
        [("image", STRUCT), *((name, pa.array(column).type) for name, column in columns.items())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"image": [{"bytes": image, "path": None} for image in images], **columns}
    pq.write_table(pa.table(table, schema=schema), path, row_group_size=group)
    return path


def femnist(path, count=60, group=7, writers=5, paper=255, **changes):
    """Row i is of writer i % 5 and has class i and i dark rows of pixels of the level i."""
    images = []
    for row in range(count):
        pixels = np.full((28, 28), paper, np.uint8)
        pixels[:9] = row
        images.append(png(pixels))
    columns = {
        "writer_id": [f"f{row % writers:04d}_14" for row in range(count)],
        "hsf_id": [0] * count,
        "character": [row % 62 for row in range(count)],
    }
    names = {"character": CLASSES}
    given = {"images": images, "columns": columns, "names": names, **changes}
    return write(path, given["images"], given["columns"], given["names"], group)


def celeba(folder, counts=(40, 12, 10), size=(218, 178)):
    """Three splits of disjoint identities; the middle of an image is its row number."""
    first = 0
    for split, (word, count) in enumerate(zip(("train", "valid", "test"), counts, strict=True)):
        images = []
        for row in range(first, first + count):
            pixels = np.full((*size, 3), 99, np.uint8)
            pixels[20:198] = row
            images.append(png(pixels))
        columns = {
            "celeb_id": [100 * (split + 1) + row % 4 for row in range(count)],
            "Male": [row % 2 == 0 for row in range(count)],
            "Smiling": [row % 3 == 0 for row in range(count)],
        }
        path = folder / "img_align+identity+attr" / f"{word}-00000-of-00001.parquet"
        write(path, images, columns, {}, group=9)
        first += count
    return folder


def prepare(output, *flags, repository="flwrlabs/femnist"):
    words = ["hub", "--repository", repository, "--name", "made", "--output", output, *flags]
    main([*map(str, words), "--workers", "1"])
    store = ClientStore.open(output)
    store.verify()
    return store


def test_femnist_keeps_every_image_label_and_writer(tmp_path):
    femnist(tmp_path / "in" / "data" / "train-00000-of-00001.parquet")
    store = prepare(tmp_path / "store", "--local", tmp_path / "in")
    assert store.shape == (28, 28, 1)
    assert (store.kind, store.polarity, store.natural_clients) == ("real", "dark-on-light", True)
    assert store.source == "hub"
    assert store.classes("character") == CLASSES
    assert store.client_ids == [f"f{number:04d}_14" for number in range(5)]
    rows = store.images[:, 0, 0, 0].astype(int)
    assert sorted(rows) == list(range(60))
    assert (store.images[:, :9] == rows[:, None, None, None]).all()
    assert (store.images[:, 9:] == 255).all()
    assert (store.labels[:, 0] == rows % 62).all()
    assert (store.clients == rows % 5).all()
    assert store.samples == {"train": 50, "validation": 5, "test": 5}


def test_the_store_depends_neither_on_row_groups_nor_on_files_nor_on_processes(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(hub_files, "ROWS", 8)  # so that few rows are several parts
    femnist(tmp_path / "a" / "train-00000-of-00001.parquet", group=60)
    femnist(tmp_path / "b" / "train-00000-of-00001.parquet", group=7)
    whole = femnist(tmp_path / "whole.parquet", group=3)
    for number, (start, length) in enumerate([(0, 23), (23, 0), (23, 37)]):
        part = pq.read_table(whole).slice(start, length)
        (tmp_path / "c").mkdir(exist_ok=True)
        pq.write_table(part, tmp_path / "c" / f"train-{number:05d}-of-00003.parquet")
    stores = [prepare(tmp_path / f"s{name}", "--local", tmp_path / name) for name in "abc"]
    stores.append(prepare(tmp_path / "many", "--local", tmp_path / "b", "--workers", "2"))
    assert len({store.checksum for store in stores}) == 1


def test_light_paper_tells_the_polarity_and_a_flag_overrules_it(tmp_path):
    femnist(tmp_path / "in" / "train-0.parquet", paper=0)
    assert prepare(tmp_path / "a", "--local", tmp_path / "in").polarity == "light-on-dark"
    told = prepare(tmp_path / "b", "--local", tmp_path / "in", "--drawn", "dark-on-light")
    assert told.polarity == "dark-on-light"


@pytest.mark.parametrize("split", [(), ("--split", "own")])
def test_celeba_keeps_the_hubs_own_split_and_the_square_in_the_middle(tmp_path, split):
    folder = celeba(tmp_path / "in")
    store = prepare(tmp_path / "store", "--local", folder, *split, repository="flwrlabs/celeba")
    assert store.shape == (84, 84, 3)
    assert store.polarity == "colour"
    assert store.samples == {"train": 40, "validation": 12, "test": 10}
    assert [target["name"] for target in store.targets] == ["Male", "Smiling"]
    assert store.classes("Male") == ["no", "yes"]
    rows = store.images[:, 0, 0, 0]
    assert (store.images == rows[:, None, None, None]).all()  # the border of 99 is cut off
    starts = np.repeat([0, 40, 52], [40, 12, 10])
    assert (np.sort(rows) == np.arange(62)).all()
    assert (store.labels[:, 0] == ((rows - starts) % 2 == 0)).all()
    assert (store.labels[:, 1] == ((rows - starts) % 3 == 0)).all()
    ids = np.array(store.client_ids)[store.clients].astype(int)
    assert (ids == 100 * (1 + np.repeat([0, 1, 2], [40, 12, 10])) + (rows - starts) % 4).all()


def test_celeba_by_client_holds_out_a_share_of_everybody(tmp_path):
    folder = celeba(tmp_path / "in")
    store = prepare(
        *(tmp_path / "store", "--local", folder, "--split", "by-client", "--side", "16"),
        *("--target-column", "Smiling"),
        repository="flwrlabs/celeba",
    )
    assert store.shape == (16, 16, 3)
    assert [target["name"] for target in store.targets] == ["Smiling"]
    train = store.clients[store.rows("train")]
    assert set(train) == set(range(12))
    sizes = np.bincount(store.clients)
    assert np.bincount(train).tolist() == [n - round(0.2 * n) for n in sizes.tolist()]


def test_another_repository_needs_its_columns_and_gets_classes_from_them(tmp_path):
    pixels = [png(np.full((5, 4, 3), row, np.uint8)) for row in range(40)]
    columns = {
        "who": [row % 2 for row in range(40)],
        "what": ["ab"[row % 3 > 0] for row in range(40)],
    }
    write(tmp_path / "in" / "train" / "0000.parquet", pixels, columns, {})
    flags = ("--local", tmp_path / "in", "--client-column", "who", "--target-column", "what")
    store = prepare(tmp_path / "store", *flags, repository="you/yours")
    assert store.shape == (5, 4, 3)
    assert store.classes("what") == ["a", "b"]
    assert store.client_ids == ["0", "1"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage(path):
    """Bytes in the middle of the first image's column chunk."""
    data = bytearray(path.read_bytes())
    data[40:400] = bytes(360)
    path.write_bytes(data)


def no_rows(path):
    pq.write_table(pq.read_table(path).slice(0, 0), path)


def rewrite(**changes):
    return lambda path: femnist(path, **changes)


def images_with(row, content):
    found = [png(np.full((28, 28), 255, np.uint8))] * 60
    found[row] = content
    return found


def columns_with(**changes):
    columns = {
        "writer_id": [f"f{row % 5}" for row in range(60)],
        "character": [row % 62 for row in range(60)],
    }
    return {**columns, **changes}


BAD = {
    "cut short": (cut, "not a whole parquet file"),
    "empty": (lambda path: path.write_bytes(b""), "not a whole parquet file"),
    "a page": (lambda path: path.write_text("<html>quota</html>" * 9), "not a whole parquet file"),
    "broken inside": (damage, "not a whole parquet file"),
    "no rows": (no_rows, "no row in it"),
    "no client": (rewrite(columns={"character": [1] * 60}), "no column 'writer_id'; it has image"),
    "null client": (
        rewrite(columns=columns_with(writer_id=["a"] * 31 + [None] + ["a"] * 28)),
        "row 31: no writer_id",
    ),
    "class 62": (
        rewrite(columns=columns_with(character=[1] * 44 + [62] + [1] * 15)),
        r"row 44: character is 62, expected 0\.\.61",
    ),
    "class -1": (rewrite(columns=columns_with(character=[1, -1] * 30)), "row 1: character is -1"),
    "fractions": (
        rewrite(columns=columns_with(character=[0.5] * 60)),
        "column character is double, expected classes",
    ),
    "no image": (rewrite(images=images_with(51, None)), "row 51: no image in it"),
    "not an image": (rewrite(images=images_with(33, b"<html>")), r"row 33: .* \(not an image\)"),
    "half an image": (
        rewrite(images=images_with(8, png(np.zeros((28, 28), np.uint8))[:-20])),
        "row 8: the image cannot be decoded",
    ),
    "another size": (
        rewrite(images=images_with(20, png(np.zeros((27, 28), np.uint8)))),
        "row 20: 28x27 pixels, expected 28x28",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line_that_names_the_place(tmp_path, case):
    alter, message = BAD[case]
    path = femnist(tmp_path / "in" / "train-00000-of-00001.parquet")
    alter(path)
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path / "store", "--local", tmp_path / "in")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"no \*.parquet file in it"),
        (["test-00000-of-00001"], "no file of the split train"),
        (["train-00000-of-00003", "train-00002-of-00003"], "train-00001-of-00003.parquet is miss"),
        (["train-00000-of-00001", "more"], "more.parquet: of which split"),
    ],
)
def test_a_folder_that_is_not_the_repositorys_is_refused(tmp_path, names, message):
    (tmp_path / "in").mkdir()
    for name in names:
        femnist(tmp_path / "in" / f"{name}.parquet")
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / "store", "--local", tmp_path / "in")
    assert not (tmp_path / "store").exists()


def test_files_with_other_types_are_refused(tmp_path):
    femnist(tmp_path / "in" / "train-00000-of-00002.parquet")
    path = tmp_path / "in" / "train-00001-of-00002.parquet"
    femnist(path, columns=columns_with(writer_id=[1] * 60))
    with pytest.raises(InputError, match=r"train-00001-of-00002\.parquet: other column types"):
        prepare(tmp_path / "store", "--local", tmp_path / "in")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--local", "in", "--download", "out"], "either local or download"),
        ([], "either local or download"),
        (["--local", "in", "--revision", COMMIT], "revision goes with download"),
        (["--download", "out", "--revision", "main"], "main: expected a commit"),
        (["--local", "in", "--split", "own"], "train files alone; use by-client"),
        (["--local", "in", "--target-column", "Mail"], "no column 'Mail'; it has image, writer_id"),
    ],
)
def test_flags_that_do_not_fit_are_refused(tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    femnist(Path("in") / "train-00000-of-00001.parquet")
    with pytest.raises(InputError, match=message):
        prepare("store", *flags)
    assert not Path("store").exists()
    assert not Path("out").exists()


def test_an_unknown_repository_asks_for_its_columns(tmp_path):
    with pytest.raises(InputError, match="you/yours needs client_column and target_column"):
        prepare(tmp_path / "store", "--local", tmp_path, repository="you/yours")


def test_the_known_commits_are_whole():
    for known in hub.KNOWN.values():
        assert len(known.revision) == 40
        assert int(known.revision, 16)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download asks for: a listing, then each file."""

    def do_GET(self):
        server = self.server
        server.asked.append(f"{self.command} {self.path}")
        if "authorization" in {name.lower() for name in self.headers}:
            server.asked.append("a token")
        if self.path.startswith(f"/api/datasets/flwrlabs/femnist/tree/{COMMIT}"):
            listing = [
                {
                    "type": "file",
                    "path": name,
                    "oid": "0" * 40,
                    "size": len(content),
                    "lfs": {"oid": server.sums[name], "size": len(content), "pointerSize": 130},
                }
                for name, content in server.files.items()
            ]
            return self.answer(json.dumps(listing).encode(), {"Content-Type": "application/json"})
        head = f"/datasets/flwrlabs/femnist/resolve/{COMMIT}/"
        name = self.path.removeprefix(head)
        if not self.path.startswith(head) or name not in server.files:
            return self.answer(b"{}", {"X-Error-Code": "RevisionNotFound"}, 404)
        headers = {"ETag": f'"{server.sums[name]}"', "X-Repo-Commit": COMMIT}
        return self.answer(server.files[name], headers)

    do_HEAD = do_GET

    def answer(self, content, headers, status=200):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": len(content)}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """A hub on the loopback that has one file of FEMNIST and one that is none of the data."""
    path = femnist(tmp_path / "made.parquet")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as found:
        name = "data/train-00000-of-00001.parquet"
        found.files = {name: path.read_bytes(), "README.md": b"# FEMNIST"}
        found.sums = {n: hashlib.sha256(c).hexdigest() for n, c in found.files.items()}
        found.asked = []
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def download(tmp_path, endpoint, revision=COMMIT):
    """The stage in a process of its own, since the hub's library reads its address at import."""
    flags = ["--name", "f", "--output", tmp_path / "store", "--workers", "1"]
    flags += ["--repository", "flwrlabs/femnist", "--download", tmp_path / "in"]
    flags += ["--revision", revision]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    workflow = str(Path(hub.__file__).parents[4])
    mine = {"PYTHONPATH": workflow, "HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_secret"}
    return subprocess.run(
        [sys.executable, "-m", "autoprune.data.prepare", "hub", *map(str, flags)],
        env={**kept, **mine, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.long
def test_a_download_brings_the_parquet_files_once_and_without_a_token(tmp_path, server):
    endpoint = f"http://127.0.0.1:{server.server_port}"
    first = download(tmp_path, endpoint)
    assert first.returncode == 0, first.stderr
    assert len(ClientStore.open(tmp_path / "store").images) == 60
    assert any(asked.startswith("GET /datasets") for asked in server.asked)
    assert not any("README" in asked for asked in server.asked)
    server.asked.clear()
    again = download(tmp_path, endpoint)
    assert again.returncode == 0, again.stderr
    assert [asked.split("?")[0] for asked in server.asked] == [
        f"GET /api/datasets/flwrlabs/femnist/tree/{COMMIT}"
    ]


def test_a_file_with_another_checksum_is_thrown_away(tmp_path, server, refused):
    name = next(iter(server.files))
    server.sums[name] = "0" * 64
    line = refused(download(tmp_path, f"http://127.0.0.1:{server.server_port}"))
    assert f"flwrlabs/femnist at {COMMIT}: {name} came with another checksum" in line
    assert not (tmp_path / "in" / name).exists()
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("fault", ["nobody listens", "no such commit"])
def test_a_hub_that_gives_nothing_is_one_line(tmp_path, server, refused, fault):
    endpoint = f"http://127.0.0.1:{server.server_port}"
    commit = COMMIT
    if fault == "nobody listens":
        endpoint = "http://127.0.0.1:1"
    else:
        commit = "f" * 40
    line = refused(download(tmp_path, endpoint, commit))
    assert f"flwrlabs/femnist at {commit}: the hub cannot be reached or refused" in line
    assert not (tmp_path / "in").exists()
    assert not (tmp_path / "store").exists()
