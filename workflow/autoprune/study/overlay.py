"""A configuration file as YAML has it, less what YAML reads without a word and nobody means."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from autoprune.core.errors import InputError
from autoprune.core.files import check_kind

OCTAL = re.compile(r"^[-+]?0[0-7_]+$")


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice in one mapping, and numbers that YAML takes for octal."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, each key of which is given once."""
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name, line = self.construct_object(key), key.start_mark.line + 1
            if name in lines:
                raise InputError(
                    f"key {name!r} is given twice, in lines {lines[name]} and {line}: the first "
                    "would be lost; put what belongs to it in one place"
                )
            lines[name] = line
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number, written in decimal."""
        text = self.construct_scalar(node)
        if OCTAL.match(text):
            raise InputError(
                f"line {node.start_mark.line + 1}: found {text}, which YAML reads as octal "
                f"({super().construct_yaml_int(node)}); write it without the 0 in front"
            )
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def check_command(words: Sequence[str]) -> None:
    """Raise InputError for a command of Snakemake's with several ``--configfile``.

    Its parser keeps the last and says nothing, which runs another study.
    """
    given = [n for n, word in enumerate(words) if re.match(r"--configfiles?(=|$)", word)]
    if len(given) > 1:
        raise InputError(
            f"--configfile is given {len(given)} times, of which Snakemake takes the last alone; "
            f"name all files behind one: --configfile {' '.join(_named(words))}"
        )


def check_files(words: Sequence[str]) -> None:
    """Read what a command of Snakemake's names as configuration, before it does; InputError."""
    for file in _named(words):
        read_overlay(file)


def _named(words: Sequence[str]) -> list[str]:
    """The files behind every ``--configfile`` of a command."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(
        "--configfile", "--configfiles", dest="files", nargs="+", action="extend", default=[]
    )
    found: list[str] = parser.parse_known_args(words)[0].files
    return found


def read_overlay(file: str | Path) -> dict[str, Any]:
    """The mapping in a configuration file; an empty file is an empty one.

    Raises InputError that names the file, and the line or key where there is one.
    """
    check_kind(file)
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
        found = yaml.load(text, _Loader)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; run this in the study's folder") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of numbers without end, too
        raise InputError(f"{file}: not valid YAML ({' '.join(str(error).split())})") from None
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    if not isinstance(found or {}, dict):
        raise InputError(f"{file}: expected keys at the top level, found {found!r}")
    return found or {}
