"""Checkpoints that hold Python objects, read for their tensors alone: nothing in the file is imported or called.

A pickle is a program: it names functions and calls them. Here every name stands for an inert class of this module.
Those of PyTorch's storages and of its functions that put a tensor together keep what they are given; the tensors
are then cut out of the stored bytes. All other names (argparse.Namespace, os.system, ...) become placeholders that
forget whatever is done with them.

A small file can ask for much: objects that refer to one another so that there are 2^60 ways through them, one large
object copied again and again, tensors that all show the same bytes, archives that unpack to a thousand times their
size. What it may take is bounded by the file's own size.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import torch
from torch import Tensor

from models import WeightsError
from models.lookalikes import refuse_lookalikes

SLACK = 64 * 2**20  # bytes that a small file may take beyond AMPLIFICATION times its own
AMPLIFICATION = 16  # a tensor may occur several times in a file that stores it once
MOST_MAPPINGS, MOST_ENTRIES, MOST_CONTAINERS, MOST_TENSORS = 10_000, 2_000_000, 100, 100_000
LONGEST_NAME = 4096
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
CONTAINER_SEPARATOR = "/"  # between the key of a container and a tensor's name, where a file keeps several
_DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128,
}  # fmt: skip


@dataclass(frozen=True)
class ExtractedTensors:
    """What a conversion leaves.

    tensors: by name; of several containers the names begin with the container's key and CONTAINER_SEPARATOR.
    containers: key -> number of tensors; the key is "" for the file's own top level. dropped: key -> what lay there,
    in words. names: the Python names in the file that were not resolved, with how often each occurred.
    """

    tensors: dict[str, Tensor]
    containers: dict[str, int]
    dropped: dict[str, str]
    names: dict[str, int]


def read_tensors(path: str | os.PathLike, key: str | None = None) -> ExtractedTensors:
    """The state dicts in a file that torch.save wrote, in the present (zip) or the former format.

    A state dict is a mapping with text keys that holds more tensors than other things; what else it holds is
    dropped. Mappings are searched as long as their keys are text, so that an optimizer's tensors, which it numbers,
    are not found. The only state dict keeps its tensors' names; several are all kept, under their keys.
    key: of the only one to keep ("model", or "model.ema" for one inside another).

    Raises WeightsError for a file that is damaged, is TorchScript, or has no state dict (under that key).
    """
    path = Path(path)
    try:
        refuse_lookalikes(path)
        with path.open("rb") as file:
            content, names, read, _ = _read(file)
            found = _state_dicts(content)
            if not found or (key is not None and key not in found):
                what = "no state dict" if key is None else f"no state dict under {key!r}"
                has = f"has them under {', '.join(map(repr, found))}" if found else f"holds {_in_words(content)}"
                raise WeightsError(f"{path}: {what}; it {has}")
            chosen = found if key is None else {key: found[key]}
            items = {}
            for container, entries in chosen.items():
                prefix = container + CONTAINER_SEPARATOR if len(chosen) > 1 else ""
                items |= {prefix + name: item for name, item in entries.items() if _is_tensor(item)}
            _bound(items.values(), path.stat().st_size)
            tensors = _cut(items, read)
            counts = {container: sum(map(_is_tensor, entries.values())) for container, entries in chosen.items()}
            return ExtractedTensors(tensors, counts, dict(_dropped(content, set(chosen))), dict(names))
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except Exception as error:  # whatever a damaged or hostile pickle brings about
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: damaged, truncated or not written by torch.save ({reason})") from error


def screen(path: Path) -> None:
    """Raises WeightsError where reading the file, by whatever reader, would take memory out of all proportion.

    What is wrong with it otherwise is left to that reader.
    """
    try:
        with path.open("rb") as file:
            _, _, _, tensors = _read(file)
            _bound(tensors, path.stat().st_size)
    except _TooMuch as error:
        raise WeightsError(f"{path}: damaged, truncated or not written by torch.save ({error})") from error
    except Exception:
        return


class _TooMuch(Exception):
    """The file asks for more than its size can justify."""


def _bound(tensors: Collection[_Tensor], size: int) -> None:
    """Raises _TooMuch for tensors that would take far more memory than the file has bytes."""
    total = sum(tensor.nbytes for tensor in tensors)
    if total > AMPLIFICATION * size + SLACK or len(tensors) > MOST_TENSORS:
        raise _TooMuch(f"{len(tensors)} tensors of {total:,} bytes in a file of {size:,}")


def _cut(items: Mapping[str, _Tensor], read: Callable[[_Storage], bytes]) -> dict[str, Tensor]:
    """The tensors, in order, each with memory of its own; every storage is read once."""
    tensors: dict[str, Tensor | None] = dict.fromkeys(items)
    by_storage: dict[int, list[str]] = {}
    for name, item in items.items():
        by_storage.setdefault(id(item.storage), []).append(name)
    for names in by_storage.values():
        storage = items[names[0]].storage
        data = bytearray(read(storage))
        if len(data) != storage.size:
            raise EOFError(f"{len(data)} of {storage.size} bytes of a tensor are there")
        for name in names:
            tensors[name] = items[name].cut(data)
    return tensors


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


class _Storage:
    """Bytes in the file: `count` numbers under a key."""

    def __init__(self, dtype: torch.dtype, key: str, count: int):
        if count < 0:
            raise pickle.UnpicklingError("a storage of negative size")
        self.dtype, self.key, self.count = dtype, key, count
        self.size = count * dtype.itemsize

    def __setstate__(self, state):
        pass


class _Tensor(_Inert):
    """torch._utils._rebuild_tensor and its successors: where in a storage a tensor lies."""

    def __init__(self, storage, offset, size, stride, *rest):
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor without a storage")
        # the third version adds the type, because its storage is of bytes: gradient flag, hooks, type, metadata
        self.dtype = next((item for item in rest[:8] if isinstance(item, torch.dtype)), storage.dtype)
        self.storage, self.place = storage, (_whole(size), _whole(stride), *_whole((offset,)))
        if min(self.place[0], default=0) < 0:
            raise pickle.UnpicklingError("a tensor of negative size")
        self.nbytes = math.prod(self.place[0]) * self.dtype.itemsize
        if self.nbytes > max(storage.size, self.dtype.itemsize):
            raise _TooMuch(f"a tensor of {self.place[0]} is larger than its storage")

    def cut(self, data: bytearray) -> Tensor:
        """The tensor, with memory of its own. Raises where it does not lie within its storage."""
        size, stride, offset = self.place
        whole = torch.frombuffer(data, dtype=self.dtype) if data else torch.empty(0, dtype=self.dtype)
        return whole.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)


def _whole(numbers: object) -> tuple[int, ...]:
    if not isinstance(numbers, (tuple, list)) or len(numbers) > 64 or not all(type(n) is int for n in numbers):
        raise pickle.UnpicklingError("a tensor's size, stride or offset is no list of whole numbers")
    return tuple(numbers)


class _Parameter(_Inert):
    """torch._utils._rebuild_parameter and _rebuild_parameter_with_state: the tensor itself."""

    def __new__(cls, data, *rest):
        return data


class _Subclassed(_Inert):
    """torch._tensor._rebuild_from_type_v2: a tensor with attributes."""

    def __new__(cls, function, kind, args, state):
        return _Tensor(*args[:16]) if issubclass(function, _Tensor) else _Inert()


_KNOWN = {
    ("collections", "OrderedDict"): _Mapping,
    ("torch._utils", "_rebuild_tensor"): _Tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _Parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _Subclassed,
}


class _Unpickler(pickle._Unpickler):
    """Resolves no name by importing; `storages` are those that the file refers to, by key.

    The standard library's unpickler in Python, not the one in C, whose table of memorized objects grows to any index
    that the file names. Keys of dicts and members of sets are plain values or placeholders: the hash of nested tuples
    may take 2^60 steps.
    """

    dispatch: ClassVar[dict] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO, size: int, encoding: str = "utf-8"):
        super().__init__(file, encoding=encoding)
        self.names: Counter[str] = Counter()
        self.storages: dict[str, _Storage] = {}
        self.tensors: list[_Tensor] = []
        self._placeholders: dict[str, type] = {}
        self._left = AMPLIFICATION * size + 2**20  # items that calls may be given in all

    def find_class(self, module: str, name: str) -> type | torch.dtype:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        full = f"{module}.{name}"
        if full not in self._placeholders:
            dtype = _DTYPES.get(name) if module == "torch" else None
            if full == "torch.storage.UntypedStorage":
                dtype = torch.uint8
            if dtype is not None:
                self._placeholders[full] = type(name, (_Inert,), {"dtype": dtype, "what": full})
            elif module == "torch" and isinstance(torch.__dict__.get(name), torch.dtype):
                return torch.__dict__[name]
            else:
                self._placeholders[full] = type("Placeholder", (_Inert,), {"what": full})
        if not hasattr(self._placeholders[full], "dtype"):
            self.names[full] += 1
        return self._placeholders[full]

    def persistent_load(self, reference: tuple) -> object:
        if reference[0] != "storage":  # former files also refer to the source text of a module's class
            return reference[1]
        _, kind, key, _, count, *_ = reference
        if not hasattr(kind, "dtype"):
            raise pickle.UnpicklingError(f"a storage of unknown type {getattr(kind, 'what', kind)}")
        if not isinstance(key, (str, int)):
            raise pickle.UnpicklingError("a storage without a name")
        return self.storages.setdefault(key, _Storage(kind.dtype, key, int(count)))

    def load_reduce(self) -> None:
        """REDUCE, a call: what it is given may be one large object time and again."""
        self._left -= sum(len(item) for item in self.stack[-1] if isinstance(item, (Sized, str)))
        self._left -= len(self.stack[-1])
        if self._left < 0:
            raise _TooMuch("objects are copied again and again")
        super().load_reduce()
        if _is_tensor(self.stack[-1]):
            self.tensors.append(self.stack[-1])

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({_plain_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_plain_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_plain_key(key)] = value

    def load_additems(self) -> None:
        items = self.pop_mark()
        for item in items:
            self.stack[-1].add(_plain_key(item))

    def load_frozenset(self) -> None:
        self.append(frozenset(map(_plain_key, self.pop_mark())))

    def load_bytearray8(self) -> None:
        raise pickle.UnpicklingError("a bytearray, which torch.save does not write")

    dispatch.update({
        code[0]: call
        for code, call in (
            (pickle.REDUCE, load_reduce), (pickle.DICT, load_dict), (pickle.SETITEM, load_setitem),
            (pickle.SETITEMS, load_setitems), (pickle.ADDITEMS, load_additems), (pickle.FROZENSET, load_frozenset),
            (pickle.BYTEARRAY8, load_bytearray8),
        )
    })  # fmt: skip


def _plain_key(key: object) -> object:
    if isinstance(key, tuple) and any(isinstance(item, (tuple, frozenset)) for item in key):
        raise _TooMuch("tuples of tuples as keys")
    return key if isinstance(key, (str, bytes, int, float, type(None))) else _Inert()


Content = tuple[object, Counter, Callable[[_Storage], bytes], list[_Tensor]]


def _read(file: BinaryIO) -> Content:
    """The file's content, the names in it, what reads a storage, and all its tensors."""
    if zipfile.is_zipfile(file):
        return _read_zip(zipfile.ZipFile(file), os.fstat(file.fileno()).st_size)
    return _read_legacy(file)


def _read_zip(archive: zipfile.ZipFile, size: int) -> Content:
    entries = archive.namelist()
    pickled = next((name for name in entries if name.partition("/")[2] == "data.pkl"), None)
    if pickled is None:
        raise WeightsError(f"{archive.fp.name}: a zip archive without data.pkl, not written by torch.save")
    root = pickled.removesuffix("data.pkl")
    if root + "constants.pkl" in entries:
        raise WeightsError(f"{archive.fp.name}: TorchScript, a network with its code; use --models torchscript:FILE")
    if root + "byteorder" in entries and archive.read(root + "byteorder") == b"big":
        raise WeightsError(f"{archive.fp.name}: written on a big-endian machine, which is not supported")
    unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > AMPLIFICATION * size + SLACK:
        raise _TooMuch(f"an archive of {size:,} bytes unpacks to {unpacked:,}")
    entry = archive.getinfo(pickled)
    if entry.file_size > AMPLIFICATION * entry.compress_size + 2**20:
        raise _TooMuch(f"data.pkl unpacks to {entry.file_size:,} bytes from {entry.compress_size:,}")
    unpickler = _Unpickler(io.BytesIO(archive.read(pickled)), entry.file_size)
    content = unpickler.load()

    def read(storage: _Storage) -> bytes:
        name = f"{root}data/{storage.key}"
        if archive.getinfo(name).file_size != storage.size:
            raise EOFError(f"{name} has not the {storage.size} bytes that its tensors need")
        return archive.read(name)

    return content, unpickler.names, read, unpickler.tensors


def _read_legacy(file: BinaryIO) -> Content:
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    if _Unpickler(file, size).load() != LEGACY_MAGIC:
        raise pickle.UnpicklingError("no file of torch.save begins like this")
    for _ in ("version of the format", "sizes of the machine's types"):
        _Unpickler(file, size).load()
    unpickler = _Unpickler(file, size)
    content = unpickler.load()
    places = {}
    for key in _Unpickler(file, size).load():  # each storage: the count of its numbers in 8 bytes, then the numbers
        storage = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.count:
            raise EOFError(f"storage {key} has not the {storage.count} numbers that its tensors need")
        places[key] = file.tell()
        file.seek(storage.size, os.SEEK_CUR)

    def read(storage: _Storage) -> bytes:
        file.seek(places[storage.key])
        return file.read(storage.size)

    return content, unpickler.names, read, unpickler.tensors


def _is_tensor(item: object) -> bool:
    return isinstance(item, _Tensor)


def _has_text_keys(item: object) -> bool:
    return isinstance(item, Mapping) and bool(item) and all(isinstance(key, str) for key in item)


def _state_dicts(content: object) -> dict[str, Mapping[str, object]]:
    """The state dicts in a mapping by the dotted keys that lead to them."""
    found: dict[str, Mapping[str, object]] = {}
    pending, mappings, entries = [("", content)], 0, 0
    while pending:
        key, item = pending.pop()
        if not _has_text_keys(item):
            continue
        mappings, entries = mappings + 1, entries + len(item)
        many = mappings > MOST_MAPPINGS or entries > MOST_ENTRIES or len(found) > MOST_CONTAINERS
        if many or max(map(len, item)) + len(key) > LONGEST_NAME:
            raise _TooMuch("dicts within dicts without end")
        if 2 * sum(map(_is_tensor, item.values())) > len(item):
            found[key] = item
        inner = [(name, value) for name, value in item.items() if isinstance(value, Mapping)]
        pending += [(f"{key}.{name}" if key else name, value) for name, value in reversed(inner)]
    return found


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
