"""The client's end of a wire: the state that a message brings, and the answer encoded as it was."""

from flwr.app import Context, RecordDict
from torch import Tensor

from autoprune.core.errors import InputError
from autoprune.federation import packed
from autoprune.federation.encoding import (
    compress,
    corrected,
    dequantise,
    expand,
    pack_int8,
    quantise,
    unpack_int8,
)
from autoprune.federation.wire import arrays, only, tensors
from autoprune.models.state import State, maskable, shapes, unflat, unpack_mask


def received(
    content: RecordDict, context: Context, like: State
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(state, masks) of a message; ``like`` has the network's shapes.

    A mask that came along is kept in the client's context. Raises InputError when the message
    speaks of a mask that this client was never sent.
    """
    sent = only(content, "arrays")
    if "int8" in content.config_records:
        return dequantise(unpack_int8(sent, shapes(like))), {}
    if "packed" in content.config_records:
        return packed.unpack_weights(sent, packed.named(content, like), shapes(like)), {}
    if "mask" not in content.config_records:
        return unflat(sent, shapes(like)), {}
    version = content.config_records["mask"]["version"]
    if "mask-bits" in content.array_records:
        context.state["mask"] = content.config_records["mask"]
        context.state["mask-bits"] = content.array_records["mask-bits"]
    held = context.state.config_records.get("mask")
    if held is None or held["version"] != version:
        raise InputError(f"the mask of round {version!r} is not here; it must be sent again")
    masks = unpack_mask(only(context.state, "mask-bits"), like)
    return expand(sent, masks, shapes(like)), masks


def answered(
    content: RecordDict, context: Context, state: State, before: State, masks: State
) -> Tensor:
    """The flat array to send back, encoded as ``content`` was.

    ``state`` is that after training, ``before`` and ``masks`` are what ``received`` gave. The
    error of an update's rounding is kept in the client's context.
    """
    if not {"int8", "packed"} & set(content.config_records):
        return compress(state, masks)
    lost = context.state.array_records.get("residual")
    update = {name: tensor - before[name] for name, tensor in state.items()}
    wanted = corrected(update, tensors(lost) if lost is not None else {})
    if "packed" in content.config_records:
        bits = packed.named(content, state)
        sent, got = packed.quantise_update(wanted, bits)
        upload = packed.pack_update(sent, bits)
    else:
        sent = quantise(wanted)
        upload, got = pack_int8(sent), dequantise(sent)
    context.state["residual"] = arrays({n: wanted[n] - got[n] for n in maskable(wanted)})
    return upload
