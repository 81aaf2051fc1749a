"""A GPU that is none: tensors that say they are on another device, and have a processor's values.

What mixes devices raises, as on a GPU; what is allowed there (a copy from one to the other, a
processor's number or indices among a GPU's tensors) is allowed here. Autograd takes it for a
device. No kernel, stream, graph or memory of a GPU is in it.
"""

from functools import cache

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
INDEXED |= {aten._unsafe_index.Tensor, aten._index_put_impl_.default}


class Module(_DummyBackendModule):
    """What torch asks of a device's module."""

    def get_amp_supported_dtype(self):
        """Autocast is there, and casts nothing."""
        return [torch.bfloat16]


@cache
def device():
    """The pretended device; torch is told of it once a process."""
    _setup_privateuseone_for_python_backend(rename="pretended", backend_module=Module())
    return torch.device("pretended:0")


class Held(torch.Tensor):
    """A tensor on the pretended device; ``on_cpu`` has its values."""

    @staticmethod
    def __new__(cls, real):
        found = torch.Tensor._make_wrapper_subclass(
            cls,
            real.shape,
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=device(),
        )
        found.on_cpu = real
        return found

    @property
    def data(self):
        """The same values, of which autograd knows nothing."""
        return Held(self.on_cpu.detach())

    @data.setter
    def data(self, other):
        torch.Tensor.data.__set__(self, other)
        self.on_cpu = other.on_cpu

    def untyped_storage(self):
        """Where its values are."""
        return self.on_cpu.untyped_storage()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return run(function, args, kwargs or {})


class Pretended(TorchDispatchMode):
    """While it lasts tensors can be made on the pretended device and moved to it."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return run(function, args, kwargs or {})


def run(function, args, kwargs):
    """An operator on the values of its tensors; raises RuntimeError where these mix devices."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    held = {id(one.on_cpu): one for one in tensors if isinstance(one, Held)}
    others = [one for one in tensors if not isinstance(one, Held) and one.dim()]
    if held and others and function not in COPIES | INDEXED:
        raise RuntimeError(f"{function}: tensors are on the processor and on the device")
    wanted = kwargs.get("device")
    if function is aten.copy_.default:
        there = isinstance(args[0], Held)
    else:
        there = bool(held) if wanted is None else torch.device(wanted).type == device().type
    if wanted is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    if kwargs.get("pin_memory"):
        raise RuntimeError("memory of the device cannot be pinned")

    def values(one):
        return one.on_cpu if isinstance(one, Held) else one

    def answer(one):
        if not isinstance(one, torch.Tensor) or not there:
            return one
        return held.get(id(one)) if id(one) in held else Held(one)

    found = function(*tree_map(values, args), **tree_map(values, kwargs))
    return tree_map(answer, found)


def move(network, where):
    """``federation.device.move``: a parameter's own tensor cannot become another kind's."""
    for module in network.modules():
        for own in (module._parameters, module._buffers):
            for name, tensor in own.items():
                if tensor is not None and tensor.device != where:
                    moved = tensor.detach().to(where)
                    own[name] = torch.nn.Parameter(moved) if own is module._parameters else moved
    return network
