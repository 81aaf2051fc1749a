"""Images that can be learned and networks that have learned them, for what is measured of them.

How many places of a network's maps are active decides what a step costs, and a new network on
random images says little of it.
"""

from collections.abc import Mapping

import numpy as np
import torch
from bench_work import BATCH, EPSILON, LEARNING_RATE, Work

from autoprune.data.prepare.sources import faces, glyphs
from autoprune.federation.training import keep_memory, to_input, train, workspace
from autoprune.models import load_state, new_network

EPOCHS = {28: 8, 84: 10}  # by the images' side: their losses have then fallen by most
JUDGED = 256  # images whose maps are looked at

Pool = tuple[np.ndarray, np.ndarray]


def pool_of(work: Work, smoke: bool) -> Pool:
    """Light on dark images (image, height, width, channel) uint8 and labels (image,), shuffled.

    Those of the project's generators in the place of FEMNIST and CelebA.
    """
    if work.channels == 1:
        made = glyphs.prepare(glyphs.Options(clients=1 if smoke else 20))
        images, labels = 255 - made.images[:], made.labels[:, 0]
    else:
        made = faces.prepare(faces.Options(clients=2 if smoke else 12))
        smiling = 1
        images, labels = made.images[:], made.labels[:, smiling]
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order], labels[order].astype(np.int64)


def trained(work: Work, pool: Pool, smoke: bool) -> dict[str, torch.Tensor]:
    """The state of the work's network after some epochs on the pool, in this process."""
    torch.set_num_threads(1)
    keep_memory()
    network = workspace(work.architecture)
    network.gradients = "compiled"
    load_state(network, new_network(work.architecture, 0).state_dict())
    train(
        network,
        to_input(pool[0]),
        torch.from_numpy(pool[1]),
        epochs=1 if smoke else EPOCHS[work.side],
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        epsilon=EPSILON,
        precision="fp32",
        shuffle=np.random.default_rng(0),
    )
    return {name: tensor.contiguous() for name, tensor in network.state_dict().items()}


@torch.no_grad()
def active(work: Work, state: Mapping[str, torch.Tensor], pool: Pool) -> dict[str, float]:
    """The share of places above 0 behind each max pool of a network, in its order."""
    network = workspace(work.architecture)
    load_state(network, state)
    found: dict[str, float] = {}

    def keep(name: str, maps: torch.Tensor) -> None:
        found[name] = float((maps > 0).float().mean())

    hooks = [
        module.register_forward_hook(lambda _, __, maps, name=name: keep(name, maps))
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.MaxPool2d)
    ]
    network.eval()(to_input(pool[0][:JUDGED]))
    for hook in hooks:
        hook.remove()
    return found
