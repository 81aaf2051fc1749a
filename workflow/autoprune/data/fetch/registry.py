"""The registry of files that can be fetched: names, addresses, checksums, terms."""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.options import WrongValue, read

REGISTRY = Path(__file__).with_name("downloads.yaml")


class Entry(Block):
    """One file of the registry; downloads.yaml says what each field is."""

    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")
    urls: tuple[Annotated[str, Field(pattern="^https?://")], ...]
    name: str = ""
    bytes: int | None = Field(None, ge=1)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    md5: str | None = Field(None, pattern="^[0-9a-f]{32}$")
    checked: str | None = None
    terms: str | None = None


def load_entry(name: str, registry: Path = REGISTRY) -> Entry:
    """The registry's entry; InputError for an unknown name or a registry that is not one."""
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
    if not isinstance(entries[name], dict):
        raise InputError(f"{registry}: {name}: not an entry, expected keys and values")
    try:
        return read(Entry, {**entries[name], "name": name})
    except WrongValue as error:
        key = ".".join(map(str, [name, *error.key]))
        raise InputError(f"{registry}: {key}: {error.reason}") from None
