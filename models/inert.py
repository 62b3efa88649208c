"""Checkpoints that hold Python objects, read for their tensors alone: nothing in the file is imported or called.

A pickle is a program: it names functions and calls them. Here every name stands for an inert class of this module.
Those of PyTorch's storages and of its functions that put a tensor together keep what they are given; the tensors
are then cut out of the stored bytes. All other names (argparse.Namespace, os.system, ...) become placeholders that
forget whatever is done with them.
"""

from __future__ import annotations

import math
import os
import pickle
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from models import WeightsError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
CONTAINER_SEPARATOR = "/"  # between the key of a container and a tensor's name, where a file keeps several
_DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """What a conversion leaves.

    tensors: by name; of several containers the names begin with the container's key and CONTAINER_SEPARATOR.
    containers: key -> number of tensors; the key is "" for the file's own top level. dropped: key -> what lay there,
    in words. names: the Python names in the file that were not resolved, with how often each occurred.
    """

    tensors: dict[str, Tensor]
    containers: dict[str, int]
    dropped: dict[str, str]
    names: dict[str, int]


def read_tensors(path: str | os.PathLike, key: str | None = None) -> Kept:
    """The state dicts in a file that torch.save wrote, in the present (zip) or the former format.

    A state dict is a mapping with text keys that holds more tensors than other things; what else it holds is
    dropped. Mappings are searched as long as their keys are text, so that an optimizer's tensors, which it numbers,
    are not found. The only state dict keeps its tensors' names; several are all kept, under their keys.
    key: of the only one to keep ("model", or "model.ema" for one inside another).

    Raises WeightsError for a file that is damaged, is TorchScript, or has no state dict (under that key).
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            archive = zipfile.ZipFile(file) if zipfile.is_zipfile(file) else None
            content, names, read = _read_zip(archive) if archive else _read_legacy(file)
            found = dict(_state_dicts(content))
            if not found or (key is not None and key not in found):
                what = "no state dict" if key is None else f"no state dict under {key!r}"
                has = f"has them under {', '.join(map(repr, found))}" if found else f"holds {_in_words(content)}"
                raise WeightsError(f"{path}: {what}; it {has}")
            chosen = found if key is None else {key: found[key]}
            tensors = {}
            for container, entries in chosen.items():
                prefix = container + CONTAINER_SEPARATOR if len(chosen) > 1 else ""
                tensors |= {prefix + name: item.cut(read) for name, item in entries.items() if _is_tensor(item)}
            counts = {container: sum(map(_is_tensor, entries.values())) for container, entries in chosen.items()}
            return Kept(tensors, counts, dict(_dropped(content, set(chosen))), dict(names))
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except Exception as error:  # whatever a damaged or hostile pickle brings about
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: damaged, truncated or not written by torch.save ({reason})") from error


class _Inert:
    """Stands for a name of the file; takes whatever a pickle can do to a class or its instance, and forgets it."""

    what = "object"

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs):
        return _Inert()

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, item):
        pass

    extend = add = append


class _Mapping(dict):
    """collections.OrderedDict; its attributes (`_metadata` of a state dict) are forgotten."""

    def __setstate__(self, state):
        pass


@dataclass(frozen=True)
class _Storage:
    """Bytes in the file: `count` numbers under a key."""

    dtype: torch.dtype
    key: str
    count: int

    @property
    def size(self) -> int:
        return self.count * self.dtype.itemsize


class _Tensor(_Inert):
    """torch._utils._rebuild_tensor and its successors: where in a storage a tensor lies."""

    def __init__(self, storage, offset, size, stride, *rest):
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor without a storage")
        # the third version adds the type, because its storage is of bytes: gradient flag, hooks, type, metadata
        dtype = next((item for item in rest if isinstance(item, torch.dtype)), storage.dtype)
        self.storage, self.dtype, self.place = storage, dtype, (tuple(size), tuple(stride), offset)

    def cut(self, read: Callable[[_Storage], bytes]) -> Tensor:
        """The tensor, with memory of its own. Raises where it does not lie within its storage."""
        data = read(self.storage)
        if len(data) != self.storage.size:
            raise EOFError(f"{len(data)} of {self.storage.size} bytes of a tensor are there")
        size, stride, offset = self.place
        if math.prod(size) > max(self.storage.size // self.dtype.itemsize, 1):
            raise ValueError(f"a tensor of {size} is larger than its storage")
        whole = torch.frombuffer(bytearray(data), dtype=self.dtype) if data else torch.empty(0, dtype=self.dtype)
        return whole.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)


class _Parameter(_Inert):
    """torch._utils._rebuild_parameter and _rebuild_parameter_with_state: the tensor itself."""

    def __new__(cls, data, *rest):
        return data


class _Subclassed(_Inert):
    """torch._tensor._rebuild_from_type_v2: a tensor with attributes."""

    def __new__(cls, function, kind, args, state):
        return _Tensor(*args) if function is _Tensor else _Inert()


_KNOWN = {
    ("collections", "OrderedDict"): _Mapping,
    ("torch._utils", "_rebuild_tensor"): _Tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _Parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _Subclassed,
}


class _Unpickler(pickle.Unpickler):
    """Resolves no name by importing; `storages` are those that the file refers to, by key."""

    def __init__(self, file: BinaryIO, encoding: str = "utf-8"):
        super().__init__(file, encoding=encoding)
        self.names: Counter[str] = Counter()
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> type | torch.dtype:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch" and name in _DTYPES:
            return type(name, (_Inert,), {"dtype": _DTYPES[name], "what": f"torch.{name}"})
        if (module, name) == ("torch.storage", "UntypedStorage"):
            return type(name, (_Inert,), {"dtype": torch.uint8, "what": "torch.UntypedStorage"})
        if module == "torch" and isinstance(torch.__dict__.get(name), torch.dtype):
            return torch.__dict__[name]
        full = f"{module}.{name}"
        self.names[full] += 1
        return type("Placeholder", (_Inert,), {"what": full})

    def persistent_load(self, reference: tuple) -> object:
        if reference[0] != "storage":  # former files also refer to the source text of a module's class
            return reference[1]
        _, kind, key, _, count, *_ = reference
        if not hasattr(kind, "dtype"):
            raise pickle.UnpicklingError(f"a storage of unknown type {getattr(kind, 'what', kind)}")
        return self.storages.setdefault(key, _Storage(kind.dtype, key, int(count)))


def _read_zip(archive: zipfile.ZipFile) -> tuple[object, Counter, Callable[[_Storage], bytes]]:
    entries = archive.namelist()
    pickled = next((name for name in entries if name.partition("/")[2] == "data.pkl"), None)
    if pickled is None:
        raise WeightsError(f"{archive.fp.name}: a zip archive without data.pkl, not written by torch.save")
    root = pickled.removesuffix("data.pkl")
    if root + "constants.pkl" in entries:
        raise WeightsError(f"{archive.fp.name}: TorchScript, a network with its code; use --models torchscript:FILE")
    if root + "byteorder" in entries and archive.read(root + "byteorder") == b"big":
        raise WeightsError(f"{archive.fp.name}: written on a big-endian machine, which is not supported")
    with archive.open(pickled) as stream:
        unpickler = _Unpickler(stream)
        content = unpickler.load()

    def read(storage: _Storage) -> bytes:
        name = f"{root}data/{storage.key}"
        if archive.getinfo(name).file_size != storage.size:
            raise EOFError(f"{name} has not the {storage.size} bytes that its tensors need")
        return archive.read(name)

    return content, unpickler.names, read


def _read_legacy(file: BinaryIO) -> tuple[object, Counter, Callable[[_Storage], bytes]]:
    file.seek(0)
    if _Unpickler(file).load() != LEGACY_MAGIC:
        raise pickle.UnpicklingError("no file of torch.save begins like this")
    for _ in ("version of the format", "sizes of the machine's types"):
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    content = unpickler.load()
    places = {}
    for key in _Unpickler(file).load():  # each storage: the count of its numbers in 8 bytes, then the numbers
        storage = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.count:
            raise EOFError(f"storage {key} has not the {storage.count} numbers that its tensors need")
        places[key] = file.tell()
        file.seek(storage.size, os.SEEK_CUR)

    def read(storage: _Storage) -> bytes:
        file.seek(places[storage.key])
        return file.read(storage.size)

    return content, unpickler.names, read


def _is_tensor(item: object) -> bool:
    return isinstance(item, _Tensor)


def _has_text_keys(item: object) -> bool:
    return isinstance(item, Mapping) and bool(item) and all(isinstance(key, str) for key in item)


def _state_dicts(content: object, key: str = "") -> Iterator[tuple[str, Mapping[str, object]]]:
    """The state dicts in a mapping with the dotted keys that lead to them."""
    if not _has_text_keys(content):
        return
    if 2 * sum(map(_is_tensor, content.values())) > len(content):
        yield key, content
    for name, item in content.items():
        yield from _state_dicts(item, f"{key}.{name}" if key else name)


def _dropped(content: object, kept: set[str], key: str = "") -> Iterator[tuple[str, str]]:
    """Key and description of all that is not kept, at the outermost level that holds nothing kept."""
    for name, item in content.items() if _has_text_keys(content) else ():
        inner = f"{key}.{name}" if key else name
        if inner in kept or any(other.startswith(inner + ".") for other in kept):
            yield from _dropped(item, kept, inner)
        elif not (key in kept and _is_tensor(item)):
            yield inner, _in_words(item)


def _in_words(item: object) -> str:
    if _is_tensor(item):
        return "a tensor"
    if isinstance(item, Mapping):
        return f"a dict of {len(item)}"
    if isinstance(item, (list, tuple, set)):
        return f"a {type(item).__name__} of {len(item)}"
    if isinstance(item, (str, bytes)):
        return f"{type(item).__name__} of length {len(item)}"
    return item.what if isinstance(item, _Inert) else f"{type(item).__name__} {item!r:.40}"
