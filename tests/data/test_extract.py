"""Archives come out whole and inside their folder, or are refused and leave nothing."""

import bz2
import gzip
import io
import lzma
import random
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.data.fetch import extract as module
from autoprune.data.fetch.extract import decompress, extract, main

FILES = {
    "a.txt": b"first",
    "deep/er/b.bin": random.Random(0).randbytes(200_000),
    "empty": b"",
}
SIZE = sum(map(len, FILES.values()))


def info(name, kind=tarfile.REGTYPE, size=0, **fields):
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    for key, value in fields.items():
        setattr(member, key, value)
    return member


def make_tar(path, files=FILES, extra=()):
    with tarfile.open(path, f"w:{path.suffix[1:]}" if path.suffix != ".tar" else "w") as bundle:
        for name, content in files.items():
            bundle.addfile(info(name, size=len(content), mode=0o4777), io.BytesIO(content))
        for member in extra:
            bundle.addfile(member)
    return path


def make_zip(path, files=FILES, extra=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
        for name, mode in extra:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            bundle.writestr(member, "/etc/passwd")
    return path


def make(path, files=FILES):
    return (make_zip if path.suffix == ".zip" else make_tar)(path, files)


def contents(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def refused(archive, files=10, size=10**6):
    """The one line of a failed extraction, which left nothing beside the archive."""
    place = archive.parent / "out"
    with pytest.raises(InputError) as caught:
        extract(archive, place, files, size)
    assert "\n" not in str(caught.value)
    assert str(archive) in str(caught.value)
    assert {path.name for path in archive.parent.iterdir()} <= {archive.name, ".out.lock"}
    return str(caught.value)


KINDS = ["x.tar", "x.tar.bz2", "x.tar.gz", "x.tar.xz", "x.zip"]


@pytest.mark.parametrize("name", KINDS)
def test_an_archive_comes_out_whole_and_as_ordinary_files(tmp_path, name):
    summary = extract(make(tmp_path / name), tmp_path / "out", 3, SIZE)
    assert contents(tmp_path / "out") == FILES
    assert (summary["archive"], summary["files"], summary["bytes"]) == (name, 3, SIZE)
    modes = {path.stat().st_mode & 0o7111 for path in (tmp_path / "out").rglob("*.*")}
    assert modes == {0}
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


@pytest.mark.parametrize("name", KINDS)
def test_limits_hold_to_the_last_file_and_byte(tmp_path, name):
    archive = make(tmp_path / name)
    assert "more than the allowed 2 members" in refused(archive, 2, SIZE)
    assert "more than the allowed" in refused(archive, 3, SIZE - 1)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_out_already_is_left_as_it_is(tmp_path, name):
    archive, place = make(tmp_path / name), tmp_path / "out"
    summary = extract(archive, place, 10, SIZE)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    assert extract(archive, place, 10, SIZE) == summary
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before

    (place / "a.txt").unlink()
    with pytest.raises(InputError, match="is not what comes out of"):
        extract(archive, place, 10, SIZE)
    assert (place / "empty").exists()


def test_a_folder_of_somebody_else_and_another_archive_are_not_mixed(tmp_path):
    place = tmp_path / "out"
    place.mkdir()
    (place / "mine").write_text("keep")
    with pytest.raises(InputError, match="move it away"):
        extract(make(tmp_path / "x.zip"), place, 10, SIZE)
    assert contents(place) == {"mine": b"keep"}
    (place / "mine").unlink()
    place.rmdir()
    extract(make(tmp_path / "x.zip"), place, 10, SIZE)
    other = make(tmp_path / "y.zip", {**FILES, "a.txt": b"other"})
    with pytest.raises(InputError, match="move it away"):
        extract(other, place, 10, SIZE)
    assert contents(place) == FILES


def test_what_a_killed_run_left_is_done_anew(tmp_path):
    scratch = tmp_path / ".out.part"
    scratch.mkdir()
    (scratch / "half").write_bytes(b"...")
    extract(make(tmp_path / "x.tar"), tmp_path / "out", 10, SIZE)
    assert contents(tmp_path / "out") == FILES


NAMES = ["../x", "/etc/x", "a/../../x", "a/..", "..", "a\\..\\x", "C:/x"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["x.tar", "x.zip"])
def test_a_name_that_leads_out_is_refused(tmp_path, kind, name):
    archive = make(tmp_path / kind, {"good": b"1", name: b"evil"})
    assert "leads out of the folder" in refused(archive)
    assert not (tmp_path.parent / "x").exists()


@given(parts=st.lists(st.sampled_from(["a", "..", ".", "", "b c"]), min_size=1, max_size=6))
def test_no_name_is_ever_placed_outside(parts):
    name = "/".join(parts)
    try:
        path = module._inside(Path("x.tar"), name, is_folder=True)
    except InputError:
        assert name.startswith("/") or ".." in parts
    else:
        assert Path("/safe", path).resolve().is_relative_to("/safe")


LINKS = {
    "symbolic link": (info("l", tarfile.SYMTYPE, linkname="/etc"), "is a symbolic link"),
    "hard link": (info("l", tarfile.LNKTYPE, linkname="a.txt"), "is a hard link"),
    "device": (info("l", tarfile.CHRTYPE, devmajor=1, devminor=3), "neither a file nor"),
    "block device": (info("l", tarfile.BLKTYPE, devmajor=8), "neither a file nor"),
    "pipe": (info("l", tarfile.FIFOTYPE), "neither a file nor a folder"),
    "same name": (info("./a.txt"), "'a.txt' occurs twice"),
    "no name": (info("."), "has no name"),
}


@pytest.mark.parametrize("case", LINKS)
def test_only_files_and_folders_come_out_of_a_tar(tmp_path, case):
    member, message = LINKS[case]
    assert message in refused(make_tar(tmp_path / "x.tar.bz2", extra=[member]))


@pytest.mark.parametrize(
    ("mode", "message"),
    [(stat.S_IFLNK, "is a symbolic link"), (stat.S_IFCHR, "neither"), (stat.S_IFIFO, "neither")],
)
def test_only_files_and_folders_come_out_of_a_zip(tmp_path, mode, message):
    assert message in refused(make_zip(tmp_path / "x.zip", extra=[("l", mode | 0o777)]))


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_name_twice_in_a_zip_is_refused(tmp_path):
    archive = make_zip(tmp_path / "x.zip", extra=[("a.txt", stat.S_IFREG)])
    assert "'a.txt' occurs twice" in refused(archive)


def test_a_zip_with_a_password_is_refused(tmp_path):
    archive = make_zip(tmp_path / "x.zip", {"a": b"secret"})
    raw = bytearray(archive.read_bytes())
    raw[6] |= 1  # the flag in the file's own header
    raw[raw.index(b"PK\1\2") + 8] |= 1  # and in the directory
    archive.write_bytes(raw)
    assert "member 'a' needs a password" in refused(archive)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0, 0.3, 0.9, "tail"])
def test_a_cut_archive_is_refused(tmp_path, name, share):
    archive = make(tmp_path / name)
    raw = archive.read_bytes()
    # A bare tar ends in padding; all but that is needed.
    tail = len(raw.rstrip(b"\0")) if name == "x.tar" else len(raw) - 1
    archive.write_bytes(raw[: tail if share == "tail" else int(share * len(raw))])
    assert "damaged or cut off" in refused(archive)


def test_a_bare_tar_cut_between_members_is_refused(tmp_path):
    archive = make(tmp_path / "x.tar", {"a": b"x" * 512, "b": b"y"})
    archive.write_bytes(archive.read_bytes()[:1024])
    assert "damaged or cut off" in refused(archive)


@pytest.mark.parametrize("name", ["x.tar.bz2", "x.tar.gz", "x.tar.xz", "x.zip"])
def test_a_flipped_bit_is_noticed_by_the_archives_own_checksum(tmp_path, name):
    archive = make(tmp_path / name)
    raw = bytearray(archive.read_bytes())
    raw[len(raw) // 2] ^= 16
    archive.write_bytes(raw)
    assert "damaged or cut off" in refused(archive)


def test_a_bomb_is_stopped_at_the_limit_whatever_it_declares(tmp_path):
    archive = make_zip(tmp_path / "x.zip", {"a": bytes(50_000_000)})
    assert archive.stat().st_size < 100_000
    assert "more than the allowed 1000 bytes" in refused(archive, size=1000)
    archive = make_tar(tmp_path / "x.zip.tar.bz2", {"a": bytes(50_000_000)})
    (tmp_path / "x.zip").unlink()
    assert "more than the allowed" in refused(archive, size=1000)
    many = make_tar(tmp_path / "y.tar.bz2", {f"d{n}": b"" for n in range(1000)})
    archive.unlink()
    assert "more than the allowed 10 members" in refused(many)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\0" * 10240])
@pytest.mark.parametrize("name", ["x.tar", "x.tar.bz2", "x.zip"])
def test_what_is_no_archive_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "damaged or cut off" in refused(tmp_path / name)


PACKERS = {
    ".xz": lzma.compress,
    ".lzma": lambda raw: lzma.compress(raw, lzma.FORMAT_ALONE),
    ".bz2": bz2.compress,
    ".gz": gzip.compress,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_compressed_file_comes_out_and_only_once(tmp_path, suffix):
    raw = FILES["deep/er/b.bin"] * 8
    archive, target = tmp_path / f"db{suffix}", tmp_path / "out" / "db"
    archive.write_bytes(PACKERS[suffix](raw))
    summary = decompress(archive, target, len(raw))
    assert target.read_bytes() == raw
    assert (summary["files"], summary["bytes"]) == (1, len(raw))
    before = target.stat().st_mtime_ns
    assert decompress(archive, target, len(raw)) == summary
    assert target.stat().st_mtime_ns == before


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("case", ["cut", "empty", "noise", "too much", "nothing in it"])
def test_a_bad_compressed_file_leaves_nothing(tmp_path, suffix, case):
    packed = PACKERS[suffix](b"" if case == "nothing in it" else FILES["deep/er/b.bin"])
    content = {"cut": packed[:-9], "empty": b"", "noise": b"noise" * 99}.get(case, packed)
    archive = tmp_path / f"db{suffix}"
    archive.write_bytes(content)
    with pytest.raises(InputError) as caught:
        decompress(archive, tmp_path / "out", 199_999 if case == "too much" else 10**6)
    wanted = "more than the allowed 199999" if case == "too much" else "damaged or cut off"
    assert wanted in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, ".out.lock"}


@pytest.mark.parametrize("name", ["x.tar.gz", "x.zip"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, name):
    archive = make(tmp_path / name)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from autoprune.core.errors import run_main\n"
        "from autoprune.data.fetch.extract import extract\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "place = Path(sys.argv[1])\n"
        "run_main(lambda _: extract(place, place.with_name('out'), 10, 10**6))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, archive], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 1
    assert len(process.stderr.splitlines()) == 1
    assert f"(File too large) while unpacking {name}" in process.stderr
    assert {path.name for path in tmp_path.iterdir()} == {name, ".out.lock"}


def test_other_files_and_missing_ones_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot be decompressed, expected \.lzma"):
        decompress(tmp_path / "x.txt", tmp_path / "out", 1)
    with pytest.raises(InputError, match=r"x\.gz: cannot be used \(No such file"):
        decompress(tmp_path / "x.gz", tmp_path / "out", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "form"), [("x.tar.bz2", "tar.bz2"), ("x.zip", "zip")])
def test_the_command_unpacks_and_writes_the_same_receipt(tmp_path, capsys, name, form):
    make(tmp_path / name)
    fields = {"file": name, "urls": [], "format": form, "limits": {"files": 9, "bytes": SIZE}}
    registry = tmp_path / "registry.yaml"
    registry.write_text(yaml.safe_dump({"thing": fields}))
    receipt = tmp_path / "receipt.json"
    flags = ["--folder", tmp_path, "--output", tmp_path / "out", "--receipt", receipt]
    texts = []
    for _ in range(2):
        main(["thing", *map(str, flags), "--registry", str(registry)])
        texts.append(receipt.read_bytes())
    assert texts[0] == texts[1]
    assert str(tmp_path).encode() not in texts[0]
    assert contents(tmp_path / "out") == FILES
    assert "thing: 3 files" in capsys.readouterr().out


def test_a_file_that_is_not_packed_is_refused_by_the_command(stage, refused, tmp_path):
    flags = ("--folder", tmp_path, "--output", tmp_path / "out", "--receipt", tmp_path / "r")
    assert "is not packed" in refused(stage("data.fetch.extract", "celeba_attributes", *flags))
    line = refused(stage("data.fetch.extract", "fed_emnist", *flags))
    assert "fed_emnist.tar.bz2: cannot be used (No such file" in line
    assert list(tmp_path.iterdir()) == []
