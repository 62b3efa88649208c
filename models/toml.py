"""Reading TOML files into dataclasses, strictly: an unknown key, a wrong type or a value out of range is an error.

A file is described by dataclasses that derive from `Table`:

    @dataclass(frozen=True)
    class Stage(Table):
        steps: Annotated[int, Ge(1)] = 1000
        optimizer: Annotated[str, OneOf("adamw", "muon")] = "adamw"

    stage = read_toml("stage.toml", Stage)

pydantic does the checking; it is imported on the first use, because it takes a tenth of a second.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import tomllib
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")


class TomlError(ValueError):
    """A TOML file that cannot be used; the message names the file, the key and the fix."""


class Table:
    """Base of the dataclasses that describe a table of a TOML file: no unknown keys, no converted types."""

    __pydantic_config__: ClassVar[dict] = {
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
        "arbitrary_types_allowed": True,
    }


class OneOf:
    """Marks a text that must be one of those given: `Annotated[str, OneOf("adam", "muon")]`."""

    def __init__(self, *known: str):
        self.known = known

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import PydanticCustomError, core_schema

        def check(value: str) -> str:
            if value not in self.known:
                raise PydanticCustomError("one_of", _hint(value, self.known))
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))


def read_toml(path: str | os.PathLike, kind: type[T], error: type[Exception] = TomlError) -> T:
    """Read a TOML file (UTF-8, with or without a byte order mark) into a dataclass.

    Args:
        path: the file.
        kind: a dataclass derived from `Table`; tables within are dataclasses of that kind, too.
        error: the class of what is raised.

    Raises:
        error: the file cannot be read, is not TOML, or does not fit `kind`. The message begins with the path and
            names every key that is wrong.
    """
    return from_table(load_toml(path, error), kind, error, where=f"{path}: ")


def load_toml(path: str | os.PathLike, error: type[Exception] = TomlError) -> dict[str, Any]:
    """The plain content of a TOML file (UTF-8, with or without a byte order mark).

    Raises:
        error: the file cannot be read or is not TOML; the message begins with the path.
    """
    try:
        return tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror})") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise error(f"{path}: not a TOML file ({problem})") from problem


def from_table(table: dict[str, Any], kind: type[T], error: type[Exception] = TomlError, *, where: str = "") -> T:
    """The dataclass of a TOML file's content; lists become tuples, whole numbers become floats where asked for.

    Args:
        table: the content, as `load_toml` gives it.
        kind: a dataclass derived from `Table`.
        error: the class of what is raised.
        where: what its message begins with.

    Raises:
        error: the content does not fit; the message names every key that is wrong.
    """
    from pydantic import TypeAdapter, ValidationError

    try:  # in JSON, as in TOML, a tuple is written as a list
        return TypeAdapter(kind).validate_json(json.dumps(table, default=str))
    except ValidationError as problem:
        found = problem.errors(include_url=False, include_context=False)
        raise error(where + "; ".join(_explained(fault, kind) for fault in found)) from problem


def _explained(fault: Any, kind: type) -> str:
    """One fault that pydantic found, in words that name the key and what to write."""
    place = fault["loc"]
    key = _dotted(place)
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key {key}; {_hint(str(place[-1]), _keys(kind, place[:-1]), _dotted(place[:-1]))}"
    if fault["type"] == "one_of":
        return f"{key} is {fault['input']!r}; {fault['msg']}"
    if fault["type"] == "missing":
        return f"{key} is missing"
    if fault["type"] == "dataclass_type":
        return f"{key} is a table ([{key}]), not a value"
    if fault["type"] == "value_error":  # raised by the dataclass's own __post_init__
        return f"{f'{key}: ' if key else ''}{fault['msg'].removeprefix('Value error, ')}"
    return f"{key}: {fault['msg'][0].lower()}{fault['msg'][1:]}, got {fault['input']!r}"


def _dotted(place: Iterable[str | int]) -> str:
    """`variants[1].name` of ("variants", 1, "name")."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _hint(name: str, known: Iterable[str], prefix: str = "") -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {prefix and prefix + '.'}{near[0]}?" if near else f"known: {', '.join(known)}"


def _keys(kind: Any, place: Iterable[str | int]) -> list[str]:
    """The keys of the table at `place` below a dataclass."""
    for part in place:
        if isinstance(part, str):
            kind = typing.get_type_hints(kind).get(part)
        while not dataclasses.is_dataclass(kind) and typing.get_args(kind):
            kind = next((a for a in typing.get_args(kind) if dataclasses.is_dataclass(a)), None)
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
