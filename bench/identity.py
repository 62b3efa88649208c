"""What a stored result depends on: digests of code, of localizers as they were built, and of their environment.

**Code.** `code_digest` follows the source from its roots (a localizer's class, a perturbation's step, a view, ...)
through every import, those inside functions included, and digests the syntax trees of what it meets: no positions, no
comments, no docstrings, no registering decorators (which hold names and card texts), no annotations of functions. Of
the suite's own modules only the definitions that the roots reach count, so that adding a perturbation, a protocol or a
localizer changes nothing that is stored; of a user's modules every statement counts. Modules of installed
distributions and the standard library are not followed: their versions are the *environment*, kept beside a result.

**Localizers.** `identify` adds what the built object holds (settings, tensors, arrays, everything reachable), so that
no author has to know of this module for a new checkpoint to be noticed. What cannot be digested is refused.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import enum
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import os
import random
import re
import struct
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np

from models.localizer import RESOURCES

SUITE = ("bench", "models")
# They decide which class is built and what is said of it, not what it computes.
REGISTRIES = frozenset(f"models{name}" for name in ("", ".registry", ".card", ".building", ".localizer", ".index"))
SITE_FOLDERS = frozenset({"site-packages", "dist-packages"})
REGISTERING = frozenset({"register", "step"})  # decorators whose arguments are names and texts
# Attributes of the suite's own localizers that decide where something runs, not what comes out.
UNKEYED = frozenset({"device", "memory_gb", "_device", "_available", "trained_on", "_lock"})
ALWAYS = ("numpy", "opencv-python", "pillow")  # they decode, perturb and count for every localizer


class IdentityError(RuntimeError):
    """Something that a result depends on cannot be digested; the message names it and the way out."""


# ---------------------------------------------------------------------------------------------------- code


@dataclass(frozen=True)
class Code:
    """The code behind something.

    Attributes:
        digest: SHA-256 (hex) over all definitions.
        definitions: "module:name" (or "module" for a whole file) -> digest of it.
        distributions: top-level import names of installed distributions that the code imports.
    """

    digest: str
    definitions: Mapping[str, str]
    distributions: frozenset[str]


@functools.cache
def code_digest(*roots: str) -> Code:
    """The code that the roots, `"module"` or `"module:name"`, reach. Made once per process.

    Raises IdentityError for a root that has no source.
    """
    walk = _Walk()
    for root in roots:
        module, _, name = root.partition(":")
        if _source(module) is None:
            raise IdentityError(f"{module} has no source that can be digested; use --fresh to measure anew each time")
        walk.want(module, name or None)
    definitions = walk.definitions()
    return Code(_sha("\n".join(f"{k} {v}" for k, v in sorted(definitions.items()))), definitions, frozenset(walk.outer))


@dataclass
class _Module:
    """A parsed module: its statements, what each binds and loads, and what its imports bind."""

    name: str
    own: bool
    statements: list[ast.stmt]
    raw: bytes | None = None  # content of a file that is no Python source
    binds: dict[str, list[int]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # local name -> (module, name in it)
    always: list[int] = field(default_factory=list)


class _Walk:
    """The closure over definitions, gathered by a work list."""

    def __init__(self):
        self.outer: set[str] = set()
        self._wanted: dict[str, set[int]] = {}
        self._waiting: list[tuple[str, str | None]] = []
        self._seen: set[tuple[str, str | None]] = set()

    def want(self, module: str, name: str | None) -> None:
        """Include a definition, or with None a whole module, and all that it reaches."""
        self._waiting.append((module, name))
        while self._waiting:
            item = self._waiting.pop()
            if item not in self._seen:
                self._seen.add(item)
                self._visit(*item)

    def definitions(self) -> dict[str, str]:
        found = {}
        for name in self._wanted:
            module = _parsed(name)
            assert module is not None, "only modules that can be followed are wanted"
            if module.raw is not None:
                found[name] = _sha(module.raw)
                continue
            if not module.own:
                found[name] = _sha("".join(_normal(s) for s in module.statements))
                continue
            for i in self._wanted[name]:
                label = ",".join(sorted(n for n, at in module.binds.items() if i in at)) or f"statement {i}"
                text = _normal(module.statements[i])
                label = label if label[:9] != "statement" else f"statement {_sha(text)[:8]}"
                found[f"{name}:{label}"] = _sha(text)
        return found

    def _visit(self, name: str, wanted: str | None) -> None:
        if name in REGISTRIES:
            self._registry(name, wanted)
            return
        module = _parsed(name)
        if module is None:
            if _top(name) not in sys.stdlib_module_names:
                self.outer.add(_top(name))
            return
        included = self._wanted.setdefault(name, set())
        if not module.own or wanted is None or (wanted not in module.binds and wanted not in module.imports):
            submodule = f"{name}.{wanted}"
            if wanted is not None and _source(submodule) is not None:
                self._waiting.append((submodule, None))
                if module.own:
                    return
            new = set(range(len(module.statements)))
        elif wanted in module.imports:  # a package that only passes the name on
            self._waiting.append(module.imports[wanted])
            return
        else:
            new = set(module.binds[wanted]) | set(module.always)
        if not module.own:
            for parent in _parents(name):
                self._waiting.append((parent, None))
        for i in new - included:
            included.add(i)
            self._follow(module, module.statements[i])

    def _registry(self, name: str, wanted: str | None) -> None:
        """Of a registry only the names that it passes on from elsewhere count."""
        module = _parsed(name)
        if wanted and module and wanted in module.imports:
            self._waiting.append(module.imports[wanted])
        elif wanted and _source(f"{name}.{wanted}") is not None:
            self._waiting.append((f"{name}.{wanted}", None))

    def _follow(self, module: _Module, statement: ast.stmt) -> None:
        """Queue all that a statement refers to."""
        inner = dict(_imported(module.name, statement)) if not isinstance(statement, _IMPORTS) else {}
        attributes, whole = _loaded(statement)
        scope = {**module.imports, **inner}
        if not module.own:
            self._waiting += scope.values()
            for call in ast.walk(statement):
                self._dynamic(module, call)
            return
        for name in attributes.keys() | whole:
            if name in module.binds:
                for i in module.binds[name]:
                    if i not in self._wanted[module.name]:
                        self._waiting.append((module.name, name))
                        break
            if name in scope:
                target, inside = scope[name]
                if inside is None and name not in whole:
                    for attribute in attributes[name]:
                        self._waiting.append((target, attribute))
                else:
                    self._waiting.append((target, inside))

    def _dynamic(self, module: _Module, node: ast.AST) -> None:
        """Imports by name at run time, in a user's code: a constant name is followed, any other means the folder."""
        if not isinstance(node, ast.Call):
            return
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name not in ("import_module", "__import__") or not node.args:
            return
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            self._waiting.append((node.args[0].value, None))
            return
        root = _source(_top(module.name)) or _source(module.name)
        assert root is not None, "the module was read from its file"
        folder = root.parent.parent if root.name == "__init__.py" else root.parent
        for loaded, value in list(sys.modules.items()):
            file = getattr(value, "__file__", None)
            if file and Path(file).is_relative_to(folder) and _source(loaded) is not None:
                self._waiting.append((loaded, None))


_IMPORTS = (ast.Import, ast.ImportFrom)


@functools.cache
def _parsed(name: str) -> _Module | None:
    """The module's statements and names; None where it is not followed (installed, standard, absent)."""
    path = _source(name)
    if path is None:
        return None
    own = _top(name) in SUITE
    content = path.read_bytes()
    if path.suffix != ".py":
        return _Module(name, own, [], content)
    tree = _stripped(ast.parse(content))
    module = _Module(name, own, [s for s in tree.body if not isinstance(s, _IMPORTS)])
    for statement in tree.body:
        if isinstance(statement, _IMPORTS):
            module.imports.update(_imported(name, statement))
    for i, statement in enumerate(module.statements):
        bound = _bound(statement)
        for each in bound:
            module.binds.setdefault(each, []).append(i)
        if not bound or not isinstance(statement, _DEFINITIONS):
            module.imports.update(_imported(name, statement))
        if not bound:
            module.always.append(i)
    return module


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def _stripped(tree: ast.Module) -> ast.Module:
    """The tree without what cannot change a result."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [s for s in body if not _irrelevant(s)] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.decorator_list = [d for d in node.decorator_list if _decorator(d) not in REGISTERING]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return tree


def _irrelevant(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)  # a docstring, or a constant that nothing takes
    if isinstance(statement, ast.If):
        return getattr(statement.test, "id", getattr(statement.test, "attr", "")) == "TYPE_CHECKING"
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__"
    if isinstance(statement, ast.Assign):
        return [getattr(t, "id", "") for t in statement.targets] == ["__all__"]
    return False


def _decorator(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    return getattr(node, "attr", getattr(node, "id", ""))


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a top-level statement binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Expr):
        return set()
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _imported(module: str, statement: ast.AST) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """(local name, (module, name in it or None)) of all imports in a statement."""
    package = module if (_source(module) or Path()).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(statement):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    yield alias.asname, (alias.name, None)
                else:
                    yield _top(alias.name), (alias.name, None)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package or module)
            for alias in node.names:
                if alias.name == "*":
                    yield f"*{base}", (base, None)
                else:
                    yield alias.asname or alias.name, (base, alias.name)


def _loaded(statement: ast.AST) -> tuple[dict[str, set[str]], set[str]]:
    """Names that a statement loads: those it takes attributes of (name -> attributes), and those it takes whole."""
    attributes: dict[str, set[str]] = {}
    based = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            attributes.setdefault(node.value.id, set()).add(node.attr)
            based.add(id(node.value))
    whole = {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in based
    }
    return attributes, whole - set(dir(builtins))


def _normal(node: object) -> str:
    """A syntax tree as text that is the same for every Python version: absent and empty fields are left out."""
    if isinstance(node, ast.AST):
        skipped = ("ctx", "type_comment", "kind", "type_ignores")
        parts = [
            f"{name}={_normal(value)}"
            for name, value in ast.iter_fields(node)
            if name not in skipped and value is not None and value != []
        ]
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(map(_normal, node))}]"
    return f"{type(node).__name__}:{node!r}"


def _top(module: str) -> str:
    return module.partition(".")[0]


def _parents(module: str) -> Iterator[str]:
    while "." in module:
        module = module.rpartition(".")[0]
        yield module


@functools.cache
def _installed() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple(Path(paths[name]).resolve() for name in ("purelib", "platlib", "stdlib", "platstdlib"))


@functools.cache
def _source(module: str) -> Path | None:
    """The file of a module that no installed distribution and not the standard library owns; None otherwise."""
    if _top(module) in sys.stdlib_module_names:
        return None
    loaded = sys.modules.get(module)
    origin = getattr(loaded, "__file__", None)
    if origin is None:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, AttributeError, ValueError):
            return None
        origin = spec.origin if spec is not None else None
    if origin is None or not Path(origin).is_file():
        return None
    path = Path(origin)
    if path.suffix == ".pyc":
        return None
    return path if _top(module) in SUITE or not _is_installed(path.resolve()) else None


def _is_installed(path: Path) -> bool:
    """Whether a file is the standard library's or a distribution's: of this environment, its base, or the user's."""
    return bool(SITE_FOLDERS & set(path.parts)) or any(path.is_relative_to(folder) for folder in _installed())


# ---------------------------------------------------------------------------------------------- localizers


@dataclass(frozen=True)
class Identity:
    """What a localizer's results depend on.

    Attributes:
        digest: SHA-256 (hex) over all parts.
        parts: name -> digest of each part ("settings", "state", "weights", "code models.x:Y", ...).
        environment: versions of the imported distributions; a mismatch is not part of the digest.
    """

    digest: str
    parts: Mapping[str, str]
    environment: Mapping[str, str]


def identify(localizer: object, weights: str | None = None) -> Identity:
    """The identity of a built localizer.

    Args:
        localizer: an instance of a `Localizer` class.
        weights: the file or folder that was given for it, if any; its bytes count, its path does not.

    Raises:
        IdentityError: it holds something that cannot be digested; the message names it.
    """
    cls = type(localizer)
    own = _top(cls.__module__) in SUITE
    declared = getattr(localizer, "identity_parts", lambda: None)()
    parts: dict[str, str] = {}
    if weights is not None:
        parts["weights"] = file_digest(Path(weights))
    if declared is not None:
        parts |= {f"part {i}": file_digest(v) if isinstance(v, Path) else _sha(v) for i, v in enumerate(declared)}
    code = code_digest(f"{cls.__module__}:{cls.__qualname__.partition('.')[0]}")
    parts |= {f"code {name}": digest for name, digest in code.definitions.items()}
    if declared is None:
        state = _State(cls.card.name if hasattr(cls, "card") else cls.__qualname__, own, weights)
        skipped = UNKEYED if own else frozenset(RESOURCES)
        for name, value in sorted(vars(localizer).items()):
            if name not in skipped:
                parts[f"attribute {name}"] = state.digest(value, name)
        for name in sorted(state.modules - {cls.__module__}):
            if _source(name) is not None and name not in REGISTRIES:
                parts |= {f"code {n}": d for n, d in code_digest(name).definitions.items()}
    digest = _sha("\n".join([cls.__qualname__, *(f"{name} {parts[name]}" for name in sorted(parts))]))
    return Identity(digest, parts, environment(code.distributions))


def unrepeatable() -> Identity:
    """An identity that no other result has, for a localizer that is measured anew each time."""
    return Identity(_sha(os.urandom(32)), {}, environment(()))


class _State:
    """Digests of whatever a localizer holds; `modules` gathers where the classes of its objects are written."""

    def __init__(self, owner: str, own: bool, weights: str | None):
        self.owner, self.own, self.weights = owner, own, weights
        self.modules: set[str] = set()
        self._path: dict[int, int] = {}  # objects on the way from the root: a cycle is a place, not a value

    def digest(self, value: object, where: str) -> str:
        """SHA-256 (hex) of a value. Raises IdentityError."""
        return _sha(self._text(value, where))

    def _text(self, value: object, where: str) -> str:
        if value is None or isinstance(value, bool | int | float | complex | bytes):
            return f"{type(value).__name__}:{value!r}"
        if isinstance(value, str):
            return "weights" if value == self.weights else f"str:{value!r}"
        if isinstance(value, PurePath):
            return "weights" if str(value) == self.weights else f"path:{file_digest(Path(value))}"
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value, where)
        if id(value) in self._path:
            return f"cycle:{len(self._path) - self._path[id(value)]}"
        self._path[id(value)] = len(self._path)
        try:
            return _sha(self._compound(value, where))  # digested level by level: text within text would grow
        finally:
            del self._path[id(value)]

    def _array(self, value: np.ndarray | np.generic, where: str) -> str:
        array = np.asarray(value)
        if array.dtype.hasobject:
            return f"array:{array.shape}:{self._text(array.tolist(), where)}"
        return f"array:{array.dtype.str}{array.shape}:{_sha(np.ascontiguousarray(array).tobytes())}"

    def _compound(self, value: object, where: str) -> str:
        if isinstance(value, Mapping):
            items = [(self._text(k, where), self._text(v, f"{where}[{k!r}]")) for k, v in value.items()]
            return f"map:{sorted(items)}"
        if isinstance(value, list | tuple):
            return f"{type(value).__name__}:{[self._text(v, f'{where}[{i}]') for i, v in enumerate(value)]}"
        if isinstance(value, set | frozenset):
            return f"set:{sorted(self._text(v, where) for v in value)}"
        if isinstance(value, type):
            self.modules.add(value.__module__)
            return f"class:{value.__module__}.{value.__qualname__}"
        if isinstance(value, enum.Enum):
            return f"enum:{value}"
        if isinstance(value, re.Pattern):
            return f"pattern:{value.pattern!r}:{value.flags}"
        if isinstance(value, types.ModuleType):
            return f"module:{value.__name__}"
        if isinstance(value, functools.partial):
            return f"partial:{self._text((value.func, value.args, value.keywords), where)}"
        if isinstance(value, types.MethodType):
            return f"method:{value.__func__.__qualname__}"
        if callable(value) and hasattr(value, "__qualname__"):
            return self._function(value, where)
        return self._torch(value, where) or self._object(value, where)

    def _function(self, value, where: str) -> str:
        module = getattr(value, "__module__", None) or ""
        self.modules.add(module)
        held = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        held += list(getattr(value, "__defaults__", None) or ())
        return f"function:{module}.{value.__qualname__}:{self._text(held, where)}"

    def _torch(self, value: object, where: str) -> str | None:
        torch = sys.modules.get("torch")
        if torch is None:
            return None
        if isinstance(value, torch.Tensor):
            plain = value.detach().cpu().contiguous()
            if plain.dtype == torch.bfloat16:
                plain = plain.view(torch.int16)
            return f"tensor:{value.dtype}:{self._array(plain.numpy(), where)}"
        if isinstance(value, torch.jit.ScriptModule):
            tensors = {**dict(value.named_parameters()), **dict(value.named_buffers())}
            return f"script:{value.code if hasattr(value, 'forward') else ''}:{self._text(tensors, where)}"
        if isinstance(value, torch.Generator):
            return self._text(value.get_state(), where)
        if isinstance(value, torch.device):
            return "device"
        if isinstance(value, torch.dtype | torch.Size | torch.memory_format | torch.layout):
            return str(value)
        return None

    def _object(self, value: object, where: str) -> str:
        cls = type(value)
        self.modules.add(cls.__module__)
        if cls.__module__ == "_thread" or cls.__module__ == "threading":
            return "lock"
        if isinstance(value, np.random.Generator):
            return self._text(value.bit_generator.state, where)
        if isinstance(value, random.Random):
            return self._text(value.getstate(), where)
        if dataclasses.is_dataclass(value) and _is_all_attributes(cls):
            held = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        elif _is_all_attributes(cls) and (hasattr(value, "__dict__") or _slots(cls)):
            held = dict(getattr(value, "__dict__", {}))
            held |= {n: getattr(value, n) for n in _slots(cls) if hasattr(value, n)}
        elif self.own:  # a session of another engine: the digest of its file is an attribute beside it
            return f"opaque:{cls.__qualname__}"
        else:
            raise IdentityError(
                f"{self.owner}: its attribute {where} is a {cls.__module__}.{cls.__qualname__}, whose content cannot "
                "be digested, so a stored result could be stale; define identity_parts() on the class, or use --fresh"
            )
        skipped = UNKEYED if self.own else ()
        held = {name: v for name, v in held.items() if name not in skipped}
        return f"object:{cls.__module__}.{cls.__qualname__}:{self._text(held, where)}"


def _is_all_attributes(cls: type) -> bool:
    """Whether an instance holds nothing but its attributes: one of a class in C, or derived from one, is larger."""
    pointers = (cls.__dictoffset__ > 0) + (cls.__weakrefoffset__ > 0) + len(_slots(cls))
    return cls.__basicsize__ == object.__basicsize__ + pointers * struct.calcsize("P")


def _slots(cls: type) -> list[str]:
    found = [getattr(c, "__slots__", ()) for c in inspect.getmro(cls)]
    names = [n for s in found for n in ((s,) if isinstance(s, str) else s)]
    return [n for n in names if n not in ("__dict__", "__weakref__")]


def file_digest(path: Path) -> str:
    """Digest of a file's bytes, or of all files below a folder with their names; "absent" where there is none."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return _sha("\n".join(f"{p.relative_to(path).as_posix()} {file_digest(p)}" for p in files))
    if not path.is_file():
        return "absent"
    status = path.stat()
    return _file(str(path), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _file(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha(content: str | bytes) -> str:
    return hashlib.sha256(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content).hexdigest()


# --------------------------------------------------------------------------------------------- environment


def environment(imported: Iterable[str]) -> dict[str, str]:
    """Distribution -> version, of the given top-level import names and of what every result passes through."""
    owners = _distributions()
    names = {owner for name in imported for owner in owners.get(name, ())} | set(ALWAYS)
    return {name: _version(name) for name in sorted(names, key=str.lower)}


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


@functools.cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
