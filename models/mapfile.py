"""Score maps in files, as other tools write them: .npy, .npz, .png, .tiff and MATLAB's .mat.

Nothing in a file is executed (no pickle), and a small file cannot claim gigabytes: what its header declares is checked
before anything is decoded.
"""

from __future__ import annotations

import math
import stat
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from models.image import ScoreMap

FORMATS = {"npy": (".npy",), "npz": (".npz",), "png": (".png",), "tiff": (".tiff", ".tif"), "mat": (".mat",)}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
KINDS = ("probability", "score", "logit")
INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST_EXACT}
MAX_PIXELS = 200_000_000  # of a map; the largest photos of the field have a tenth
_MATLAB_CLASSES = ("double", "single", "uint8", "uint16", "logical")


class MapFileError(ValueError):
    """A map that cannot be used; the message names the file and the fix."""


class _Damaged(ValueError):
    """Why a file is no readable map, without its name."""


class _Stored(NamedTuple):
    values: np.ndarray
    image_score: float | None


def read_score_map(
    path: Path, shape: tuple[int, int], kind: str, resize: str | None = None, *, stated_in: str
) -> ScoreMap:
    """The score map in a file, at the size of its image.

    The values are, by the file's suffix: .npy: a 2-D array; .npz and .mat: the array `map`, or the only one, and
    optionally the number `score`, the tool's image-level score; .png and .tiff: one channel or equal ones. Unsigned
    integers of 8 and 16 bits are scaled to 0..1.

    Args:
        path: the file.
        shape: (height, width) of the image.
        kind: "probability" (0..1), "score" or "logit", as in ScoreMap.
        resize: "bilinear" or "nearest" for maps of another size than their image; None refuses them.
        stated_in: the file in which the user states kind and resize, for messages.

    Raises:
        MapFileError: unreadable or damaged, NaN or infinity, another size, values that the kind does not have.
    """
    try:
        values, image_score = _read(path)
    except OSError as error:
        raise MapFileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, TypeError, KeyError, EOFError, NotImplementedError, MemoryError, OverflowError,
            zipfile.BadZipFile, zlib.error, cv2.error) as error:  # fmt: skip
        raise MapFileError(f"{path}: not a readable map ({error}); write it again") from error
    values = _floats(values, kind, path)
    if not np.isfinite(values).all():
        raise MapFileError(f"{path}: NaN or infinity in {int((~np.isfinite(values)).sum())} of {values.size} pixels")
    if image_score is not None and not math.isfinite(image_score):
        raise MapFileError(f"{path}: its image-level score is {image_score}; leave it out where there is none")
    if kind == "probability" and not (values.min() >= 0 and values.max() <= 1):
        raise MapFileError(
            f"{path}: values from {values.min():g} to {values.max():g} are no probabilities; "
            f'write kind = "score" or "logit" into {stated_in}'
        )
    if values.shape != shape:
        if resize is None:
            raise MapFileError(
                f"{path}: the map is {_size(values.shape)}, its image {_size(shape)} (height x width); write it at the "
                f'size of the image, or resize = "bilinear" or "nearest" into {stated_in}'
            )
        values = cv2.resize(values, shape[::-1], interpolation=INTERPOLATIONS[resize])
    return ScoreMap(values, kind, image_score)


def _read(path: Path) -> _Stored:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
        raise _Damaged("it is not an ordinary file")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        stored = _Stored(_read_npy(path), None)
    elif suffix == ".npz":
        stored = _read_npz(path)
    elif suffix == ".mat":
        stored = _read_mat(path)
    elif suffix in SUFFIXES:
        stored = _Stored(_read_picture(path), None)
    else:
        raise _Damaged(f"its name ends in none of {', '.join(SUFFIXES)}")
    if stored.values.ndim != 2 or not stored.values.size:
        raise _Damaged(f"it is {_size(stored.values.shape) or 'one number'}, and a map has height and width")
    return stored


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        _check_npy_header(file, path.stat().st_size)
    return np.load(path, allow_pickle=False)


def _check_npy_header(file, available: int) -> None:
    """Raises where the header of an .npy declares an object array, or more than there is or a map may have."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise _Damaged(f"version {version} of the .npy format is not known")
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise _Damaged("it holds Python objects, which are not loaded")
    if math.prod(shape) * dtype.itemsize > available:
        raise _Damaged(f"its header declares {_size(shape)} values of {dtype}, more than the file holds")
    _check_pixels(shape)


def _check_pixels(shape: tuple[int, ...]) -> None:
    if math.prod(shape) > MAX_PIXELS:
        raise _Damaged(f"its header declares {_size(shape)} values; a map has at most {MAX_PIXELS:,}")


def _read_npz(path: Path) -> _Stored:
    with zipfile.ZipFile(path) as archive:
        members = {Path(info.filename).stem: info for info in archive.infolist() if info.filename.endswith(".npy")}
        name = "map" if "map" in members or len(members) != 1 else next(iter(members))
        wanted = [name, *(["score"] if "score" in members and name != "score" else [])]
        for key in wanted:
            with archive.open(members[key]) as file:
                _check_npy_header(file, members[key].file_size)
    with np.load(path, allow_pickle=False) as arrays:
        return _Stored(arrays[name], float(arrays["score"].item()) if "score" in wanted[1:] else None)


def _read_mat(path: Path) -> _Stored:
    import scipy.io

    try:
        stored = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
        numbers = [name for name in stored if name != "score"]
        name = "map" if "map" in stored or len(numbers) != 1 else numbers[0]
        if name not in stored:
            raise _Damaged(f"it has no variable `map`, but {', '.join(stored) or 'none'}")
        wanted = [name, *(["score"] if "score" in stored and name != "score" else [])]
        for key in wanted:
            shape, kind = stored[key]
            if kind not in _MATLAB_CLASSES:
                raise _Damaged(f"its variable {key} is of the class {kind}")
            _check_pixels(shape)
        arrays = scipy.io.loadmat(path, variable_names=wanted)
    except NotImplementedError as error:
        raise _Damaged("MATLAB's format 7.3 is not read; save with '-v7'") from error
    except (OSError, _Damaged):
        raise
    except Exception as error:  # scipy's reader fails in as many ways as there are damages
        raise _Damaged(f"no MAT file, or a damaged one: {error}") from error
    return _Stored(arrays[name], float(arrays["score"].item()) if "score" in wanted[1:] else None)


def _read_picture(path: Path) -> np.ndarray:
    _check_pixels(_picture_size(path))
    values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise _Damaged("not an image that can be decoded")
    if values.ndim == 2:
        return values
    grey = values[:, :, 0]
    if not (values[:, :, :3] == grey[:, :, None]).all():
        raise _Damaged("a colour image is no score map; write one channel")
    return grey


def _picture_size(path: Path) -> tuple[int, ...]:
    try:
        with Image.open(path, formats=("PNG", "TIFF")) as image:
            return image.height, image.width
    except UnidentifiedImageError:  # among them TIFF of 64-bit numbers, which Pillow does not know
        import tifffile

        try:
            with tifffile.TiffFile(path) as file:
                return file.pages.first.shape
        except Exception as error:
            raise _Damaged("not an image that can be decoded") from error
    except (Image.DecompressionBombError, SyntaxError) as error:
        raise _Damaged(str(error)) from error


def _floats(values: np.ndarray, kind: str, path: Path) -> np.ndarray:
    if values.dtype in (np.uint8, np.uint16) and kind != "logit":
        values = values / np.float32(np.iinfo(values.dtype).max)
    elif values.dtype != bool and not np.issubdtype(values.dtype, np.floating):
        raise MapFileError(f"{path}: holds {values.dtype}, which is no {kind}; write float32")
    with np.errstate(over="ignore"):  # beyond float32: infinite, which the caller refuses
        return np.ascontiguousarray(values, np.float32)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
