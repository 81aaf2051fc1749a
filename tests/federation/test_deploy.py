"""What `deploy prepare` writes, and what it refuses; test_deployment.py starts it."""

import stat
import sys

import pytest
from cryptography import x509

from autoprune.core.errors import InputError
from autoprune.federation import deploy, submit
from autoprune.federation.__main__ import main as federation
from autoprune.federation.deployment import Deployment


@pytest.fixture
def prepare(tiny, tmp_path):
    """The command on the data of ``tiny``; returns the folder it writes."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/tiny").symlink_to(tiny)

    def run(*words):
        folder = ["--data", str(tmp_path / "data"), "--folder", str(tmp_path / "deployment")]
        deploy.main(["prepare", *folder, *words])
        return tmp_path / "deployment"

    return run


def test_each_node_has_its_own_key_which_only_its_owner_reads(prepare):
    folder = prepare("--nodes", "3", "--address", "server.example.org:9092")
    keys = [folder / f"node-{node}/node.key" for node in range(3)]
    keys.append(folder / "superlink/server.key")
    assert len({key.read_bytes() for key in keys}) == 4
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    certificate = x509.load_pem_x509_certificate((folder / "node-0/server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["server.example.org"]
    spaced = "does not work from a path with a space"  # which is refused before all else
    words = spaced if " " in sys.executable else r"made for server\.example\.org; start\.sh starts"
    with pytest.raises(InputError, match=words):
        deploy.main(["start", "--folder", str(folder)])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--nodes", "7"], "tiny: 6 clients for 7 nodes; take fewer"),
        (["--nodes", "0"], "--nodes and --reply-seconds: expected numbers above 0"),
        (["--reply-seconds", "nan"], "--nodes and --reply-seconds: expected numbers above 0"),
        (["--address", "here"], "address: found 'here', expected HOST:PORT"),
        (["--address", "here:99999"], "address: found 'here:99999', expected HOST:PORT"),
        (["--data", "nowhere"], "nowhere: no data set with a partition there"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(prepare, tmp_path, flags, words):
    with pytest.raises(InputError, match=words):
        prepare(*flags)
    assert not (tmp_path / "deployment").exists()


def test_a_folder_is_not_written_over_nor_started_unprepared(prepare, tmp_path):
    with pytest.raises(InputError, match=r"config\.toml: no such file; make it with"):
        deploy.main(["start", "--folder", str(tmp_path / "deployment")])
    prepare()
    with pytest.raises(InputError, match="deployment: is there already; remove it"):
        prepare()


def test_without_a_superlink_nothing_is_submitted(prepare, flags, tmp_path, monkeypatch):
    """Neither to one that nobody named, such as Flower's own service, nor to one that is away."""
    words = [*flags(tmp_path / "run"), "--backend", "deployment"]
    monkeypatch.delenv("FLWR_HOME", raising=False)
    with pytest.raises(InputError, match="FLWR_HOME is '', expected the folder of Flower's config"):
        federation(words)
    monkeypatch.setenv("FLWR_HOME", str(prepare("--address", "127.0.0.1:9") / "flwr"))
    with pytest.raises(InputError, match=r"the SuperLink took no run .*Connection to the"):
        federation(words)
    assert not (tmp_path / "run").exists()


def test_a_run_that_another_process_left_behind_is_stopped(prepare, flags, tmp_path, monkeypatch):
    """It would write the same files."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / submit.MARK).write_text("17")
    monkeypatch.setenv("FLWR_HOME", str(prepare("--address", "127.0.0.1:9") / "flwr"))
    asked, flwr = [], submit.flwr
    monkeypatch.setattr(submit, "flwr", lambda *words: asked.append(words[:2]) or flwr(*words))
    with pytest.raises(InputError, match="took no run"):
        federation([*flags(tmp_path / "run"), "--backend", "deployment"])
    assert asked[0] == ("stop", "17")


def test_an_environment_at_a_path_with_a_space_is_refused(prepare, monkeypatch):
    """Flower's SuperLink would answer, and never take a node."""
    deployment = Deployment(prepare("--nodes", "2"))
    monkeypatch.setattr(sys, "executable", "/a folder/bin/python")
    with pytest.raises(InputError, match="does not work from a path with a space"), deployment:
        pass
