"""Counts against the totals that the authors' notebooks print (shared facts of the paper)."""

import json
import re
from pathlib import Path

import pytest
from torch import nn
from torch.nn import functional as F

from autoprune.core.errors import InputError
from autoprune.core.files import write_json
from autoprune.measure.complexity import complexity, flops_tf_profiler, macs
from autoprune.models import Architecture
from stages import run_here

FEMNIST, CELEBA = ((1, 28, 28), 62), ((3, 84, 84), 2)
PUBLISHED = [
    # family, widths, (input shape, classes), Keras' parameters, profiler's FLOPs or None
    ("cnn", (32, 64), FEMNIST, 56126, 7529588),
    ("cnn", (17, 43), FEMNIST, 21488, 2860280),
    ("cnn", (32, 32, 32, 32), CELEBA, 80930, 152485804),
    ("cnn", (14, 9, 14, 9), CELEBA, 10998, 29582906),
    ("resnet", (16, 32, 64), CELEBA, 30626, 5234332),
    ("resnet", (9, 11, 22), CELEBA, 6791, 1610012),
    ("inception", (32, 16, 16, 16, 32, 32, 32, 96, 96), FEMNIST, 246236, 31010894),
    ("inception", (21, 11, 13, 13, 20, 16, 18, 48, 53), FEMNIST, 84719, None),
    ("inception", (32, 16, 16, 16, 32, 32, 32, 96, 96), CELEBA, 243752, 324044726),
    ("inception", (23, 11, 13, 11, 26, 21, 24, 70, 64), CELEBA, 127080, 171728949),
    ("inception", (26, 14, 12, 11, 26, 26, 27, 70, 61), CELEBA, 137294, 199695684),
]


@pytest.mark.parametrize(("family", "widths", "data", "parameters", "flops"), PUBLISHED)
def test_published_totals_exactly(family, widths, data, parameters, flops):
    counts = complexity(Architecture(family, widths, *data))
    assert counts["parameters_with_statistics"] == parameters
    if flops is not None:
        assert counts["flops_tf_profiler"] == flops


def test_the_femnist_cnn_term_by_term():
    """method.md: 7,475,200 conv + 22,590 bias + 22,528 pool + 7,936 linear + 1,024 + 310."""
    counts = complexity(Architecture("cnn", (32, 64), *FEMNIST))
    assert counts["macs"] == (7_475_200 + 7_936) // 2
    assert counts["flops_tf_profiler"] == 2 * counts["macs"] + 22_590 + 22_528 + 1_024 + 310


def test_a_cnn_over_time_term_by_term():
    """64 frames of 40 bands, halved by each pool; windows of 2 elements, the mean of 8 frames."""
    counts = complexity(Architecture("cnn1d", (4, 6, 5), (1, 40, 64), 20))
    multiply_adds = 5 * (64 * 40 * 4 + 32 * 4 * 6 + 16 * 6 * 5) + 5 * 20
    biases, pools, mean, softmax = 64 * 4 + 32 * 6 + 16 * 5 + 20, 32 * 4 + 16 * 6 + 8 * 5, 40, 100
    assert counts["macs"] == multiply_adds
    assert counts["flops_tf_profiler"] == 2 * multiply_adds + biases + 2 * pools + mean + softmax
    kernels, norms = 5 * (40 * 4 + 4 * 6 + 6 * 5) + 15, 2 * 15
    assert counts["parameters"] == kernels + norms + 5 * 20 + 20


def test_a_conformer_term_by_term():
    """64 frames, halved twice; two heads of 8 rows, whose products and shares are of no layer."""
    counts = complexity(Architecture("conformer", (4, 6, 2, 5, 3), (1, 40, 64), 20))
    stem = 5 * (32 * 40 * 4 + 16 * 4 * 64)
    a_frame = 64 * (2 * 6 + 3 * 16 + 16 + 2 * 5 + 5 + 2 * 3) + 7 * 5
    products = 2 * (16 * 16 * 16)  # queries by keys, shares by values: frames, frames, all rows
    assert counts["macs"] == stem + 16 * a_frame + products + 64 * 20
    outputs = 32 * 4 + 16 * 64 + 20 + 16 * (6 + 64 + 48 + 64 + 5 + 5 + 5 + 64 + 3 + 64)
    sums, shares, softmax = 4 * 16 * 64, 5 * 2 * 16 * 16, 100
    assert counts["flops_tf_profiler"] == 2 * counts["macs"] + outputs + sums + shares + softmax


class Attends(nn.Module):
    """(batch, 1, step, feature) -> (batch, 12): two heads of 3 rows over 7 steps of 6 features."""

    def __init__(self, fused):
        super().__init__()
        self.fused, self.qkv = fused, nn.Linear(6, 18)

    def forward(self, x):
        q, k, v = self.qkv(x[:, 0]).view(-1, 7, 3, 2, 3).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return y.transpose(1, 2).flatten(2)[:, :2].flatten(1)


@pytest.mark.parametrize("fused", [True, False])
def test_attention_counts_alike_however_it_is_written(fused):
    multiply_adds = 7 * 6 * 18 + 2 * (2 * 7 * 7 * 3)
    assert macs(Attends(fused), (1, 7, 6)) == multiply_adds
    softmax = 5 * (2 * 7 * 7 + 12)
    assert flops_tf_profiler(Attends(fused), (1, 7, 6)) == 2 * multiply_adds + 7 * 18 + softmax


def test_torchs_own_attention_is_counted_though_its_layers_are_not_called():
    class Own(nn.MultiheadAttention):
        def forward(self, x):
            return super().forward(x[:, 0], x[:, 0], x[:, 0], need_weights=False)[0][:, 0]

    network = nn.Sequential(Own(6, 2, batch_first=True), nn.Linear(6, 3))
    assert macs(network, (1, 7, 6)) == 7 * 6 * (18 + 6) + 2 * (2 * 7 * 7 * 3) + 6 * 3


def test_statistics_are_counted_apart():
    """Two per batch-norm channel: 16 + 32 + 16 + 16 + 64 + 16 + 16 channels."""
    counts = complexity(Architecture("resnet", (16, 32, 64), *CELEBA))
    channels = 16 + 32 + 16 + 16 + 64 + 16 + 16
    assert counts["parameters_with_statistics"] - counts["parameters"] == 2 * channels


def command(*flags):
    return run_here("autoprune.measure.complexity", *flags)


def test_the_command_prints_one_json_object():
    flags = "--family resnet --widths 16 32 64 --input-shape 3 84 84 --classes 2"
    done = command(*flags.split())
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert (counts["parameters"], counts["parameters_with_statistics"]) == (30274, 30626)
    assert (counts["macs"], counts["flops_tf_profiler"]) == (2582080, 5234332)
    assert done.stderr == ""


def test_the_command_counts_several_networks_each_into_its_file(tmp_path):
    widths = ((3, 5), (32, 64))
    for number, own in enumerate(widths):
        write_json(tmp_path / f"{number}.json", Architecture("cnn", own, *FEMNIST).to_json())
    given = [str(tmp_path / f"{number}.json") for number in range(2)]
    outputs = [str(tmp_path / f"counts-{number}.json") for number in range(2)]
    done = command("--architecture", *given, "--output", *outputs)
    assert done.returncode == 0, done.stderr
    for own, output in zip(widths, outputs, strict=True):
        assert json.loads(Path(output).read_text()) == complexity(
            Architecture("cnn", own, *FEMNIST)
        )
    done = command("--architecture", *given, "--output", str(tmp_path / "one.json"))
    assert (done.returncode != 0, "found 1 files for 2 networks" in done.stderr) == (True, True)
    assert not (tmp_path / "one.json").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--family cnn --widths 0 64 --input-shape 1 28 28 --classes 62", "at least 1 filter"),
        ("--family cnn --widths 32 --input-shape 1 28 28 --classes 62", "expects 2"),
        ("--family cnn --widths 32 64 --input-shape 3 84 84 --classes 2", "expects 4"),
        ("--family vgg --widths 32 64 --input-shape 3 84 84 --classes 2", "known are cnn"),
        ("--family cnn --widths 3 3 --input-shape 1 9 9 --classes 2", "too few"),
        ("--family cnn --widths 3 3", "give --architecture"),
        (
            "--family cnn --widths 1000000000 64 --input-shape 1 28 28 --classes 62",
            "more than 2,147,483,647 parameters, 8.6 GB; make it narrower",
        ),
        (f"--family cnn --widths {2**31 - 1} {2**31 - 1} --input-shape 1 28 28 --classes 9", "GB"),
        (f"--family cnn --widths {10**30} 64 --input-shape 1 28 28 --classes 62", "8.6 GB"),
        (f"--family cnn --widths 3 3 --input-shape 1 {10**9} 28 --classes 62", "8.6 GB"),
        (f"--family cnn --widths 3 3 --input-shape 1 28 28 --classes {10**9}", "8.6 GB"),
    ],
)
def test_the_command_refuses_in_one_line(flags, words):
    done = command(*flags.split())
    assert done.returncode != 0
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert words in done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"widths": [10**9, 64]}, "8.6 GB; make it narrower"),
        ({"widths": [3]}, "expects 2"),
        ({"widths": "a"}, "not an architecture"),
        ({"classes": None}, "not an architecture"),
        ({"classes": 1e999}, "not an architecture"),
    ],
)
def test_an_architecture_that_is_none_is_named(tmp_path, change, words):
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(Architecture("cnn", (3, 5), *FEMNIST).to_json() | change))
    done = command("--architecture", str(path))
    assert done.returncode == 1
    assert re.fullmatch(f"error: {path}: .*{words}.*\n", done.stderr)


def test_any_valid_widths_count():
    for widths in ((1, 1, 1), (3, 1, 7), (40, 2, 90)):
        assert complexity(Architecture("resnet", widths, *CELEBA))["parameters"] > 0


def test_an_operator_nobody_has_judged_is_an_error(monkeypatch):
    import autoprune.measure.complexity as module

    monkeypatch.setattr(module, "NO_MULTIPLY_ADDS", set())
    with pytest.raises(InputError, match="max_pool2d"):
        complexity(Architecture("cnn", (2, 2), *FEMNIST))
