"""Stage: write one source's samples as a client store."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import Field

from autoprune.core.block import Block
from autoprune.core.errors import run_main
from autoprune.core.options import add_flags, from_flags
from autoprune.data.prepare import sources
from autoprune.data.prepare.preprocess import Preprocessing, chosen, preprocessed
from autoprune.data.prepare.workers import given_cores
from autoprune.data.prepare.write import check_samples, write_store


class Work(Block):
    """How the work is done."""

    workers: int = Field(
        default_factory=given_cores,
        ge=1,
        description="Processes that read the data; the store does not depend on it.",
    )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; each module of ``data.prepare.sources`` is a sub-command."""
    parser = argparse.ArgumentParser(prog="python -m autoprune.data.prepare", description=__doc__)
    commands = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    words = sys.argv[1:] if argv is None else argv
    # only what is asked for: another that cannot be loaded is in nobody's way
    for name in [name for name in sources.names() if name in words[:1]] or sources.names():
        source = sources.load(name)
        summary = (source.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        command.add_argument("--name", required=True, help="name of the data set in every table")
        command.add_argument("--output", required=True, type=Path, help="folder of the new store")
        add_flags(command, Work)
        add_flags(command, source.Options)
        add_flags(command.add_argument_group("preprocessing, in this order"), Preprocessing)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare one data set; raises InputError for wrong input, and then writes nothing."""
    args = parse(argv)
    source = sources.load(args.source)
    asked, workers = from_flags(Preprocessing, args), from_flags(Work, args).workers
    samples = source.prepare(from_flags(source.Options, args), workers)
    check_samples(samples, f"source {args.source}")
    steps = chosen(samples, asked)
    samples = preprocessed(samples, steps)
    write_store(
        args.output,
        name=args.name,
        source=args.source,
        **vars(samples),
        pixel_range=asked.range,
        preprocessing={**asdict(steps), "standardised": asked.standardise},
        workers=workers,
    )
    print(
        f"{args.name}: {len(samples.images)} samples of {len(samples.client_ids)} clients "
        f"in {args.output}"
    )


if __name__ == "__main__":
    run_main(main)
