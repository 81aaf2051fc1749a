"""``python -m autoprune.pruning``: replay a pruning plan on the base network's weights."""

import argparse
from collections.abc import Sequence

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import read_json
from autoprune.models import Architecture
from autoprune.models.weights import load_weights, save_weights
from autoprune.pruning.plan import Plan, replay
from autoprune.pruning.record import check_cuts
from autoprune.pruning.shrink import recut


def main(argv: Sequence[str] | None) -> None:
    """Cut the base network's weights as the plan says and write the smaller network."""
    parser = argparse.ArgumentParser(prog="autoprune.pruning", description=main.__doc__)
    parser.add_argument("--plan", required=True, help="plan.json of a run")
    parser.add_argument("--weights", required=True, help="safetensors of the base network")
    parser.add_argument("--output", required=True, help="safetensors of the smaller network")
    args = parser.parse_args(argv)
    told = check_cuts(read_json(args.plan), args.plan)
    plan = Plan.from_json(told, args.plan) if "weights" in told else None
    start = plan.base if plan else Architecture.from_json(told.get("base", {}), args.plan)
    base, state, _ = load_weights(args.weights)
    if base != start:
        raise InputError(
            f"{args.weights}: holds {base.family} of widths {list(base.widths)}, "
            f"the plan starts from {start.family} of widths {list(start.widths)}"
        )
    # a plan of a method that follows has its cuts alone, and weights are always kept
    architecture, network = replay(plan, state) if plan else recut(base, state, told["shrinks"])
    save_weights(args.output, architecture, network.state_dict())
    print(f"{args.output}: {architecture.family}, widths {' '.join(map(str, architecture.widths))}")


if __name__ == "__main__":
    run_main(main)
