"""Parts that a method attaches to a network: in its state, cut with filters, folded away."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.federation.communication import decode, encode
from autoprune.federation.messages import instruction, read_instruction
from autoprune.models import Architecture, build, cost, load_state, new_network
from autoprune.models.attached import attach, folded
from autoprune.models.state import flat
from autoprune.pruning.shrink import cut

NETWORKS = [
    Architecture("cnn", (9, 14), (1, 28, 28), 10),
    Architecture("cnn", (6, 7, 5, 8), (3, 64, 64), 2),  # behind a flatten
    Architecture("cnn1d", (6, 7, 9), (1, 12, 16), 5),
    Architecture("resnet", (6, 9, 12), (3, 64, 64), 2),
    Architecture("conformer", (6, 5, 3, 4, 7), (1, 12, 16), 5),  # the third are heads
    Architecture("inception", (5, 4, 3, 6, 7, 5, 4, 6, 3), (1, 28, 28), 10),
]
KINDS = pytest.mark.parametrize("base", NETWORKS, ids=lambda base: base.family)


def gated(base):
    """A network with gates, in evaluation mode, and images for it."""
    network = new_network(base, 0)
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():  # biases and statistics are not what they begin as
        for name, tensor in network.state_dict().items():
            if tensor.dim() == 1:
                low = 0.5 if name.endswith("var") else 0.1
                tensor.copy_(low + torch.rand(tensor.shape, generator=stream))
    architecture, network = attach(base, network, "gates")
    images = torch.randn(3, *base.input_shape, generator=stream)
    return architecture, network.eval(), images


def set_gates(network, kept):
    """The gates of ``kept`` wide open, all others closed."""
    with torch.no_grad():
        for gate, indices in zip(network.attached.gates, kept, strict=True):
            gate.fill_(-30.0)[list(indices)] = 30.0


@KINDS
def test_open_gates_change_nothing_and_what_is_attached_travels(base):
    architecture, network, images = gated(base)
    network.attached.open(rate=1.0, closed=1e-9)
    plain = new_network(base, 3)
    load_state(plain, {n: t for n, t in network.state_dict().items() if n in plain.state_dict()})
    with torch.no_grad():
        assert torch.equal(network(images), plain.eval()(images))
    own = {n for n in network.state_dict() if n.startswith("attached.")}
    assert network.state_dict().keys() - own == plain.state_dict().keys()
    assert own == {"attached.rate", *(f"attached.gates.{n}" for n in range(len(base.widths)))}
    assert cost(architecture) == cost(base)  # of what is deployed
    assert network.places.counts == plain.places.counts
    content = instruction(architecture, flat(network.state_dict()), 3)
    assert read_instruction(decode(encode(content)))[:2] == (architecture, 3)


@KINDS
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_closed_gates_are_filters_that_are_gone(base, data):
    """Silenced, folded and cut give the same answers, and the size expected is the size left."""
    kept = [
        sorted(data.draw(st.sets(st.integers(0, width - 1), min_size=1))) for width in base.widths
    ]
    architecture, network, images = gated(base)
    set_gates(network, kept)
    with torch.no_grad():
        right = network(images)
        whole, folded_in = folded(architecture, network)
        assert whole == base
        assert torch.equal(folded_in.eval()(images), right)
        smaller, cut_down = cut(architecture, network.state_dict(), tuple(map(tuple, kept)))
        assert smaller.attached == "gates"
        assert [len(gate) for gate in cut_down.attached.gates] == list(smaller.widths)
        assert all(bool((gate == 30).all()) for gate in cut_down.attached.gates)
        assert torch.allclose(cut_down.eval()(images), right, rtol=1e-4, atol=1e-5)
        expected = float(network.attached.expected())
    assert expected == pytest.approx(cost(smaller) / cost(base), rel=1e-6)


@KINDS
def test_a_closed_gate_learns_nothing_and_others_do(base):
    """Autograd reaches gates and weights, also where a family writes its backward pass by hand."""
    _, network, images = gated(base)
    network.attached.open(rate=1.0, closed=0.5)
    with torch.no_grad():
        network.attached.gates[0][0] = -50.0
    network.train()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch.manual_seed(0)
    loss = network.backward(images, torch.zeros(3, dtype=torch.long), torch.float32)
    assert loss.isfinite()
    assert not loss.requires_grad
    first, *others = [gate.grad for gate in network.attached.gates]
    assert first[0] == 0
    assert all(bool((grad != 0).any()) for grad in (first, *others))
    kernels = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    assert all(bool((kernel.grad != 0).any()) for kernel in kernels)


def test_gates_are_drawn_in_training_alone_and_as_torch_is_seeded():
    _, network, images = gated(NETWORKS[2])
    network.attached.open(rate=1.0, closed=0.5)
    with torch.no_grad():
        assert torch.equal(network(images), network(images))
        network.attached.train()
        torch.manual_seed(5)
        one, other = network(images), network(images)
        assert not torch.equal(one, other)
        torch.manual_seed(5)
        assert torch.equal(network(images), one)


@given(st.floats(-3, 3))
@settings(max_examples=10, deadline=None)
def test_the_chance_of_an_open_gate_is_how_often_it_is_open(log_alpha):
    part = build(Architecture("cnn", (400, 400), (1, 28, 28), 10, "gates")).attached
    with torch.no_grad():
        part.rate.fill_(2.0)
        for gate in part.gates:
            gate.fill_(log_alpha / 2)
        torch.manual_seed(0)
        part.train()
        drawn = torch.stack([part.values() for _ in range(10)])
        assert 0 <= drawn.min() <= drawn.max() <= 1
        assert float((drawn > 0).float().mean()) == pytest.approx(
            float(part.chances()[0]), abs=0.03
        )


def test_an_architecture_says_what_is_attached_where_something_is():
    base = NETWORKS[0]
    assert "attached" not in base.to_json()
    architecture = Architecture(base.family, base.widths, base.input_shape, 10, "gates")
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert architecture.with_widths((3, 4)).attached == "gates"
    assert architecture.plain == base
    with pytest.raises(InputError, match="attached: unknown 'gate'; known are gates"):
        Architecture.from_json({**base.to_json(), "attached": "gate"})


def test_a_plain_network_is_its_own_folded_one():
    network = new_network(NETWORKS[0], 0)
    assert folded(NETWORKS[0], network) == (NETWORKS[0], network)
