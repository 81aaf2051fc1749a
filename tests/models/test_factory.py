"""Networks that a function makes: which are taken, and why others are refused before training."""

import os
import subprocess
import sys
import textwrap
from keyword import iskeyword
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import autoprune
from autoprune.core.calls import Call
from autoprune.core.errors import InputError
from autoprune.core.provenance import code_version, network_code
from autoprune.federation.importance import importance
from autoprune.federation.live import live_filters
from autoprune.measure.complexity import complexity
from autoprune.models import base_of, build, count_parameters, load_state, new_network, refused
from autoprune.models.weights import save_weights
from autoprune.pruning.budget import cost
from autoprune.pruning.shrink import cut, decide

SQUEEZE = "torchvision:squeezenet1_1"
SHAPE = (1, 28, 28)
MODULE = '''
"""Networks that tests bring, good and bad."""
import torch
from torch import nn

def good(input_shape, classes, filters=4):
    return nn.Sequential(nn.Conv2d(input_shape[0], filters, 3), nn.ReLU(), nn.Dropout(0.2),
        nn.Conv2d(filters, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(20, classes))

class Scaled(nn.Module):
    """A parameter that is no layer's: a factor for each channel."""
    def __init__(self, channels, classes):
        super().__init__()
        self.conv, self.factor = nn.Conv2d(channels, 4, 3), nn.Parameter(torch.rand(4, 1, 1))
        self.linear = nn.Linear(4, classes)
    def forward(self, x):
        return self.linear((self.conv(x) * self.factor).relu().mean((2, 3)))

def scaled(input_shape, classes): return Scaled(input_shape[0], classes)

class Counts(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

def counts(input_shape, classes): return nn.Sequential(nn.Flatten(), Counts(784, classes))

def shared(input_shape, classes):
    one, other = nn.Linear(784, 784), nn.Linear(784, 784)
    other.weight = one.weight
    return nn.Sequential(nn.Flatten(), one, other, nn.Linear(784, classes))

class Two(nn.Linear):
    def forward(self, x): return super().forward(x), x

def two(input_shape, classes): return nn.Sequential(nn.Flatten(), Two(784, classes))
def short(input_shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(784, classes - 1))
def wrong_size(input_shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(783, classes))
def single(input_shape, classes):
    return nn.Sequential(nn.Conv2d(1, 4, 28), nn.BatchNorm2d(4), nn.Flatten(),
        nn.Linear(4, classes))
def nothing(input_shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))
def group(input_shape, classes):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, classes))
def group_and_units(input_shape, classes):
    return nn.Sequential(*group(input_shape, classes)[:-1], nn.Linear(4, 5), nn.Linear(5, classes))
class Attends(nn.Module):
    """A convolution in three groups, then attention of four heads over its places."""
    def __init__(self, channels, classes):
        super().__init__()
        self.heads = 4
        self.first = nn.Conv2d(channels, 6, 3, 4)
        self.grouped = nn.Sequential(nn.Conv2d(6, 9, 3, 2, groups=3), nn.BatchNorm2d(9), nn.ReLU())
        self.up = nn.Conv2d(9, 8, 1)
        self.qkv, self.read = nn.Linear(8, 24), nn.Linear(8, 8)
        self.last = nn.Linear(8, classes)
    def forward(self, x):
        x = self.up(self.grouped(self.first(x).relu())).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.last((x + self.read(y)).mean(1))

def attends(input_shape, classes): return Attends(input_shape[0], classes)
def no_module(input_shape, classes): return 7
number = 7
'''


@pytest.fixture(scope="module", autouse=True)
def brought(tmp_path_factory):
    """A module of networks that Python can import."""
    folder = tmp_path_factory.mktemp("brought")
    (folder / "brought_networks.py").write_text(textwrap.dedent(MODULE))
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@given(
    st.dictionaries(
        st.from_regex("[a-z]{1,5}", fullmatch=True).filter(lambda name: not iskeyword(name)),
        st.one_of(st.integers(), st.text(), st.none(), st.booleans(), st.lists(st.integers())),
    ),
    st.booleans(),
)
def test_a_call_is_written_and_read_back(arguments, linear):
    call = Call("a.b", "make", arguments, linear)
    assert Call.parse(str(call)) == call


@pytest.mark.parametrize(
    "text",
    ["a.b", "a:b(1)", "a:b(x=y)", "a:b(x=1", "a:b(x=1) ", ":b", "a:b(**{})", "a:b(x=open('f'))"],
)
def test_another_text_is_no_call_and_runs_nothing(text):
    with pytest.raises(InputError, match=r"^network: .*expected "):
        Call.parse(text)


REFUSED = [
    ("nowhere_at_all:f", "the module cannot be imported .*install it, or start where it lies"),
    ("brought_networks:absent", "the module has no function of this name"),
    ("brought_networks:number", "the module has no function of this name"),
    ("brought_networks:good(size=3)", "cannot be called with input_shape, classes, size"),
    ("brought_networks:no_module", r"gave int, expected a torch\.nn\.Module"),
    ("brought_networks:counts", r"net\.1\.calls: found torch\.int64, expected torch\.float32"),
    ("brought_networks:shared", "a parameter stands in it under two names"),
    ("brought_networks:two", r"gives tuple for two images, expected \(2, 10\) logits"),
    ("brought_networks:short", r"gives \(2, 9\) for two images, expected \(2, 10\) logits"),
    ("brought_networks:wrong_size", "does not run on images of 1 x 28 x 28"),
    ("brought_networks:single", "does not run on images of .*more than 1 value per channel"),
    ("brought_networks:nothing", r"no layer can lose filters \(none found\)"),
    (
        "brought_networks:group",
        r"no layer can lose filters \(net\.0: what is left computes something else",
    ),
    ("torchvision:squeeznet1_1", "did you mean 'squeezenet1_1'|unknown network 'squeeznet1_1'"),
    ("torchvision:resnet18(depth=3)", "resnet18: .*depth"),
]


@pytest.mark.parametrize(("network", "message"), REFUSED, ids=[network for network, _ in REFUSED])
def test_what_cannot_be_trained_or_pruned_is_refused_with_the_reason(network, message):
    with pytest.raises(InputError, match=message) as refusal:
        base_of(network, (), SHAPE, 10)
    assert "\n" not in str(refusal.value)
    assert network.partition("(")[0] in str(refusal.value)


def test_a_module_that_cannot_be_imported_is_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "failing_network.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"failing_network:f: .*ZeroDivisionError: .*; mend it"):
        base_of("failing_network:f", (), SHAPE, 10)


def test_a_module_may_import_torchvision_itself(tmp_path):
    """In a process that has not done so: beside a CPU-only torch the first import fails."""
    (tmp_path / "seeing_network.py").write_text(
        "import torchvision\n"
        "def f(input_shape, classes):\n"
        "    return torchvision.models.squeezenet1_1(num_classes=classes)\n"
    )
    code = (
        "from autoprune.models import base_of\n"
        "print(len(base_of('seeing_network:f', (), (3, 64, 64), 10).widths))"
    )
    environment = dict(os.environ)
    paths = [str(tmp_path), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.stderr == ""
    assert int(done.stdout) > 10


def test_images_of_two_channels_are_no_colours():
    with pytest.raises(InputError, match="images have 2 channels, expected 1 or 3"):
        base_of(SQUEEZE, (), (2, 28, 28), 10)


def test_what_stays_whole_is_named_with_the_reason():
    linear = base_of("brought_networks:good+linear", (), SHAPE, 10)
    assert linear.widths == (4, 5)
    assert refused(linear) == {}
    vision = base_of("torchvision:regnet_y_400mf", (), (3, 64, 64), 10)
    reasons = refused(vision)
    assert len(vision.widths) == 37  # of its convolutions in groups the groups among them
    assert reasons == {}
    units = base_of("brought_networks:group_and_units+linear", (), SHAPE, 10)
    assert units.widths == (5,)
    assert "normalised" in refused(units)["net.0"]


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_a_count_needs_no_network(data):
    base = base_of(SQUEEZE, (), SHAPE, 10)
    widths = [data.draw(st.integers(1, most)) for most in base.widths]
    narrow = base.with_widths(widths)
    trained, total = count_parameters(build(narrow))
    assert trained == total == cost(narrow)


def test_more_filters_than_the_whole_has_are_refused():
    base = base_of(SQUEEZE, (), SHAPE, 10)
    with pytest.raises(InputError, match=r"widths: found 65 .* has at most 64 16"):
        build(base.with_widths([65, *base.widths[1:]]))


def test_the_seed_decides_all_numbers_those_of_no_layer_too():
    base = base_of("brought_networks:scaled", (), SHAPE, 10)
    before = torch.get_rng_state()
    states = [new_network(base, seed).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    assert not torch.equal(states[0]["net.factor"], states[2]["net.factor"])
    assert not torch.equal(states[0]["net.conv.weight"], states[2]["net.conv.weight"])


def test_a_parameter_of_no_layer_goes_with_its_channel():
    base = base_of("brought_networks:scaled", (), SHAPE, 10)
    network = new_network(base, 0)
    smaller, left = cut(base, network.state_dict(), ((0, 3),))
    assert smaller.widths == (2,)
    assert torch.equal(left.net.factor, network.net.factor[[0, 3]])


def test_heads_and_groups_of_a_functions_network_go_in_a_federation(tmp_path):
    """By the rule, by importance, through a message and through a file; what is left is right."""
    base = base_of("brought_networks:attends+linear", (), SHAPE, 10)
    network = new_network(base, 0).eval()
    own = dict(zip(network.prunable, base.widths, strict=True))
    assert own == {"net": 4, "net.first": 3, "net.up": 8}
    assert [len(of.scores) for of in decide(network, 1.0)] == [4, 3, 8]
    assert network.group(1) == ["net.first", "net.grouped.0"]
    images = torch.rand(6, *SHAPE)
    found = importance("taylor", network, images, torch.arange(6), 6)
    assert {name: tuple(of.shape) for name, of in found.items()} == {
        n: (w,) for n, w in own.items()
    }
    store = SimpleNamespace(
        images=np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8),
        pixel_range=(0, 1),
    )
    assert all(0 < share <= 1 for share in live_filters(network, store, np.arange(4)))
    kept = ((0, 3), (1,), (0, 2, 7))
    smaller, left = cut(base, network.state_dict(), kept)
    assert (left.net.heads, left.net.grouped[0].groups) == (2, 1)
    save_weights(tmp_path / "weights.safetensors", smaller, left.state_dict())
    with torch.no_grad():
        columns = network.net.read.weight.unflatten(1, (4, 2))
        columns[:, [1, 2]] = 0
        network.net.up.weight[:, [*range(3), *range(6, 9)]] = 0
        for name in ("qkv", "last"):
            network.get_parameter(f"net.{name}.weight")[:, [1, 3, 4, 5, 6]] = 0
        expected, right = network.eval()(images), autoprune.load(tmp_path)(images)
    assert complexity(smaller)["macs"] < complexity(base)["macs"]
    torch.testing.assert_close(right, expected, rtol=1e-4, atol=1e-5)


def test_a_runs_network_is_loaded_as_its_function_makes_it(tmp_path):
    """Only what ``load`` needs of a run's folder; real runs are loaded in tests/federation."""
    base = base_of(SQUEEZE, (), SHAPE, 10).with_widths([3] * 25)
    network = new_network(base, 5).eval()
    save_weights(tmp_path / "weights.safetensors", base, network.state_dict())
    loaded = autoprune.load(tmp_path)
    images = torch.rand(2, *SHAPE)
    assert not loaded.training
    assert torch.equal(loaded(images), network(images))
    state = dict(network.state_dict())
    state["net.1.features.0.weight"] = state["net.1.features.0.weight"][:2]
    with pytest.raises(ValueError, match="has shape"):
        load_state(network, state)


def test_another_network_in_the_module_is_other_code(brought):
    modules = network_code("mine", "brought_networks:good")
    assert modules == ["autoprune.models.factory", "brought_networks"]
    before = code_version(*modules)
    path = brought / "brought_networks.py"
    text = path.read_text()
    try:
        path.write_text(text + "# a comment\n")
        code_version.cache_clear()
        assert code_version(*modules) == before
        path.write_text(text.replace("Dropout(0.2)", "Dropout(0.3)"))
        code_version.cache_clear()
        assert code_version(*modules) != before
    finally:
        path.write_text(text)
        code_version.cache_clear()
    assert network_code("mobile", "torchvision:mobilenet_v2") == ["autoprune.models.factory"]
    assert network_code("cnn", "") == ["autoprune.models.cnn"]


def test_shrink_names_what_is_wrong():
    from torch import nn

    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    example = torch.zeros(1, 1, 8, 8)
    for kept, message in (
        ({"1": [0]}, "layer unknown layer '1'; known are 0"),
        ({"0": [4]}, "layer 0: found filter 4, it has 4"),
        ({"0": []}, r"layer 0: found \[\], expected ascending indices"),
        ({"0": [2, 1]}, r"layer 0: found \[2, 1\], expected ascending indices"),
        ({"3": [0]}, "layer unknown layer '3'"),
    ):
        with pytest.raises(InputError, match=message):
            autoprune.shrink(network, example, kept)
