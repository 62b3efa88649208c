"""Small checkpoints that would take gigabytes or for ever, written into a folder; see test_inert.py."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


def archive(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, compressed: bool = True) -> Path:
    """A file in torch.save's zip format with this pickle."""
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind, compresslevel=9 if compressed else None) as file:
        file.writestr("x/data.pkl", pickled)
        file.writestr("x/version", b"3\n")
        for name, data in (storages or {}).items():
            file.writestr(f"x/data/{name}", data)
    return path


def tensor(count: int, size: int, stride: int = 1, offset: int = 0) -> bytes:
    """Pickle code of a float32 tensor (size,) of the storage "0" of `count` numbers."""
    place = f"I{offset}\n(I{size}\nt(I{stride}\nt".encode()
    head = f"((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI{count}\ntQ".encode()
    return TENSOR + head + place + b"I00\nNtR"


def nested(depth: int = 60) -> bytes:
    """Dicts in which two keys of each lead to the next: 2^depth ways."""
    inner = {"w": 1}
    for _ in range(depth):
        inner = {"a": inner, "b": inner}
    return pickle.dumps({"state": inner}, 2)


def doubled_tuple(depth: int = 60) -> bytes:
    """A dict whose key is a tuple of two tuples of two tuples ...: its hash takes 2^depth steps."""
    inner: tuple = ()
    for _ in range(depth):
        inner = (inner, inner)
    code = pickle.dumps(inner, 2)[:-1]
    return b"}" + code.removeprefix(b"\x80\x02") + b"K\x01s."


def all_bombs(folder: Path) -> list[Path]:
    """Every bomb as a file, each below 100 kB."""
    zeros = bytes(4 * 4_000_000)
    views = b"(d" + b"".join(b"S'w%d'\n" % i + tensor(4_000_000, 4_000_000) + b"s" for i in range(400)) + b"."
    copies = b"\x80\x02" + pickle.dumps([(i, i) for i in range(20_000)], 2)[2:-1] + b"r\xff\xff\x00\x000("
    copies += b"ccollections\nOrderedDict\n(j\xff\xff\x00\x00tR" * 30_000 + b"t."
    declared = b"(dS'w'\n" + tensor(1_600_000_000, 1_600_000_000) + b"s."
    stretched = b"(dS'w'\n" + tensor(4, 1_600_000_000) + b"s."
    bombs = {
        "ways": (nested(), {}),
        "hash": (doubled_tuple(), {}),
        "views": (views, {"0": zeros}),
        "copies": (copies, {}),
        "memo": (b"\x80\x02}r" + struct.pack("<I", 2**31 - 2) + b".", {}),
        "sets": (b"\x80\x04" + b"\x8f" * 30_000_000 + b".", {}),
        "declared": (declared, {"0": b"\0" * 16}),
        "stretched": (stretched, {"0": b"\0" * 16}),
        "array": (b"\x80\x05\x96" + struct.pack("<Q", 6_500_000_000) + b".", {}),
        "named": (b"(dS'w'\n" + b"cbuiltins\nbytearray\n(I6500000000\ntR" + b"s.", {}),
    }
    files = [archive(folder / f"{name}.pth", code, storages) for name, (code, storages) in bombs.items()]
    former = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(part, former, 2)
    files.append(folder / "former.pth")
    files[-1].write_bytes(former.getvalue() + nested())
    return files


if __name__ == "__main__":
    import re
    import sys
    import time

    from models import WeightsError
    from models.checkpoint import convert, read_checkpoint

    for bomb in all_bombs(Path(sys.argv[1])):
        for how in (read_checkpoint, lambda file: convert(file, file.with_suffix(".safetensors"))):
            begin = time.perf_counter()
            try:
                how(bomb)
                outcome = "read"
            except WeightsError as error:
                outcome = str(error).partition(": ")[2]
            # not getrusage: its peak is that of the parent where this process was begun without a copy of it
            peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024
            print(f"{bomb.stem} {bomb.stat().st_size} {peak} {time.perf_counter() - begin:.1f} {outcome}", flush=True)
