"""GPUs in the workflow: which jobs ask for one, how many run on it, what is refused without one."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from snakemake_executor_plugin_slurm.utils import set_gres_string

from autoprune.check.causes import changed_platform
from autoprune.core.environment import describe
from autoprune.core.errors import InputError
from autoprune.federation import device
from autoprune.study import gpus
from autoprune.study.grid import Run, read_config, told

RUN = Run("digits", "cnn", "dense", "fedavg", 0)
NAMED = Run("digits", "cnn", "autoprune", "small", 0)
no_gpu = pytest.mark.skipif(device.visible() > 0, reason="there is a GPU here")


@pytest.fixture
def config(root, tmp_path):
    """The configuration of the study with an overlay's text."""

    def read(text):
        (tmp_path / "overlay.yaml").write_text(text)
        return read_config([tmp_path / "overlay.yaml"], root / "config/config.yaml")

    return read


def test_jobs_ask_for_a_gpu_where_their_run_is_told_one(config):
    assert gpus.wanted(config("{}"), RUN) == 0
    assert gpus.wanted(config("training: {device: cpu}"), RUN) == 0
    assert gpus.wanted(config("training: {device: cuda}"), RUN) == 1
    of_pair = config("pairs: {digits-cnn: {device: cuda}}")
    assert [gpus.wanted(of_pair, run) for run in (RUN, RUN._replace(dataset="faces"))] == [1, 0]
    of_variant = config("variants: {autoprune: {small: {like: reinit, device: cuda}}}")
    assert [gpus.wanted(of_variant, run) for run in (RUN, NAMED)] == [0, 1]


def test_auto_asks_for_one_where_there_is_one_and_is_the_same_run_anywhere(config, monkeypatch):
    """What Snakemake compares says `auto`, whatever this machine has."""
    found = config("training: {device: auto}")
    for visible in (0, 2):
        monkeypatch.setattr(device, "visible", lambda number=visible: number)
        assert gpus.wanted(found, RUN) == int(visible > 0)
        assert told(found, RUN)["device"] == "auto"
        assert device.resolved("auto") == ("cuda" if visible else "cpu")
    assert "device" not in told(config("{}"), RUN)


@no_gpu
@pytest.mark.parametrize(
    ("overlay", "key"),
    [
        ("training: {device: cuda}", "training.device"),
        ("pairs: {digits-cnn: {device: cuda}}", "pairs.digits-cnn.device"),
        (
            "variants: {autoprune: {small: {like: reinit, device: cuda}}}",
            "variants.autoprune.small.device",
        ),
    ],
)
def test_a_machine_without_a_gpu_is_told_the_key(config, overlay, key):
    with pytest.raises(InputError, match=f"^{re.escape(key)}: found 'cuda', but torch "):
        gpus.check(config(overlay), NAMED)
    gpus.check(config("training: {device: auto}"), RUN)


@pytest.mark.parametrize(("flags", "expected"), [((), 1), (("--resources", "gpu=3"), 3)])
def test_as_many_jobs_run_as_there_are_gpus(tmp_path, flags, expected):
    """Four cores, one GPU: others wait, unless the command line says what else there is."""
    (tmp_path / "Snakefile").write_text(
        """
from autoprune.study.scheduling import limit_gpus

onstart:
    limit_gpus(workflow, 1)

rule all:
    input: expand("{n}", n=range(5))

rule one:
    output: "{n}"
    resources: gpu=1
    shell: "mkdir -p running; touch running/{wildcards.n}; sleep 1; ls running | wc -l >{output}; "
           "rm running/{wildcards.n}"
"""
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "4", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert max(int((tmp_path / str(n)).read_text()) for n in range(5)) <= expected
    if flags:
        assert max(int((tmp_path / str(n)).read_text()) for n in range(5)) > 1


def test_slurm_is_asked_for_one_gpu_by_the_rules_resource(root):
    for number, expected in ((0, ""), (1, " --gpus=1")):
        job = SimpleNamespace(resources={"gpu": number})
        assert set_gres_string(job) == expected
    assert "gpu=gpus_wanted" in (root / "workflow/rules/train.smk").read_text()


def test_the_lock_for_cuda_has_every_pin_and_the_libraries_of_a_gpu(root):
    """`make lock-cuda` makes it of the other: pins of the two must not drift apart."""

    def pins(name):
        lines = (root / "envs" / name).read_text().split()
        return {
            re.sub("[-_.]+", "-", package).lower(): version
            for package, version in (line.split("==") for line in lines)
        }

    usual, cuda = pins("requirements.lock"), pins("requirements-cuda.lock")
    assert usual.items() <= cuda.items()
    more = cuda.keys() - usual.keys()
    assert {"nvidia-cublas", "triton"} <= more
    assert any(name.startswith("nvidia-cudnn") for name in more)
    others = {n for n in more if not re.match("nvidia-|cuda-", n)}
    assert others <= {"triton", "setuptools"}


def test_a_gpu_is_of_the_platforms_class_and_of_the_environment():
    """Another kind of GPU moves the last digits, and a study says which runs had one."""

    def made(**versions):
        settings = {"torch-threads": 1} | ({"device": "cuda"} if versions else {})
        run = {"settings": settings, "versions": {"torch": "2.13.0"} | versions}
        counted = {name: {version: 1} for name, version in run["versions"].items()}
        return {"environment": describe([run]), "versions": counted}

    cpu, one, other = made(), made(gpu="NVIDIA A"), made(gpu="NVIDIA B")
    assert changed_platform(one, one) == []
    assert changed_platform(one, other) == ["gpu NVIDIA A → NVIDIA B"]
    assert changed_platform(cpu, one) == ["gpu none → NVIDIA A"]
    assert [made["environment"]["devices"] for made in (cpu, one)] == [["cpu"], ["cuda"]]
    assert [made["environment"]["gpus"] for made in (cpu, one)] == [[], ["NVIDIA A"]]
    assert json.loads(json.dumps(one["environment"])) == one["environment"]
