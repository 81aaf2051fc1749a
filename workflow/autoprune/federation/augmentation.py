"""What is done to images each time that a client trains on them, by torchvision's transforms."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.core.errors import InputError
from autoprune.federation.chosen import fit, make, pick, subclasses
from autoprune.federation.training import to_input

OTHERS = "is made of other transforms, which a list here is already"
REFUSED = {
    **dict.fromkeys(("Compose", "RandomApply", "RandomChoice", "RandomOrder"), OTHERS),
    **dict.fromkeys(("CutMix", "MixUp"), "mixes images with others, whose labels it would need"),
    "Lambda": "takes a function, which a configuration cannot hold",
}
TRIES = 8  # draws by which a transform is tried on an image of the data before training


def check(chosen: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The transforms that are chosen; raises InputError for what torchvision does not have."""
    for one in chosen:
        if len(one) != 1:
            raise InputError(
                f"found {one!r}, expected one transform with its arguments, as "
                "{RandomRotation: {...}}"
            )
    _made(chosen)
    return [dict(one) for one in chosen]


def _made(chosen: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The transforms, in their order."""
    from autoprune.core.vision import torchvision  # takes half a second to load

    v2, found = torchvision.transforms.v2, []
    known = subclasses(v2, v2.Transform, but=("Transform", *REFUSED))
    for one in chosen:
        ((name, given),) = one.items()
        kind = pick("transform", str(name), known, REFUSED)
        if not isinstance(given, Mapping | None):
            raise InputError(f"{name}: found {given!r}, expected its arguments by name")
        arguments = dict(given or {})
        fit(kind, arguments, {})
        if isinstance(word := arguments.get("interpolation"), str):
            arguments["interpolation"] = make(v2.InterpolationMode, word)
        found.append(make(kind, **arguments))
    return found


class Augmentation:
    """Transforms of a client's images in one round; what they draw is theirs alone.

    Called with bytes (image, channel, height, width) gives the network's input, float32 of the
    same shape. Each image has draws of its own, in the order in which they come, from ``seed`` on.
    """

    def __init__(
        self, chosen: Sequence[Mapping[str, Any]], seed: int, pixel_range: tuple[float, float]
    ) -> None:
        self._transforms, self._pixel_range = _made(chosen), pixel_range
        self._stream = torch.Generator().manual_seed(seed).get_state()

    def __call__(self, images: Tensor) -> Tensor:
        """A batch as it is trained on."""
        changed = []
        # torchvision draws from torch's own stream, which layers such as dropout have too
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._stream)
            for image in images:
                for transform in self._transforms:
                    image = transform(image)
                changed.append(image)
            self._stream = torch.get_rng_state()
        stored = torch.stack(changed).permute(0, 2, 3, 1).numpy()
        return to_input(np.ascontiguousarray(stored), self._pixel_range)


def try_on(chosen: Sequence[Mapping[str, Any]], shape: tuple[int, int, int]) -> None:
    """Raise InputError for transforms that make of an image of the data what no image of it is.

    ``shape`` is (height, width, channels) in pixels. Each is tried on random pixels.
    """
    for one in chosen:
        (name,), (transform,) = one, _made([one])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for _ in range(TRIES):
                image = torch.randint(0, 256, (shape[2], *shape[:2]), dtype=torch.uint8)
                _same_kind(name, transform, image)


def _same_kind(name: str, transform: Any, image: Tensor) -> None:
    """Raise InputError unless a transform makes of bytes as many bytes."""
    try:
        found = transform(image)
    # somebody else's code on somebody's arguments; what it says is passed on
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"augmentation: {name}: cannot be applied to the images ({why})") from None
    if not isinstance(found, Tensor):
        raise InputError(f"augmentation: {name}: gives {type(found).__name__}, expected an image")
    if found.shape != image.shape:
        shapes = [" x ".join(map(str, one.shape)) for one in (found, image)]
        raise InputError(
            f"augmentation: {name}: gives images of {shapes[0]}, the network takes {shapes[1]}; "
            "choose a size that leaves them"
        )
    if found.dtype != image.dtype:
        kind = str(found.dtype).removeprefix("torch.")
        raise InputError(f"augmentation: {name}: gives {kind}, expected bytes as it gets them")
