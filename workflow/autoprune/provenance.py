"""Which code made a result: a digest of a stage's import closure, and the versions it ran on."""

import ast
import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

from autoprune.errors import InputError

PACKAGE = "autoprune"
ROOT = Path(__file__).resolve().parent.parent


@cache
def code_version(*modules: str) -> str:
    """16 hex digits that change when code that ``modules`` import from this package changes.

    Comments, layout and docstrings do not count: the digest is over ``ast.unparse`` of the
    import closure. Imports inside functions are followed; ``importlib`` by name is not, so a
    stage that loads a family, method or source by name is given with that module beside it.
    Raises InputError when a module does not exist. Source: design notes on Snakemake 9.27, which
    tracks scripts by the time stamp of one file.
    """
    digest = hashlib.sha256()
    for name in sorted(closure(*modules)):
        digest.update(f"{name}\n{essence(name)}\n".encode())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, and the processor's kind; no host or path."""
    packages = ("torch", "flwr", "numpy", "safetensors", "fvcore")
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": _cpu(),
    }


def _cpu() -> str:
    """The processor's model name, on which the last bits of a floating-point sum depend."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def closure(*modules: str) -> set[str]:
    """The modules, all that they import from the package, and the packages they stand in.

    Raises InputError when a module does not exist.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if _path(name) is None:
            raise InputError(f"{name}: no such module in {ROOT.name}/{PACKAGE}")
        found.add(name)
        parent = name.rpartition(".")[0]
        waiting.extend(n for n in (parent, *_imports(name)) if n)
    return found


def _imports(name: str) -> list[str]:
    """Modules of the package that a module's source imports."""
    return [n for n in _imported(_source(name)) if _path(n)]


@cache
def _imported(source: str) -> list[str]:
    """Names that may be modules of the package, in a source's imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [node.module, *members]
    return [n for n in names if n.split(".")[0] == PACKAGE]


def _path(name: str) -> Path | None:
    base = ROOT.joinpath(*name.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def essence(name: str) -> str:
    """A module's source without comments, layout and docstrings."""
    return _essence(_source(name))


def _source(name: str) -> str:
    path = _path(name)
    assert path is not None
    return path.read_text(encoding="utf-8")


@cache  # by the text: many stages share modules, and Snakemake asks for each job's stage
def _essence(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
