"""Which code made a result: a digest of a stage's import closure, and the versions it ran on."""

import ast
import hashlib
import json
import platform
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from autoprune.core.calls import Call
from autoprune.core.errors import InputError

PACKAGE = "autoprune"
ROOT = Path(__file__).resolve().parents[2]
WORDS = f"{PACKAGE}.core.refusal"  # nothing but what is said of wrong input
READS = f"{PACKAGE}.core.labels"  # tells what the classes of methods say of themselves
SAID = ("differs", "labels")  # in a class: words for readers


@cache
def code_version(*modules: str) -> str:
    """16 hex digits that change when code that ``modules`` import from this package changes.

    Comments, layout and wording (docstrings, help, what errors and logs say) do not count: the
    digest is over ``ast.unparse`` of the import closure. Imports inside functions are followed;
    ``importlib`` by name is not, so a stage that loads a family, method or source by name is given
    with that module beside it. What methods say of themselves counts where it is read.
    Raises InputError when a module does not exist. Source: design notes on Snakemake 9.27, which
    tracks scripts by the time stamp of one file.
    """
    digest = hashlib.sha256()
    found = closure(*modules)
    for name in sorted(found - {WORDS}):
        digest.update(f"{name}\n{essence(name)}\n".encode())
    if READS in found:
        said = {file: [declared("methods", file, name) for name in SAID] for file in methods()}
        digest.update(json.dumps(said).encode())
    return digest.hexdigest()[:16]


def network_code(model: str, network: str) -> list[str]:
    """The modules that a network's numbers come from: its family's, or those of its function.

    ``network`` is the function's call, "" for a family. torchvision's code has its version.
    """
    if not network:
        return [f"{PACKAGE}.models.{model}"]
    module = Call.parse(network).module
    return [f"{PACKAGE}.models.factory", *([module] if module != "torchvision" else [])]


def versions(*more: str) -> dict[str, str]:
    """Versions of what the numbers depend on, and the processor's kind; no host or path.

    ``more`` are packages besides.
    """
    packages = ("torch", "flwr", "numba", "numpy", "safetensors", "fvcore", *more)
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
            where = f"{ROOT.name}/{PACKAGE}" if _own(name) else "what Python can import here"
            raise InputError(f"{name}: no such module in {where}")
        found.add(name)
        parent = name.rpartition(".")[0]
        waiting.extend(n for n in (parent, *_imports(name)) if n)
    return found


def _imports(name: str) -> list[str]:
    """Modules of the package that a module's source imports."""
    top = name.partition(".")[0]
    return [n for n in _imported(*_source(name), top) if _path(n)]


@cache
def _imported(source: str, path: Path, top: str = PACKAGE) -> list[str]:
    """Names that may be modules of the package ``top``, in a source's imports."""
    names: list[str] = []
    tree = _tree(source, path)
    for part in tree.body:
        if isinstance(part, ast.If) and ast.unparse(part.test) == "TYPE_CHECKING":
            part.body = []  # never run
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [node.module, *members]
    return [n for n in names if n.split(".")[0] in (PACKAGE, top)]


@cache
def modules_with(package: str, name: str) -> list[str]:
    """The modules of a package that define a function or class at their top, sorted.

    ``package`` is a folder below this package, e.g. "models"; its files are read, not imported,
    as that would take a second of torch.
    """
    return sorted(
        path.stem
        for path in ROOT.joinpath(PACKAGE, package).glob("[a-z]*.py")
        for part in _tree(path.read_text(encoding="utf-8"), path).body
        if isinstance(part, ast.FunctionDef | ast.ClassDef) and part.name == name
    )


def methods() -> list[str]:
    """The modules of the methods; a method's name has "-" for "_"."""
    return modules_with("methods", "Method")


@cache
def declared(package: str, module: str, name: str) -> Any:
    """The literal that a module gives a name, at its top or in a class; None where it does not."""
    value = _assigned(*_source(f"{PACKAGE}.{package}.{module}")).get(name)
    return None if value is None else ast.literal_eval(value)


class Outline(NamedTuple):
    """What a module has at its top: docstring, literals, other values, functions' parameters."""

    doc: str
    literals: Mapping[str, Any]
    others: Collection[str]
    functions: Mapping[str, Sequence[str]]


@cache
def outline(name: str) -> Outline:
    """What a module has at its top; read, not imported.

    Raises InputError when the module does not exist or is no Python.
    """
    if _path(name) is None:
        raise InputError(f"{name}: no such module in {ROOT.name}/{PACKAGE}")
    source, path = _source(name)
    tree, assigned, found = _tree(source, path), _assigned(source, path), {}
    for key, value in assigned.items():
        with suppress(ValueError, TypeError):  # no literal
            found[key] = ast.literal_eval(value)
    functions = {
        part.name: [word.arg for word in (*part.args.args, *part.args.kwonlyargs)]
        for part in tree.body
        if isinstance(part, ast.FunctionDef)
    }
    return Outline(ast.get_docstring(tree) or "", found, assigned.keys() - found, functions)


@cache
def _assigned(source: str, path: Path) -> dict[str, ast.expr]:
    """What a source assigns to names at its top and in its classes, the first of each name."""
    found: dict[str, ast.expr] = {}
    top = _tree(source, path).body
    for body in (top, *(part.body for part in top if isinstance(part, ast.ClassDef))):
        for part in body:
            if isinstance(part, ast.Assign | ast.AnnAssign) and part.value:
                target = part.targets[0] if isinstance(part, ast.Assign) else part.target
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, part.value)
    return found


def _own(name: str) -> bool:
    return name.partition(".")[0] == PACKAGE


def _path(name: str) -> Path | None:
    """A module's file: of this package, or of another from which a network comes."""
    if not _own(name):
        try:
            spec = find_spec(name)
        except ImportError:
            return None
        return Path(spec.origin) if spec and spec.origin and spec.has_location else None
    base = ROOT.joinpath(*name.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def essence(name: str) -> str:
    """A module's source without comments, layout and wording."""
    return _essence(*_source(name))


def _source(name: str) -> tuple[str, Path]:
    """A module's text and file."""
    path = _path(name)
    assert path is not None
    return path.read_text(encoding="utf-8"), path


def _tree(source: str, path: Path) -> ast.Module:
    """The text of a file as Python reads it; InputError, naming file and line, for what is none."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}") from None


@cache  # by the text: many stages share modules, and Snakemake asks for each job's stage
def _essence(source: str, path: Path) -> str:
    return ast.unparse(_Wording().visit(_tree(source, path)))


class _Wording(ast.NodeTransformer):
    """Takes out what is said and never decides a number: a better wording must retrain nothing.

    Docstrings; the help texts of a command's flags and of settings; what an error says; what is
    printed, unless into a file, and what is logged; what a method says of itself.
    """

    DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    HELP = ("help", "description", "metavar")
    LOGS = ("debug", "info", "warning", "error", "exception", "critical")

    def visit(self, node: ast.AST) -> ast.AST:
        """A node without wording, and all below it."""
        if isinstance(node, self.DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.ClassDef):
            node.body = [part for part in node.body if not self._of_itself(part)] or [ast.Pass()]
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            if ast.unparse(node.exc.func) != "SystemExit":  # an exit code is no wording
                node.exc.args, node.exc.keywords = [], []
        elif isinstance(node, ast.Expr) and self._says(node.value):
            node.value.args, node.value.keywords = [], []
        elif isinstance(node, ast.Call):
            node.keywords = [word for word in node.keywords if word.arg not in self.HELP]
        return self.generic_visit(node)

    @staticmethod
    def _of_itself(part: ast.stmt) -> bool:
        """Whether a class says with it what it is, for readers."""
        return isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) in SAID

    def _says(self, call: ast.expr) -> TypeGuard[ast.Call]:
        """Whether a statement prints for people or logs."""
        if not isinstance(call, ast.Call):
            return False
        if isinstance(call.func, ast.Attribute):
            of = ast.unparse(call.func.value).rpartition(".")[2]
            return call.func.attr in self.LOGS and of.lower() in ("log", "logger", "logging")
        into = [ast.unparse(word.value) for word in call.keywords if word.arg == "file"]
        said = isinstance(call.func, ast.Name) and call.func.id == "print"
        return said and into in ([], ["sys.stderr"], ["sys.stdout"])
