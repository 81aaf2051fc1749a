"""The registry of files that can be fetched: names, addresses, checksums, limits, terms."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autoprune.core.errors import InputError
from autoprune.core.files import write_json

REGISTRY = Path(__file__).with_name("downloads.yaml")
FORMATS = ("tar.bz2", "tar.gz", "tar.xz", "tar", "zip", "lzma", "xz", "bz2", "gz", "plain")
SIZE = {"type": "integer", "minimum": 1}
ENTRY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["file", "urls", "format"],
    "properties": {
        "file": {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$"},
        "urls": {"type": "array", "items": {"type": "string", "pattern": "^https?://"}},
        "format": {"enum": list(FORMATS)},
        "bytes": SIZE,
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "md5": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "limits": {
            "type": "object",
            "additionalProperties": False,
            "required": ["files", "bytes"],
            "properties": {"files": SIZE, "bytes": SIZE},
        },
        "checked": {"type": "string"},
        "terms": {"type": "string"},
    },
}


@dataclass(frozen=True)
class Entry:
    """One file of the registry; downloads.yaml says what each field is."""

    name: str
    file: str
    urls: Sequence[str]
    format: str
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    limits: dict[str, int] | None = None
    checked: str | None = None
    terms: str | None = None


def add_arguments(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add the flags of a stage on one registered file: NAME, --folder, --receipt, --registry."""
    parser.add_argument("name", metavar="NAME", help="entry of the registry, such as fed_emnist")
    parser.add_argument("--folder", type=Path, required=True, help=folder)
    parser.add_argument(
        "--receipt", type=Path, required=True, help="JSON written when everything is done and right"
    )
    parser.add_argument(
        "--registry", type=Path, default=REGISTRY, help="YAML of entries (default: the package's)"
    )


def write_receipt(path: Path, receipt: dict[str, Any]) -> None:
    """Write a stage's receipt; raises InputError when that fails."""
    try:
        write_json(path, receipt)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def load_entry(name: str, registry: Path = REGISTRY) -> Entry:
    """The registry's entry; InputError for an unknown name or a registry that is not one."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        entries = yaml.safe_load(registry.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{registry}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise InputError(f"{registry}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(entries, dict):
        raise InputError(f"{registry}: not a registry, expected entries by name")
    if name not in entries:
        known = ", ".join(map(str, entries))
        raise InputError(f"{registry}: no entry {name!r}; it has {known}")
    error = best_match(Draft202012Validator(ENTRY).iter_errors(entries[name]))
    if error is not None:
        where = ".".join([name, *map(str, error.absolute_path)])
        raise InputError(f"{registry}: {where}: {error.message}")
    return Entry(name=name, **entries[name])
