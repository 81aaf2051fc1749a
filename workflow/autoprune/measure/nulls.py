"""Stage: what k, patience and the cap leave of a network that learns nothing, by two nulls.

``fresh``: every application of the rule sees a new random network, which prunes the most.
``kept``: a random network stays while nothing goes, as the trained one does in the authors' code,
so that the next application removes nothing either. What training adds lies beyond both.
"""

import argparse
import csv
import io
from collections.abc import Sequence
from functools import cache

import numpy as np

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import write_text
from autoprune.core.seeds import generator
from autoprune.data.store import ClientStore
from autoprune.models import Architecture, base_of, build
from autoprune.models.counts import Counts
from autoprune.models.layers import Network

NULLS = ("fresh", "kept")
COLUMNS = ("null", "draw", "parameters_with_statistics", "applications", "widths")


def fan_in(base: Architecture, widths: np.ndarray) -> list[np.ndarray]:
    """For each prunable convolution a filter's weights (draw,), at ``widths`` (draw, layer)."""
    network, found = built(base), []
    for layer in range(len(network.prunable)):
        of_filter = 0 * widths[:, 0]
        for holder in network.kernels(layer):
            kernel = network.weight(holder)
            fixed, of_layers = network.places.shares(f"{holder}.weight", 1)
            channels = sum((widths[:, of] * n for of, n in of_layers.items()), 0 * widths[:, 0])
            inputs = channels + (fixed if of_layers else kernel.shape[1])
            rows = len(kernel) // base.widths[layer]
            of_filter = of_filter + inputs * kernel[0, 0].numel() * rows
        found.append(of_filter)
    return found


@cache
def built(architecture: Architecture) -> Network:
    """The network, its weights not set, built once."""
    return build(architecture)


def norms(weights: np.ndarray, filters: int, stream: np.random.Generator) -> np.ndarray:
    """L1 norms (draw, filter) of random filters of ``weights`` (draw,) weights each, standardised.

    A fresh kernel is Glorot-uniform, so a norm is the sum of n equal uniforms times a bound that
    all filters of a layer share, and which the rule does not see. The sum is drawn by
    Cornish and Fisher's (1938) expansion of its quantiles to the order n^-2, from its fourth and
    sixth cumulants, -6/5/n and 48/7/n². From 9 weights on, the fewest of any network here, tails
    between 2 and 3 standard deviations are right to 2 %.
    """
    z = stream.standard_normal((len(weights), filters))
    fourth, sixth = -1.2 / weights[:, None], 48 / 7 / weights[:, None] ** 2
    # z + f/24·(z³ - 3z) + s/720·(z⁵ - 10z³ + 15z) - f²/384·(3z⁵ - 24z³ + 29z), by powers of z
    square = z * z
    fifth = sixth / 720 - fourth**2 / 128
    third = fourth / 24 - sixth / 72 + fourth**2 / 16
    first = 1 - fourth / 8 + sixth / 48 - 29 * fourth**2 / 384
    return z * (first + square * (third + square * fifth))


def applied(scores: np.ndarray, widths: np.ndarray, k: float) -> np.ndarray:
    """Filters (draw,) that the rule keeps of the first ``widths`` (draw,) ``scores`` of each row.

    At least one stays. Equality is drawn with probability 0, so floats decide.
    """
    there = np.arange(scores.shape[1]) < widths[:, None]
    mean = np.where(there, scores, 0).sum(1) / widths
    squares = np.where(there, scores - mean[:, None], 0) ** 2
    variance = squares.sum(1) / widths
    kept = (there & (squares <= k**2 * variance[:, None])).sum(1)
    return np.maximum(kept, 1)


def searches(
    base: Architecture, null: str, draws: int, seed: int, k: float, patience: int, cap: int
) -> tuple[np.ndarray, np.ndarray]:
    """``draws`` whole searches at once: final widths (draw, layer), applications (draw,).

    The rule and the search of ``autoprune.pruning``, on norms drawn as random networks have them.
    Raises InputError for an unknown null.
    """
    if null not in NULLS:
        raise InputError(f"null: unknown {null!r}; known are {', '.join(NULLS)}")
    stream = generator(seed, f"null-{null}")
    widths = np.tile(np.array(base.widths), (draws, 1))
    done, stalled = np.zeros(draws, int), np.zeros(draws, int)
    while (on := (stalled < patience) & (done < cap)).any():
        now = widths[on]
        left = np.stack(
            [
                applied(norms(weights, int(now[:, layer].max()), stream), now[:, layer], k)
                for layer, weights in enumerate(fan_in(base, now))
            ],
            axis=1,
        )
        fell = (left < now).any(1)
        widths[on] = left
        # a network that is kept is decided on again and again with the same outcome
        more = 1 if null == "fresh" else patience
        stalled[on] = np.where(fell, 0, stalled[on] + more)
        done[on] = np.minimum(done[on] + np.where(fell, 1, more), cap)
    return widths, done


def sizes_of(base: Architecture, widths: np.ndarray) -> list[int]:
    """Parameters, batch-norm statistics included, at each row of ``widths`` (draw, layer)."""
    return [int(total) for total in Counts(base).parameters(widths)]


def final_sizes(
    base: Architecture, null: str, draws: int, seed: int, k: float, patience: int, cap: int
) -> list[int]:
    """The parameters that each of ``draws`` searches ends with; see ``searches``."""
    return sizes_of(base, searches(base, null, draws, seed, k, patience, cap)[0])


def main(argv: Sequence[str] | None) -> None:
    """The command: both nulls of one pair of a study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True, help="folder of the client store: image shape")
    parser.add_argument(
        "--target", required=True, nargs="+", help="what is predicted: number of outputs"
    )
    parser.add_argument("--model", required=True, help="network family, or a function's call")
    parser.add_argument(
        "--widths", type=int, nargs="+", help="before pruning; a function's network has its own"
    )
    parser.add_argument("--k", type=float, required=True, help="boundary, standard deviations")
    parser.add_argument("--patience", type=int, required=True, help="applications")
    parser.add_argument("--cap", type=int, required=True, help="applications")
    parser.add_argument("--draws", type=int, required=True, help="searches, of each null")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True, help="CSV, a row a draw")
    args = parser.parse_args(argv)
    for name in ("draws", "patience", "cap"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name}: found {getattr(args, name)}, expected at least 1")
    store = ClientStore.open(args.store)
    height, width, channels = store.shape
    outputs = [len(store.classes(target)) or 1 for target in args.target]
    classes = outputs[0] if len(outputs) == 1 else len(outputs)
    base = base_of(args.model, args.widths or (), (channels, height, width), classes)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for null in NULLS:
        settings = (args.draws, args.seed, args.k, args.patience, args.cap)
        widths, applications = searches(base, null, *settings)
        for draw, size in enumerate(sizes_of(base, widths)):
            final = " ".join(map(str, widths[draw]))
            writer.writerow((null, draw, size, applications[draw], final))
    write_text(args.output, stream.getvalue())


if __name__ == "__main__":
    run_main(main)
