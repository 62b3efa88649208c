"""Any tool, in any language and environment, judged where it lives: `--models exec:FILE.toml`.

FILE.toml says how the tool is run:

    command = ["env/bin/python", "predict.py"]   # program and arguments, no shell; a path is relative to `cwd`
    cwd = "."                  # working folder, relative to this file (default: this file's folder)
    env = { OMP_WAIT_POLICY = "passive" }        # added to PATH, HOME, language, OMP_NUM_THREADS and TMPDIR
    mode = "serve"             # "serve": one process answers for many images; "once": one process an image
    kind = "probability"       # what the map holds: "probability" (0..1), "logit" or "score"
    format = "npy"             # of the map's file: "npy", "npz", "png", "tiff" or "mat", see models/mapfile.py
    resize = "bilinear"        # or "nearest", where maps have another size than their image (default: refused)
    files = ["net.pth", "src"] # weights and code, relative to this file; folders with all they hold (default: none)
    version = "1.2"            # change it when something else changes that the maps depend on (default "")
    startup_s = 120            # until the tool is ready, in seconds
    image_s = 600              # until the map of an image is there
    devices = [0, 1]           # worker k sees CUDA_VISIBLE_DEVICES = devices[k mod n] (default: what this process sees)

**once**: the texts {image} and {output} in the command become the paths of the image and of the map to write. An exit
code other than 0 fails the image.

**serve**: the tool writes one line of JSON when it is ready, and then one for each line that it reads:

    tool   {"protocol": 1, "name": "my-net", "version": "1.2"}
    suite  {"id": 7, "image": "/job/7/image.jpg", "output": "/job/7/map.npy"}
    tool   {"id": 7, "map": "/job/7/map.npy", "image_score": 0.93}       the image_score may be left out
    tool   {"id": 8, "not_applicable": "no JPEG"}                          or {"id": 8, "error": "out of memory"}

Standard output is for these lines alone; everything else goes to standard error, whose last 2 kB are in the reason of a
failure. The image is a private copy: the JPEG's own bytes, or a PNG. Text that is no such answer, the tool's end, and
silence for too long fail the image; then the tool's process group is ended (SIGTERM, 5 s, SIGKILL) and started again.
Three failed starts in a row fail the localizer. When the suite dies, so does the tool.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import cv2

from models import Localizer, NotApplicable, WeightsMissing, register
from models.child import Child, ChildError, StartError, WorkerNumber, private_folder
from models.image import ForensicImage, ScoreMap
from models.mapfile import FORMATS, INTERPOLATIONS, KINDS, MapFileError, read_score_map
from models.toml import OneOf, Table, read_toml

PROTOCOL = 1
STARTS = 3  # failed ones in a row, after which the localizer is given up
LOG_SHOWN = 2048  # bytes of standard error in a reason
TEXT_SHOWN = 200  # characters of an answer in a reason
PLACEHOLDERS = ("{image}", "{output}")
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH",
             "CUDA_VISIBLE_DEVICES")  # fmt: skip


class ExecError(RuntimeError):
    """A tool, or the file that describes it, that cannot be used; the message names the file and the fix."""


@dataclass(frozen=True)
class Description(Table):
    """The content of FILE.toml, as the module's text explains it."""

    command: tuple[str, ...]
    mode: Annotated[str, OneOf("once", "serve")]
    kind: Annotated[str, OneOf(*KINDS)]
    format: Annotated[str, OneOf(*FORMATS)]
    cwd: str = "."
    env: dict[str, str] = field(default_factory=dict)
    resize: Annotated[str, OneOf(*INTERPOLATIONS)] | None = None
    files: tuple[str, ...] = ()
    version: str = ""
    startup_s: float = 120.0
    image_s: float = 600.0
    devices: tuple[int | str, ...] = ()

    def __post_init__(self):
        if not self.command:
            raise ValueError("command is empty; write [PROGRAM, ARGUMENT, ...]")
        absent = [text for text in PLACEHOLDERS if not any(text in word for word in self.command)]
        if self.mode == "once" and absent:
            raise ValueError(f'command lacks {" and ".join(absent)}, which mode = "once" replaces by paths')
        for name in ("startup_s", "image_s"):
            if not (0 < getattr(self, name) < threading.TIMEOUT_MAX):
                raise ValueError(f"{name} is {getattr(self, name):g}; write seconds, more than 0")
        if any("\0" in text for text in (*self.command, self.cwd, *self.files, *self.env, *self.env.values())):
            raise ValueError("a text holds the character 0, which no path or variable may")
        if any("=" in name or not name for name in self.env):
            raise ValueError("env: a variable's name is empty or holds =")


@register(
    "exec",
    title="A tool in a process of its own",
    paper="none: the tool of another project",
    summary="Runs a program of any language and environment, as a TOML file says. Name it: exec:FILE.toml",
    argument="file",
)
class ExternalTool(Localizer):
    """The tool that a file describes, see this module's text. Each thread has a process of its own.

    Raises WeightsMissing when no file is named, and ExecError for a file that does not fit or names what is not there.
    """

    def __init__(self, file: str = ""):
        if not file:
            raise WeightsMissing("exec runs the tool of a description; name it: --models exec:FILE.toml")
        if os.name != "posix":
            raise ExecError("exec: needs a POSIX system; on Windows, run it in WSL")
        self.file = file
        home = Path(file).resolve().parent
        self.description = read_toml(file, Description, ExecError)
        self._cwd = home / Path(self.description.cwd).expanduser()
        if not self._cwd.is_dir():
            raise ExecError(f"{file}: cwd: {self._cwd} is no folder")
        self._files = [home / Path(name).expanduser() for name in self.description.files]
        for path in self._files:
            if not path.exists():
                raise ExecError(f"{file}: files: {path} does not exist")
        self._program = self._find_program()
        self._failed_starts = 0
        self._why = ""
        self._local = threading.local()

    @classmethod
    def is_network(cls) -> bool:
        """Yes, to the suite: a worker holds one at a time."""
        return True

    def settings(self) -> dict[str, object]:
        """None: `identity_parts` says what counts."""
        return {}

    def identity_parts(self) -> Iterator[bytes | Path]:
        """What the maps can depend on, wherever it lies: settings, version, and the bytes of program and files.

        A word of the command or of `env` that is a path counts by the file's content, or not at all.
        """
        stated = self.description
        yield repr((stated.mode, stated.kind, stated.format, stated.resize, stated.version)).encode()
        yield Path(self._program)
        for word in stated.command[1:]:
            yield from self._content(word)
        for name, value in sorted(stated.env.items()):
            yield name.encode()
            yield from self._content(value)
        for path in self._files:
            members = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            for member in members:
                yield member.relative_to(path).as_posix().encode()
                yield member

    def localize(self, image: ForensicImage) -> ScoreMap:
        """The tool's map. Raises NotApplicable where the tool says so, and ExecError for whatever goes wrong."""
        if self._failed_starts >= STARTS:
            raise ExecError(f"{self.file}: it was given up after {STARTS} failed starts: {self._why}")
        return self._once(image) if self.description.mode == "once" else self._serve(image)

    def _once(self, image: ForensicImage) -> ScoreMap:
        holder, folder = WorkerNumber(str(Path(self.file).resolve())), private_folder()
        source, target = self._written(image, folder)
        paths = dict(zip(PLACEHOLDERS, (str(source), str(target)), strict=True))
        words = [_replaced(word, paths) for word in self.description.command[1:]]
        child = Child([self._program, *words], self._cwd, self._environment(holder), folder, merge_output=True)
        try:
            try:
                code = child.wait(self.description.image_s)
                if code:
                    raise ChildError(child.ending)
                if not target.exists():
                    raise ChildError(f"{child.ending} and wrote no {target.name}")
            except StartError as error:
                raise self._failed_start(error, child) from error
            except ChildError as error:
                raise self._error(str(error), child) from error
            self._failed_starts = 0
            return self._map(self._inside(folder, target), image)
        finally:
            child.close()

    def _serve(self, image: ForensicImage) -> ScoreMap:
        child = self._ready_child()
        number = next(self._local.numbers)
        folder = child.folder / str(number)
        folder.mkdir()
        try:
            source, target = self._written(image, folder)
            try:
                child.send(json.dumps({"id": number, "image": str(source), "output": str(target)}))
                answer = _parsed(child.read_line(self.description.image_s))
                if type(answer.get("id")) is not int or answer["id"] != number:
                    raise ChildError(f"it answered {answer.get('id')!r} to the image with the id {number}")
                told = [key for key in ("map", "not_applicable", "error") if key in answer]
                if len(told) != 1 or not isinstance(answer[told[0]], str):
                    raise ChildError('an answer has one text: "map", "not_applicable" or "error"')
                image_score = _number(answer.get("image_score"))
            except ChildError as error:
                raise self._error(str(error), self._dropped()) from error
            if told == ["not_applicable"]:
                raise NotApplicable(_shortened(answer["not_applicable"]))
            if told == ["error"]:
                raise ExecError(f"{self.file}: the tool says: {_shortened(answer['error'])}")
            found = self._map(self._inside(child.folder, folder / answer["map"]), image)
            return found if image_score is None else ScoreMap(found.values, found.kind, image_score)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _ready_child(self) -> Child:
        """This thread's process, started where there is none that could answer."""
        child = getattr(self._local, "child", None)
        if child is not None and not child.waits():
            self._dropped()
            child = None
        if child is None:
            self._local.holder = WorkerNumber(str(Path(self.file).resolve()))
            self._local.numbers = itertools.count(1)
            command = [self._program, *self.description.command[1:]]
            environment = self._environment(self._local.holder)
            child = self._local.child = Child(command, self._cwd, environment, private_folder())
            try:
                hello = _parsed(child.read_line(self.description.startup_s))
                if hello.get("protocol") != PROTOCOL:
                    raise ChildError(f'it began with {_shortened(json.dumps(hello))}; expected {{"protocol": 1, ...}}')
                if self.description.version and hello.get("version") not in (None, self.description.version):
                    raise ChildError(f"it is version {hello['version']!r}, not {self.description.version!r}")
            except ChildError as error:
                raise self._failed_start(error, self._dropped()) from error
            self._failed_starts = 0
        return child

    def _failed_start(self, why: ChildError, child: Child) -> ExecError:
        self._failed_starts += 1
        failure = self._error(f"it did not start: {why}", child)
        self._why = str(failure).removeprefix(f"{self.file}: ")
        return failure

    def _dropped(self) -> Child:
        """End this thread's process; it is returned for its log."""
        child = self._local.child
        self._local.child = None
        child.close()
        return child

    def _error(self, what: str, child: Child) -> ExecError:
        log = child.log(LOG_SHOWN)
        return ExecError(f"{self.file}: {what}" + (f"; its last words: {log}" if log else ""))

    def _environment(self, holder: WorkerNumber) -> dict[str, str]:
        devices = self.description.devices
        return {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            **self.description.env,
            **({"CUDA_VISIBLE_DEVICES": str(devices[holder.value % len(devices)])} if devices else {}),
        }

    def _find_program(self) -> str:
        name = os.path.expanduser(self.description.command[0])
        where = {**os.environ, **self.description.env}.get("PATH", os.defpath)
        found = str(self._cwd / name) if "/" in name else shutil.which(name, path=where)
        if found is None or not os.access(found, os.X_OK) or Path(found).is_dir():
            raise ExecError(f"{self.file}: command: {found or name} is no program that can be run")
        return found

    def _content(self, word: str) -> Iterator[bytes | Path]:
        """What a word says: itself; of a path, also behind an =, the file's bytes or nothing."""
        option, separator, value = word.rpartition("=")
        yield f"{option}{separator}".encode()
        path = self._path(value)
        if path is not None and path.is_file():
            yield path
        elif path is None and not value.startswith(("/", "~")) and ":/" not in value:
            yield value.encode()

    def _path(self, text: str) -> Path | None:
        """What exists under this name, seen from the tool's working folder."""
        try:
            path = self._cwd / Path(text).expanduser()
            return path if text and path.exists() else None
        except (OSError, RuntimeError):  # longer than a name may be; a ~user that does not exist
            return None

    def _written(self, image: ForensicImage, folder: Path) -> tuple[Path, Path]:
        """The image's private copy, and where its map is to be written."""
        source = folder / ("image.png" if image.jpeg is None else "image.jpg")
        if image.jpeg is None:
            encoded = cv2.imencode(".png", image.rgb[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        source.write_bytes(image.jpeg if image.jpeg is not None else encoded)
        return source, folder / f"map{FORMATS[self.description.format][0]}"

    def _inside(self, private: Path, path: Path) -> Path:
        try:
            resolved = path.resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise ExecError(f"{self.file}: the map {_shortened(str(path))!r} is no path ({error})") from error
        if not resolved.is_relative_to(private.resolve()):
            raise ExecError(f"{self.file}: the map {path} does not lie in the folder that the tool was given")
        if resolved.suffix.lower() not in FORMATS[self.description.format]:
            raise ExecError(f"{self.file}: the map {path.name} is no {self.description.format} by its name")
        return resolved

    def _map(self, path: Path, image: ForensicImage) -> ScoreMap:
        stated = self.description
        try:
            return read_score_map(path, image.shape, stated.kind, stated.resize, stated_in=self.file)
        except MapFileError as error:
            raise ExecError(f"{self.file}: {str(error).replace(f'{path.parent}/', '')}") from error


def _replaced(word: str, paths: dict[str, str]) -> str:
    for placeholder, path in paths.items():
        word = word.replace(placeholder, path)
    return word


def _parsed(line: bytes) -> dict:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        shown = _shortened(line.decode(errors="replace"))
        raise ChildError(f"it wrote to standard output what is no JSON object: {shown}")
    return answer


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ChildError(f"its image_score is {value!r}, no finite number")
    return float(value)


def _shortened(text: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}..."
