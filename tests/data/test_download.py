"""Files are fetched from a real server that fails in every way, or are checked where they are."""

import hashlib
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from fault_server import Fault, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.data.fetch.answer import PAGE
from autoprune.data.fetch.download import fetch, main
from autoprune.data.fetch.registry import REGISTRY, Entry, load_entry
from autoprune.data.fetch.transfer import LONGEST_WAIT, Patience

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = 120_000


@pytest.fixture
def server(monkeypatch):
    """A server with faults; no proxy of the machine comes between."""
    monkeypatch.setenv("NO_PROXY", "*")
    with serving() as running:
        yield running


def entry(*urls, **changes):
    fields = {"name": "thing", "file": "thing.bin", "sha256": SHA256, **changes}
    return Entry(urls=urls, **fields)


def run(folder, wanted, *urls, retries=3, timeout=5.0, pauses=None):
    """Fetch with recorded instead of slept pauses."""
    patience = Patience(timeout=timeout, retries=retries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", [].append if pauses is None else pauses.append)
        return fetch(wanted, folder, folder / "lock.json", urls, patience)


def kept(folder):
    """What a user sees in the folder."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def refused(folder, wanted, *urls, **options):
    """The one line of a failed fetch, which left no file under the final name."""
    with pytest.raises(InputError) as caught:
        run(folder, wanted, *urls, **options)
    assert "\n" not in str(caught.value)
    assert not (folder / wanted.file).exists()
    assert "lock.json" not in kept(folder)
    return str(caught.value)


def test_a_file_comes_whole_and_its_receipt_says_what_it_is(server, tmp_path):
    url = server.put("thing", CONTENT)
    receipt = run(tmp_path, entry(url, bytes=len(CONTENT), md5=hashlib.md5(CONTENT).hexdigest()))
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert kept(tmp_path) == ["thing.bin"]
    assert receipt == {
        "schema_version": 1,
        "name": "thing",
        "file": "thing.bin",
        "bytes": len(CONTENT),
        "sha256": SHA256,
        "checksum": "published",
    }
    assert run(tmp_path, entry(url)) == receipt
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("size", "etag"), [(len(CONTENT), None), (None, '"v1"'), (len(CONTENT), '"v1"')]
)
def test_a_broken_transfer_goes_on_where_it_broke(server, tmp_path, size, etag):
    url = server.put("thing", CONTENT, Fault(stop=HALF), etag=etag)
    run(tmp_path, entry(url, bytes=size))
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    first, second = server.requests
    assert first.range is None
    assert (second.range, second.if_range) == (f"bytes={HALF}-", etag)
    assert (first.sent, second.sent) == (HALF, len(CONTENT) - HALF)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.integers(1, len(CONTENT) - 1), max_size=6), ranges=st.booleans())
def test_however_often_it_breaks_the_bytes_are_the_same(server, tmp_path_factory, stops, ranges):
    folder = tmp_path_factory.mktemp("breaks")
    faults = [Fault(stop=stop, ranges=ranges) for stop in stops]
    url = server.put("thing", CONTENT, *faults, etag='"v1"')
    run(folder, entry(url), retries=len(stops))
    assert (folder / "thing.bin").read_bytes() == CONTENT
    assert kept(folder) == ["thing.bin"]


def test_nothing_is_resumed_that_cannot_be_told_to_be_the_same_file(server, tmp_path):
    url = server.put("thing", CONTENT, Fault(stop=HALF))
    run(tmp_path, entry(url))
    assert [request.range for request in server.requests] == [None, None]


def test_a_file_that_changed_in_between_is_fetched_anew(server, tmp_path):
    url = server.put("thing", bytes(len(CONTENT)), Fault(stop=HALF), etag='"old"')
    refused(tmp_path, entry(url), retries=0)
    assert (tmp_path / "thing.bin.part").read_bytes() == bytes(HALF)
    server.put("thing", CONTENT, etag='"new"')
    run(tmp_path, entry(url))
    assert server.requests[-1].if_range == '"old"'
    assert server.requests[-1].sent == len(CONTENT)
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


RESUMES = {
    "range unsupported": (Fault(ranges=False), [len(CONTENT)]),
    "other range than asked": (Fault(shift=5), [len(CONTENT) - HALF - 5, len(CONTENT)]),
    "416 for a part of the file": (
        Fault(status=416, headers={"Content-Range": "bytes */7"}, body=b"no"),
        [2, len(CONTENT)],
    ),
}


@pytest.mark.parametrize("case", RESUMES)
def test_a_server_that_cannot_resume_begins_again(server, tmp_path, case):
    fault, sent = RESUMES[case]
    url = server.put("thing", CONTENT, Fault(stop=HALF), fault, etag='"v1"')
    run(tmp_path, entry(url))
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert [request.sent for request in server.requests[1:]] == sent


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_part_that_is_already_whole_is_taken(server, tmp_path, size):
    url = server.put("thing", CONTENT, Fault(stop=HALF), etag='"v1"')
    refused(tmp_path, entry(url), retries=0)
    (tmp_path / "thing.bin.part").write_bytes(CONTENT)
    run(tmp_path, entry(url, bytes=size))
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert sum(request.sent for request in server.requests[1:]) == 0


@pytest.mark.parametrize("length", [HALF, len(CONTENT) + 1])
def test_a_wrong_part_of_an_earlier_run_does_no_harm(server, tmp_path, capsys, length):
    url = server.put("thing", CONTENT, etag='"v1"')
    (tmp_path / "thing.bin.part").write_bytes(bytes(length))
    run(tmp_path, entry(url, bytes=len(CONTENT)))
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert ("starting anew" in capsys.readouterr().err) == (length == HALF)


def test_a_stalled_server_is_noticed_and_what_came_is_kept(server, tmp_path, capsys):
    url = server.put("thing", CONTENT, *[Fault(stall=HALF)], etag='"v1"')
    run(tmp_path, entry(url), timeout=0.2)
    assert f"stalled for 0.2 s after {HALF} bytes; again in 1.0 s" in capsys.readouterr().err
    assert server.requests[1].range == f"bytes={HALF}-"


def test_pauses_double_and_begin_anew_when_bytes_have_come(server, tmp_path):
    busy = Fault(status=503)
    url = server.put("thing", CONTENT, busy, busy, Fault(stop=HALF), busy, busy, etag='"v1"')
    pauses = []
    run(tmp_path, entry(url), pauses=pauses)
    assert pauses == [1, 2, 1, 2, 4]


@pytest.mark.parametrize(
    ("asked", "pause"), [("3", 3), ("0", 1), ("86400", LONGEST_WAIT), ("soon", 1)]
)
def test_retry_after_is_honoured_within_bounds(server, tmp_path, asked, pause):
    url = server.put("thing", CONTENT, Fault(status=503, headers={"Retry-After": asked}))
    pauses = []
    run(tmp_path, entry(url), pauses=pauses)
    assert pauses == [pause]


@given(failures=st.integers(1, 40), asked=st.floats(0, 1e9))
def test_a_pause_is_never_longer_than_a_minute(failures, asked):
    pause = Patience().pause(failures, asked)
    assert min(asked, LONGEST_WAIT) <= pause <= LONGEST_WAIT
    assert pause >= min(LONGEST_WAIT, 2 ** (failures - 1))


def test_a_redirect_is_followed_also_with_a_range(server, tmp_path):
    target = server.put("thing", CONTENT, Fault(stop=HALF), etag='"v1"')
    moved = Fault(status=302, headers={"Location": target})
    url = server.put("moved", b"", *[moved] * 4)
    run(tmp_path, entry(url))
    assert [r.range for r in server.requests if r.path == "thing"] == [None, f"bytes={HALF}-"]


HTML = b"\xef\xbb\xbf \n<!DOCTYPE HTML><title>Quota exceeded</title>"
REFUSALS = {
    "404": (Fault(status=404), {}, "HTTP 404 Not Found", 1),
    "403": (Fault(status=403), {}, "HTTP 403 Forbidden", 1),
    "503 to the end": (Fault(status=503), {}, "HTTP 503 Service Unavailable", 3),
    "page by type": (Fault(body=b"x", headers={"Content-Type": "text/html"}), {}, PAGE, 1),
    "page by content": (Fault(body=HTML), {}, PAGE, 1),
    "corrupt byte": (Fault(corrupt=7), {}, f", expected {SHA256}", 1),
    "corrupt byte, md5": (
        Fault(corrupt=7),
        {"sha256": None, "md5": hashlib.md5(CONTENT).hexdigest()},
        f"expected {hashlib.md5(CONTENT).hexdigest()}",
        1,
    ),
    "other size": (Fault(), {"bytes": 5}, "it has 300000 bytes there, expected 5", 1),
    "too much, chunked": (Fault(chunked=True), {"bytes": 5}, "more than the expected 5 bytes", 1),
    "length too short": (Fault(length=100), {}, f", expected {SHA256}", 1),
    "length too long": (Fault(length=300_009), {}, "broke after 300000 bytes", 3),
    "no length, no checksum": (
        Fault(length=None),
        {"sha256": None},
        "does not say how long it is, and no checksum is known",
        1,
    ),
    "chunked, cut": (Fault(chunked=True, stop=HALF), {}, f"broke after {HALF} bytes", 3),
    "redirects in a ring": (Fault(status=302, headers={"Location": "/thing"}), {}, "redirects", 31),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_not_the_file_is_refused_in_one_line(server, tmp_path, case):
    fault, changes, message, requests = REFUSALS[case]
    url = server.put("thing", CONTENT, *[fault] * 40)
    line = refused(tmp_path, entry(url, **changes), retries=2)
    assert url in line
    assert message in line
    assert f"by hand at {tmp_path / 'thing.bin'}" in line
    assert len(server.requests) == requests
    broken = {"length too long", "chunked, cut"}
    assert kept(tmp_path) == (["thing.bin.part"] if case in broken else [])


LONG, DIGITS = "x" * 60_000, "9" * 5000
HEADERS = [
    *(("Content-Length", v) for v in ("-1", "x", "", DIGITS, "9" * 30, "1e4", "9, 8", "٣", "0")),
    *(("Content-Encoding", v) for v in ("gzip", "br", LONG)),
    *(("Transfer-Encoding", v) for v in ("gzip", "bogus", "chunked")),
    *(("Retry-After", v) for v in ("-5", "x", "", DIGITS, "9" * 310)),
    ("Retry-After", "Fri, 31 Dec 99999 23:59:59 GMT"),
    *(("Location", v) for v in ("", "http://", "http://[::1", "http://a:b/", "file:///etc/passwd")),
    *(("Location", v) for v in ("http://ÿ.a/", f"http://{'a' * 300}/", "http://.../", "\x01")),
    *(("ETag", v) for v in ('"a', "é", LONG, "\x01", '"a\tb"')),
    *(("Last-Modified", v) for v in ("\x7f", "no date")),
    *(
        ("Content-Range", f"bytes {v}")
        for v in (f"50-99/{DIGITS}", "-5-9/99", "*/*", "50-4/99", "x")
    ),
    *(("Set-Cookie", v) for v in ("\x01=\x02", f"a=b; max-age={DIGITS}", "=")),
    *(("Strange", v) for v in (LONG, "x" * 70_000)),
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: f"{header[0]}: {header[1][:20]!r}")
def test_no_header_does_more_than_refuse_the_address(server, tmp_path, header):
    """In the first answer or in that to a resume; the next address or the next try serves."""
    status = {"Retry-After": 503, "Location": 302}.get(header[0], 200)
    odd = Fault(status=status, headers=dict([header]))
    for number, faults in enumerate(([odd], [Fault(stop=5000), odd], [replace(odd, stop=5000)])):
        for sha256 in (SHA256, None):
            folder = tmp_path / f"{number}{sha256}"
            first = server.put("first", CONTENT, *faults, etag='"q"' if number == 1 else None)
            wanted = entry(first, server.put("second", CONTENT), sha256=sha256)
            run(folder, wanted, retries=1, timeout=0.5)
            assert (folder / wanted.file).read_bytes() == CONTENT


def test_a_trickle_ends_with_the_time_and_the_next_run_goes_on(server, tmp_path):
    wanted = entry(server.put("f", CONTENT, Fault(drip=0.05)), sha256=SHA256)
    with pytest.raises(InputError, match=r"\d+ bytes came, and it was not whole within 0\.3 s"):
        fetch(wanted, tmp_path, tmp_path / "lock", patience=Patience(deadline=0.3))
    came = (tmp_path / f"{wanted.file}.part").stat().st_size
    assert 0 < came < len(CONTENT)
    run(tmp_path, wanted)
    assert (tmp_path / wanted.file).read_bytes() == CONTENT


def test_retries_end_with_the_time_too(server, tmp_path):
    wanted = entry(server.put("f", CONTENT, *[Fault(status=503)] * 9), sha256=SHA256)
    with pytest.raises(InputError, match=r"HTTP 503 .*; it was not whole within 0\.2 s"):
        fetch(wanted, tmp_path, tmp_path / "lock", patience=Patience(deadline=0.2, retry_wait=0.15))
    assert len(server.requests) == 2


@pytest.mark.parametrize("chunked", [True, False])
def test_a_file_of_unknown_size_has_a_limit(server, tmp_path, chunked):
    most = Patience(most_bytes=len(CONTENT) - 1)
    for sha256 in (SHA256, None):
        wanted = entry(server.put("f", CONTENT, Fault(chunked=chunked)), sha256=sha256)
        with pytest.raises(
            InputError, match=f"allowed .*{most.most_bytes}|{most.most_bytes} bytes"
        ):
            fetch(wanted, tmp_path, tmp_path / "lock", patience=most)
    assert not list(tmp_path.glob("*.part"))
    wanted = entry(server.put("f", CONTENT), sha256=SHA256, bytes=len(CONTENT))
    fetch(wanted, tmp_path, tmp_path / "lock", patience=most)  # whose size is known


def test_an_answer_of_no_known_length_is_taken_when_a_checksum_tells(server, tmp_path):
    url = server.put("thing", CONTENT, Fault(length=None), Fault(chunked=True))
    for _ in range(2):
        run(tmp_path, entry(url))
        assert (tmp_path / "thing.bin").read_bytes() == CONTENT
        (tmp_path / "thing.bin").unlink()


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_no_connection_is_one_line_and_tls_is_not_retried(server, tmp_path):
    pauses = []
    line = refused(tmp_path, entry(f"http://127.0.0.1:{closed_port()}/x"), retries=1, pauses=pauses)
    assert "no connection (" in line
    assert "refused" in line
    assert len(pauses) == 1
    line = refused(tmp_path, entry(server.base.replace("http:", "https:")), pauses=pauses)
    assert "TLS error (" in line
    assert "object at" not in line
    assert len(pauses) == 1
    assert "it has no address" in refused(tmp_path, entry(terms="Ask for it."))


def test_the_next_address_serves_when_one_fails_and_goes_on_with_its_bytes(server, tmp_path):
    missing = server.put("a", CONTENT, Fault(status=404))
    corrupt = server.put("b", CONTENT, Fault(corrupt=3))
    cut = server.put("c", CONTENT, *[Fault(stop=HALF)] * 1, etag='"c"')
    good = server.put("d", CONTENT, etag='"d"')
    run(tmp_path, entry(missing, corrupt, cut, good, bytes=len(CONTENT)), retries=0)
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert [(r.path, r.range) for r in server.requests[2:]] == [
        ("c", None),
        ("d", f"bytes={HALF}-"),
    ]
    assert server.requests[-1].if_range is None  # "c" is another server's name for its bytes


def test_given_addresses_take_the_place_of_the_registered(server, tmp_path):
    run(tmp_path, entry(server.put("a", CONTENT)), server.put("b", CONTENT))
    assert [request.path for request in server.requests] == ["b"]


def test_a_file_put_by_hand_is_checked_and_no_network_is_asked(server, tmp_path):
    wanted = entry(server.put("thing", CONTENT), bytes=len(CONTENT))
    path = tmp_path / "thing.bin"
    path.write_bytes(CONTENT)
    assert run(tmp_path, wanted)["checksum"] == "published"
    for wrong, message in [
        (CONTENT[:-1], "299999 bytes, expected 300000"),
        (CONTENT[:-1] + b"x", f", expected {SHA256}"),
        (HTML, PAGE),
        (b"", "0 bytes, expected 300000"),
    ]:
        path.write_bytes(wrong)
        with pytest.raises(InputError) as caught:
            run(tmp_path, wanted)
        assert message in str(caught.value)
        assert str(path) in str(caught.value)
        assert path.read_bytes() == wrong  # the user's file is the user's to remove
    assert server.requests == []


def test_a_checksum_nobody_published_is_recorded_once_and_then_enforced(server, tmp_path, capsys):
    wanted = entry(server.put("thing", CONTENT), sha256=None)
    receipt = run(tmp_path, wanted)
    assert "recorded sha256 " + SHA256 in capsys.readouterr().err
    assert receipt["checksum"] == "lock"
    lock = tmp_path / "lock.json"
    locked = {"sha256": SHA256, "bytes": len(CONTENT), "url": wanted.urls[0]}
    assert json.loads(lock.read_text()) == {"thing": locked}
    before = lock.read_bytes()
    assert run(tmp_path, wanted) == receipt
    (tmp_path / "thing.bin").unlink()
    server.put("thing", CONTENT[:-1] + b"x")
    with pytest.raises(InputError, match=f"expected {SHA256}"):
        run(tmp_path, wanted)
    assert (lock.read_bytes(), kept(tmp_path)) == (before, ["lock.json"])
    assert "recorded" not in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{", '{"thing": {"sha256": 3, "bytes": 1}}'])
def test_a_broken_lock_file_is_refused_and_kept(server, tmp_path, text):
    (tmp_path / "lock.json").write_text(text)
    with pytest.raises(InputError, match=r"lock\.json"):
        run(tmp_path, entry(server.put("thing", CONTENT), sha256=None))
    assert (tmp_path / "lock.json").read_text() == text
    assert server.requests == []


def test_too_little_room_is_said_before_a_byte_is_written(server, tmp_path):
    huge = Fault(length=10**16, stop=10)
    url = server.put("thing", CONTENT, huge)
    with pytest.raises(InputError, match=r"10{16} bytes more are needed for thing\.bin, \d+ are"):
        run(tmp_path, entry(url, bytes=10**16))
    assert kept(tmp_path) == []


# the command as a user runs it


@pytest.fixture
def command(server, tmp_path):
    """Start the command on a registry of ``thing``; returns the process and where it puts it."""
    folder = tmp_path / "files"
    registry = tmp_path / "registry.yaml"

    def start(*flags, limit=None, **changes):
        fields = {"file": "thing.bin", "sha256": SHA256, **changes}
        fields.setdefault("urls", [f"{server.base}/thing"])
        registry.write_text(yaml.safe_dump({"thing": fields}))
        words = ["thing", "--folder", folder, "--receipt", tmp_path / "receipt.json"]
        words += ["--registry", registry, "--retry-wait", "0", *flags]
        small = (
            (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None
        )
        return subprocess.Popen(
            [sys.executable, "-m", "autoprune.data.fetch.download", *map(str, words)],
            env={**os.environ, "NO_PROXY": "*"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=small,
        )

    return start


def finish(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def wait_for(path, length, process):
    """Until ``path`` has ``length`` bytes; fails when the process ends before."""
    while not (path.is_file() and path.stat().st_size >= length):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def test_the_command_writes_the_same_receipt_every_time(server, command, tmp_path):
    server.put("thing", CONTENT)
    texts = []
    for _ in range(2):
        code, out, err = finish(command())
        assert (code, err) == (0, "")
        assert "checksum right" in out
        texts.append((tmp_path / "receipt.json").read_bytes())
    assert texts[0] == texts[1]
    assert str(tmp_path).encode() not in texts[0]
    assert len(server.requests) == 1


def test_a_killed_transfer_is_resumed_to_the_same_bytes(server, command, tmp_path):
    server.put("thing", CONTENT, Fault(stall=HALF), etag='"v1"')
    part = tmp_path / "files" / "thing.bin.part"
    process = command()
    wait_for(part, HALF, process)
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    assert part.read_bytes() == CONTENT[:HALF]
    assert not (tmp_path / "receipt.json").exists()
    assert finish(command())[0] == 0
    assert (tmp_path / "files" / "thing.bin").read_bytes() == CONTENT
    assert server.requests[1].sent == len(CONTENT) - HALF


def test_two_at_once_fetch_it_once(server, command, tmp_path):
    server.put("thing", CONTENT, Fault(stall=HALF), etag='"v1"')
    first = command()
    wait_for(tmp_path / "files" / "thing.bin.part", HALF, first)
    second = command()
    assert "another process is at it; waiting" in second.stderr.readline()
    server.over.set()  # the stalled answer breaks off, the first one goes on
    assert [finish(process)[0] for process in (first, second)] == [0, 0]
    assert (tmp_path / "files" / "thing.bin").read_bytes() == CONTENT
    assert [request.sent for request in server.requests] == [HALF, len(CONTENT) - HALF]


def test_a_full_disk_is_one_line_and_the_part_goes_on_later(server, command, tmp_path):
    server.put("thing", CONTENT, etag='"v1"')
    code, _, err = finish(command(limit=HALF))
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "thing.bin.part: cannot write after 120000 bytes (File too large)" in err
    assert kept(tmp_path / "files") == ["thing.bin.part"]
    assert not (tmp_path / "receipt.json").exists()
    assert finish(command())[0] == 0
    assert server.requests[1].range == f"bytes={HALF}-"


BAD_ENTRIES = {
    "unknown key": ({"colour": 1}, "thing.colour: unknown key 'colour'"),
    "file with a folder": ({"file": "../thing"}, "thing.file"),
    "no web address": ({"urls": ["ftp://x/y"]}, "thing.urls.0"),
    "short checksum": ({"sha256": "abc"}, "thing.sha256"),
    "bytes": ({"bytes": "many"}, "thing.bytes"),
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_a_bad_registry_is_refused_in_one_line(tmp_path, case):
    changes, message = BAD_ENTRIES[case]
    fields = {"file": "thing.bin", "urls": [], **changes}
    path = tmp_path / "registry.yaml"
    path.write_text(yaml.safe_dump({"thing": fields}))
    with pytest.raises(InputError) as caught:
        load_entry("thing", path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", [None, "a: [", "- a", "other: {}"])
def test_a_registry_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "registry.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_entry("thing", path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "flags", [["--timeout", "0"], ["--retries", "-1"], ["--retries", "x"], ["--retry-wait", "nan"]]
)
def test_flags_out_of_range_are_refused(tmp_path, flags):
    with pytest.raises(InputError, match=flags[0]):
        main(["emnist_sqlite", "--folder", str(tmp_path), "--receipt", str(tmp_path / "r"), *flags])
    assert kept(tmp_path) == []


def test_the_registry_that_is_shipped_holds_together():
    names = yaml.safe_load(REGISTRY.read_text())
    entries = [load_entry(name) for name in names]
    assert len({each.file for each in entries}) == len(entries)  # they share one folder
    for each in entries:
        assert each.urls
        assert each.terms
        assert each.checked or not (each.sha256 or each.md5)


@pytest.mark.parametrize("name", ["train_images", "train_labels", "test_images", "test_labels"])
def test_the_real_mnist_files_are_the_registered_ones(shared_data, tmp_path, name):
    wanted = load_entry(f"mnist_{name}")
    source = shared_data / "mnist" / wanted.file
    if not source.is_file():
        pytest.skip(f"no {source}")
    (tmp_path / wanted.file).symlink_to(source.resolve())
    receipt = fetch(wanted, Path(tmp_path), tmp_path / "lock.json", ["http://127.0.0.1:9/none"])
    assert receipt["bytes"] == wanted.bytes
