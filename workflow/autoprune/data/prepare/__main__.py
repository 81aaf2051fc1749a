"""Stage: write one source's samples as a client store."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from autoprune.core.errors import run_main
from autoprune.data.prepare import preprocess, sources
from autoprune.data.prepare.workers import given_cores
from autoprune.data.prepare.write import write_store


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; each module of ``data.prepare.sources`` is a sub-command."""
    parser = argparse.ArgumentParser(prog="python -m autoprune.data.prepare", description=__doc__)
    commands = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for name, source in sources.discover().items():
        summary = source.__doc__.splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        command.add_argument("--name", required=True, help="name of the data set in every table")
        command.add_argument("--output", required=True, type=Path, help="folder of the new store")
        command.add_argument(
            "--workers",
            type=sources.count,
            default=given_cores(),
            help="processes that read the data; the store does not depend on it (default: the "
            "cores that this process may use, %(default)s)",
        )
        source.add_arguments(command)
        preprocess.add_arguments(command)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare one data set; raises InputError for wrong input, and then writes nothing."""
    args = parse(argv)
    pixel_range = preprocess.chosen_range(args.pixel_range, args.standardise)
    samples = sources.discover()[args.source].prepare(args)
    steps = preprocess.chosen(samples, args.crop, args.resize, args.polarity)
    samples = preprocess.preprocessed(samples, steps)
    write_store(
        args.output,
        name=args.name,
        source=args.source,
        **vars(samples),
        pixel_range=pixel_range,
        preprocessing={**asdict(steps), "standardised": args.standardise},
        workers=args.workers,
    )
    print(
        f"{args.name}: {len(samples.images)} samples of {len(samples.client_ids)} clients "
        f"in {args.output}"
    )


if __name__ == "__main__":
    run_main(main)
