"""``python -m autoprune.phone check``: is a session right, and what does it say?"""

import argparse
from pathlib import Path

from autoprune.phone.exported import read_models
from autoprune.phone.session import read_sessions


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``check`` and its flags to the command's."""
    parser = commands.add_parser(
        "check",
        help="say whether sessions of phone runs are right, and what they come to",
        description="Check sessions before you hand them in; docs/how-to/hand-in-measurements.md.",
    )
    parser.add_argument("sessions", nargs="+", type=Path, metavar="SESSION", help="folders")
    parser.add_argument(
        "--manifests",
        nargs="*",
        type=Path,
        default=[],
        help="of the exports that were measured; without them no run is held against its network",
    )


def main(args: argparse.Namespace) -> None:
    """The command; raises InputError naming file, line and column of what is wrong."""
    from autoprune.phone.summary import summary  # pandas and scipy: not for other commands

    sessions = read_sessions(args.sessions, read_models(args.manifests))
    print("\n\n".join(map(summary, sessions)))
    if not args.manifests:
        print("\nNot held against the exports: give their --manifests for that.")
