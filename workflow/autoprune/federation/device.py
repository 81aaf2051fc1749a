"""Where a run computes: on the processor, or on the GPU that this process takes.

CUDA starts in ``start`` and nowhere else, in the process that computes: a process that is forked
after that could not use it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from autoprune.core.errors import InputError
from autoprune.models.layers import Network

CPU = torch.device("cpu")
AUTO, CUDA = "auto", "cuda"
# cuBLAS adds in one order only with a fixed workspace, of which it reads at its start
WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
_worker = 0  # the number of this process among those that compute


def visible() -> int:
    """How many GPUs this process may use; asks the driver's library and starts no CUDA."""
    return torch.cuda.device_count()


def resolved(wanted: str) -> str:
    """The setting ``device`` as a run has it, "cpu" or "cuda": what ``auto`` finds here.

    Raises InputError where "cuda" is asked for and there is none.
    """
    if wanted == AUTO:
        return CUDA if visible() else CPU.type
    if wanted == CUDA and not visible():
        built = torch.version.cuda
        why = (
            f"torch {torch.__version__} is built for processors only; install "
            "envs/requirements-cuda.lock"
            if built is None
            else f"torch {torch.__version__} is built for CUDA {built} and sees no GPU; look at "
            "nvidia-smi and CUDA_VISIBLE_DEVICES"
        )
        raise InputError(f"device: found 'cuda', but {why}, or set device: cpu or auto")
    return wanted


def take(number: int) -> None:
    """Say which of the processes that compute this one is: they take the GPUs in turn."""
    global _worker
    _worker = number
    start.cache_clear()


@cache
def start(name: str) -> torch.device:
    """The device of a resolved setting, the process made ready to compute on it.

    On a GPU: float32 without TF32, algorithms that give the same bits each time, none chosen by
    timing them. Raises InputError as ``resolved``, and where the visible GPUs are of several kinds:
    a result would depend on which of them a client came to.
    """
    if resolved(name) != CUDA:
        return CPU
    os.environ.setdefault(*WORKSPACE)
    exactly()
    kinds = sorted({torch.cuda.get_device_name(number) for number in range(visible())})
    if len(kinds) > 1:
        raise InputError(
            f"device: found GPUs of several kinds ({', '.join(kinds)}), on which results differ; "
            "name those of one kind in CUDA_VISIBLE_DEVICES"
        )
    device = torch.device(CUDA, _worker % visible())
    torch.cuda.set_device(device)
    return device


def exactly() -> None:
    """Have torch compute the same bits each time on a GPU, in the precision that is asked for."""
    # these two alone are not for ever, those below alone leave them in contradiction
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_flash_sdp(False)  # whose backward passes add in any order
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.use_deterministic_algorithms(True)
    # nothing here reads memory that it has not written: filling it costs a kernel each time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def seed(number: int, device: torch.device) -> None:
    """Seed what layers draw: torch's own stream and, on a GPU, the device's."""
    torch.default_generator.manual_seed(number)
    if device.type == CUDA:
        torch.cuda.default_generators[device.index].manual_seed(number)


def facts(name: str) -> dict[str, str]:
    """What the numbers of a run depend on besides: nothing, or the GPU's kind and its libraries."""
    if name != CUDA:
        return {}
    return {
        "gpu": torch.cuda.get_device_name(start(name)),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
    }


def of(network: torch.nn.Module) -> torch.device:
    """The device that a network's parameters are on."""
    return next(network.parameters()).device


def move(network: Network, device: torch.device) -> Network:
    """The same network, its parameters and buffers moved to a device, in place.

    ``Module.to`` does so too, but for what the tests have in place of a GPU.
    """
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.device != device:
                tensor.data = tensor.data.to(device)
    return network


@contextmanager
def placed(network: Network, device: torch.device) -> Iterator[Network]:
    """A network on a device for a while, then back on the processor."""
    try:
        yield move(network, device)
    finally:
        move(network, CPU)
