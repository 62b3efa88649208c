"""The built-in test set: forged on first use from the photos inside scikit-learn and scikit-image.

Eight splices, eight copy-moves, eight removals and eight authentic images of about 0.24 megapixels. Every
image gets a simulated camera history (sensor noise, demosaicing, JPEG with its own quality and grid), other
for donor and host, and is saved as JPEG or PNG, so that it carries the traces that localizers look for. It is
a demonstration, not a
scientific test set: seven photos are too few, and the histories are simulated.

The files are the same on every machine; `GOLDEN` is their digest.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import struct
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from bench.data import forge
from models.image import ImageError, encode_jpeg, read_image

VERSION = "1"
GOLDEN = "0060980d3deb64fb545034e9101dbb0f0833500ffaa59bb2002cbfd1cfabdf99"
NOTE = (
    "A demonstration, not a scientific test set: 32 images forged by a program from seven photos with "
    "simulated camera histories. It shows that the suite works and how curves read; it does not rank methods."
)


class BuiltinError(RuntimeError):
    """The built-in set cannot be made here; the message says what is missing."""


# ----------------------------------------------------------------------------------------------------- photos


@dataclass(frozen=True)
class Photo:
    """A photo inside an installed package.

    `scale` brings it to about 0.24 megapixels and blurs its own history.
    """

    package: str
    file: str
    scale: float
    credit: str


PHOTOS = {
    "astronaut": Photo("skimage", "data/astronaut.png", 0.95, "NASA, public domain"),
    "chelsea": Photo("skimage", "data/chelsea.png", 1.33, "Stefan van der Walt, CC0"),
    "china": Photo("sklearn", "datasets/images/china.jpg", 0.94, "danielbuechele, CC BY 2.0"),
    "coffee": Photo("skimage", "data/coffee.png", 1.0, "Rachel Michetti, CC0"),
    "flower": Photo("sklearn", "datasets/images/flower.jpg", 0.94, "vultilion, CC BY 2.0"),
    "motorcycle": Photo("skimage", "data/motorcycle_left.png", 0.8, "Middlebury 2014 stereo benchmark"),
    "motorcycle_right": Photo("skimage", "data/motorcycle_right.png", 0.8, "as motorcycle; the same scene"),
    "rocket": Photo("skimage", "data/rocket.jpg", 0.94, "SpaceX, public domain"),
}
# Things in the photos that are worth cutting out or covering: an ellipse (x, y, radius x, radius y, degrees)
# or the corners of a polygon, in pixels of the photo as shipped.
OBJECTS = {
    ("flower", "head"): (309, 221, 137, 137, 0),
    ("flower", "bud"): [(285, 427), (292, 395), (325, 382), (375, 378), (415, 378), (450, 392), (475, 427)],
    ("coffee", "spoon"): (366, 275, 44, 54, 10),
    ("coffee", "cup"): (290, 100, 125, 85, 0),
    ("chelsea", "left eye"): (171, 110, 40, 42, 0),
    ("chelsea", "right eye"): (318, 138, 30, 34, 0),
    ("astronaut", "patch"): (172, 376, 42, 46, 0),
    ("astronaut", "helmet"): (394, 432, 116, 84, 0),
    ("astronaut", "shuttle"): [
        *[(352, 285), (356, 222), (375, 200), (388, 105), (398, 85), (398, 20), (415, 0)],
        *[(435, 20), (440, 80), (458, 110), (462, 285)],
    ],
    ("rocket", "rocket"): (321, 268, 22, 148, 0),
    ("china", "roof"): [
        *[(104, 122), (165, 90), (190, 60), (198, 30)],
        *[(212, 30), (222, 60), (265, 92), (321, 122)],
    ],
    ("motorcycle", "wheel"): (199, 319, 84, 88, 0),
    ("motorcycle", "light"): (537, 152, 34, 40, 0),
}


# ---------------------------------------------------------------------------------------------------- recipes


@dataclass(frozen=True)
class Camera:
    """A history; None leaves a part out.

    Parts: sensor noise (standard deviation at mid-grey), colour filter, JPEG quality.
    """

    noise_std: float
    colour_filter: str | None
    quality: int | None
    subsampling: str = "4:2:0"


CAMERAS = {
    "compact": Camera(3.0, "RGGB", 75),
    "phone": Camera(4.5, "GRBG", 85),
    "reflex": Camera(1.5, "BGGR", 95, "4:4:4"),
    "raw": Camera(2.0, "GBRG", None),  # never compressed before the forgery: keeps its demosaicing traces
    "night": Camera(7.0, "RGGB", 65),
    "download": Camera(0.0, None, 60),
}


@dataclass(frozen=True)
class Recipe:
    """How one image is made.

    photo, camera: the host and its history. final: quality of the file, None for PNG.
    part: a thing of OBJECTS (photo, name), or (photo, share of the image) for a random outline.
    place: centre of the pasted part, (row, column) as shares of the host. scale, angle: of the pasted part.
    donor_camera: history of the donor, with a JPEG grid of its own. method: how a removal is filled.
    """

    kind: str
    photo: str
    camera: str
    final: int | None
    part: tuple[str, str | float] | None = None
    donor_camera: str = ""
    place: tuple[float, float] = (0.5, 0.5)
    scale: float = 1.0
    angle: float = 0.0
    match_colour: float = 0.0
    feather: int = 0
    method: str = ""

    @property
    def title(self) -> str:
        """Kind, photo and donor: what an image's name ends with."""
        donor = f"-{self.part[0]}" if self.kind == "splice" and self.part else ""
        return f"{self.kind}-{self.photo}{donor}"


def _splice(photo, camera, final, part, donor_camera, place=(0.5, 0.5), scale=1.0, match_colour=0.0, feather=0):
    options = dict(place=place, scale=scale, match_colour=match_colour, feather=feather)
    return Recipe("splice", photo, camera, final, part, donor_camera, **options)


def _copy_move(photo, camera, final, part, place, scale, angle, feather=0):
    return Recipe(
        "copy-move", photo, camera, final, (photo, part), place=place, scale=scale, angle=angle, feather=feather
    )


def _removal(photo, camera, final, part, method):
    return Recipe("removal", photo, camera, final, (photo, part), method=method)


RECIPES = (
    _splice("china", "compact", 92, ("flower", "head"), "phone", (0.25, 0.82), 0.45, feather=1),
    _splice("coffee", "night", 90, ("astronaut", "patch"), "reflex", (0.8, 0.85), 1.0, feather=1),
    _splice("rocket", "reflex", 85, ("astronaut", "shuttle"), "download", (0.35, 0.75), 0.6),
    _splice("motorcycle", "raw", None, ("astronaut", "helmet"), "night", (0.8, 0.2), 0.7, feather=1),
    _splice("astronaut", "phone", 95, ("coffee", "cup"), "compact", (0.2, 0.8), 0.6),
    _splice("flower", "compact", 90, ("chelsea", 0.06), "night", match_colour=0.7, feather=2),
    _splice("chelsea", "phone", None, ("china", 0.12), "download", match_colour=0.5),
    _splice("china", "reflex", 75, ("motorcycle", 0.2), "compact", match_colour=0.6, feather=2),
    _copy_move("flower", "phone", 90, "head", (0.25, 0.2), 0.55, 35, feather=1),
    _copy_move("rocket", "compact", 92, "rocket", (0.55, 0.68), 0.85, -6),
    _copy_move("china", "raw", None, "roof", (0.3, 0.75), 0.8, 10),
    _copy_move("astronaut", "reflex", 85, "patch", (0.72, 0.12), 0.9, -25, feather=1),
    _copy_move("coffee", "raw", 95, "spoon", (0.8, 0.15), 1.2, 60, feather=1),
    _copy_move("chelsea", "compact", 88, "left eye", (0.75, 0.35), 0.8, 15, feather=2),
    _copy_move("motorcycle", "night", 80, "wheel", (0.75, 0.85), 1.1, 0),
    _copy_move("china", "phone", None, 0.05, (0.25, 0.8), 1.0, 0, feather=1),
    _removal("rocket", "phone", 90, "rocket", "exemplar"),
    _removal("coffee", "compact", 92, "spoon", "telea"),
    _removal("astronaut", "raw", None, "shuttle", "exemplar"),
    _removal("astronaut", "night", 85, "patch", "ns"),
    _removal("motorcycle", "reflex", 90, "light", "exemplar"),
    _removal("flower", "compact", 75, "bud", "exemplar"),
    _removal("china", "raw", 95, 0.08, "telea"),
    _removal("chelsea", "phone", None, "right eye", "exemplar"),
    Recipe("authentic", "astronaut", "phone", 90),
    Recipe("authentic", "chelsea", "compact", 85),
    Recipe("authentic", "china", "reflex", None),
    Recipe("authentic", "coffee", "night", 92),
    Recipe("authentic", "flower", "raw", 95),
    Recipe("authentic", "motorcycle", "phone", 75),
    Recipe("authentic", "motorcycle_right", "raw", None),
    Recipe("authentic", "rocket", "compact", 90),
)


def load_photo(name: str) -> np.ndarray:
    """A photo as its package ships it, uint8 (H, W, 3). Raises BuiltinError where the package lacks it."""
    photo = PHOTOS[name]
    spec = importlib.util.find_spec(photo.package)
    if spec is None or spec.origin is None:
        raise BuiltinError(f"the built-in set needs the Python package {photo.package}; pip install it")
    path = Path(spec.origin).parent / photo.file
    try:
        return read_image(path).rgb
    except ImageError as error:
        raise BuiltinError(f"reinstall {photo.package}, whose photo cannot be read: {error}") from error


def object_mask(photo: str, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Mask of a thing in the photo as shipped, bool of `shape`."""
    canvas = np.zeros(shape, np.uint8)
    outline = OBJECTS[photo, name]
    if isinstance(outline, tuple):
        x, y, radius_x, radius_y, degrees = outline
        cv2.ellipse(canvas, (x, y), (radius_x, radius_y), degrees, 0, 360, 1, cv2.FILLED)
    else:
        cv2.fillPoly(canvas, [np.array(outline, np.int32)], 1)
    return canvas.view(bool)


def forge_image(recipe: Recipe, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The pixels that a recipe makes (before the final JPEG) and their ground truth.

    The latter is None for an authentic image.
    """
    rng = np.random.default_rng([int(VERSION), seed])
    host = _photographed(recipe.photo, recipe.camera, rng, grid=(0, 0))
    if recipe.kind == "authentic":
        return host, None
    place = tuple(round(share * n) for share, n in zip(recipe.place, host.shape, strict=False))
    if recipe.kind == "splice":
        return _spliced(host, recipe, place, rng)
    mask = _part_mask(recipe, host.shape[:2], rng)
    if recipe.kind == "removal":
        return forge.remove(host, mask, method=recipe.method, rng=rng)
    shift = (place[0] - _centre(mask)[0], place[1] - _centre(mask)[1])
    forged, target, _ = forge.copy_move(
        host, mask, angle=recipe.angle, scale=recipe.scale, shift=shift, feather=recipe.feather
    )
    return forged, target


def _photographed(photo: str, camera: str, rng: np.random.Generator, grid: tuple[int, int], scale: float = 1.0):
    taken = CAMERAS[camera]
    return forge.camera_history(
        load_photo(photo),
        rng,
        scale=PHOTOS[photo].scale * scale,
        noise_std=taken.noise_std,
        demosaic=taken.colour_filter is not None,
        colour_filter=taken.colour_filter,
        quality=taken.quality,
        subsampling=taken.subsampling,
        grid=grid,
    )


def _spliced(host: np.ndarray, recipe: Recipe, place: tuple[int, int], rng: np.random.Generator):
    assert recipe.part is not None, "every splice has a part"
    name, share = recipe.part
    row, column = (int(n) for n in rng.integers(1, 8, 2))
    donor = _photographed(name, recipe.donor_camera, rng, (row, column), recipe.scale)
    if isinstance(share, str):
        mask = _part_mask(recipe, donor.shape[:2], rng)
        shift = (place[0] - _centre(mask)[0], place[1] - _centre(mask)[1])
        return forge.splice(host, donor, mask, shift=shift, match_colour=recipe.match_colour, feather=recipe.feather)
    height, width = (min(a, b) for a, b in zip(host.shape[:2], donor.shape[:2], strict=True))
    mask = np.zeros(donor.shape[:2], bool)
    mask[:height, :width] = forge.random_shape_mask(rng, height, width, share)
    return forge.splice(host, donor, mask, match_colour=recipe.match_colour, feather=recipe.feather)


def _part_mask(recipe: Recipe, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    assert recipe.part is not None, "every forgery has a part"
    photo, part = recipe.part
    if not isinstance(part, str):
        return forge.random_shape_mask(rng, *shape, part)
    whole = object_mask(photo, part, load_photo(photo).shape[:2])
    return cv2.resize(whole.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST).view(bool)


def _centre(mask: np.ndarray) -> tuple[int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0] + rows[-1]) // 2, int(columns[0] + columns[-1]) // 2


# ------------------------------------------------------------------------------------------------------ files


@dataclass(frozen=True)
class Entry:
    """One image of the set: files relative to its folder, `mask` None for an authentic image."""

    id: str
    image: str
    mask: str | None
    kind: str
    source: str
    digests: dict[str, str] = field(default_factory=dict)  # file -> SHA-256


def cache_folder() -> Path:
    """Where generated data lies: $BENCH_CACHE, else ~/.cache/forgery-bench."""
    return Path(os.environ.get("BENCH_CACHE") or Path.home() / ".cache" / "forgery-bench")


def prepare() -> tuple[Path, list[Entry], str]:
    """The folder of the set, its images, and the digest over all files; forged first where absent or damaged.

    Every file is replaced atomically and is the same whoever writes it, so several processes may build at
    once.
    Raises BuiltinError where a photo is missing or the folder cannot be written.
    """
    folder = cache_folder() / f"builtin-{VERSION}"
    entries = _stored(folder)
    if entries is None:
        try:
            entries = _build(folder)
        except OSError as error:
            raise BuiltinError(
                f"{folder}: cannot be written ({error.strerror}); free some space or set BENCH_CACHE"
            ) from error
    return folder, entries, set_digest(entries)


def set_digest(entries: list[Entry]) -> str:
    """SHA-256 over the names and digests of all files."""
    lines = sorted(f"{name} {digest}" for entry in entries for name, digest in entry.digests.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _code_digest() -> str:
    return hashlib.sha256(Path(__file__).read_bytes() + Path(forge.__file__).read_bytes()).hexdigest()


def _stored(folder: Path) -> list[Entry] | None:
    """The entries of a folder made by this code whose files are all intact, else None."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        entries = [Entry(**entry) for entry in manifest["entries"]]
        intact = all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
            for entry in entries
            for name, digest in entry.digests.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entries if intact and manifest.get("code") == _code_digest() else None


def _build(folder: Path) -> list[Entry]:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    entries = []
    for number, recipe in enumerate(RECIPES, 1):
        rgb, truth = forge_image(recipe, number)
        name = f"{number:02d}-{recipe.title}"
        encoded = png_bytes(rgb) if recipe.final is None else encode_jpeg(rgb, recipe.final)
        files = {f"images/{name}.{'png' if recipe.final is None else 'jpg'}": encoded}
        if truth is not None:
            files[f"masks/{name}.png"] = png_bytes(truth)
        for file, data in files.items():
            _write(folder / file, data)
        digests = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
        image, *masks = files
        entries.append(
            Entry(name, image, masks[0] if masks else None, recipe.kind, recipe.photo.removesuffix("_right"), digests)
        )
    manifest = {"code": _code_digest(), "entries": [vars(entry) for entry in entries]}
    _write(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
    return entries


def _write(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def png_bytes(pixels: np.ndarray) -> bytes:
    """PNG of uint8 (H, W, 3) or bool (H, W), not compressed: zlib's output differs between its versions."""
    height, width = pixels.shape[:2]
    rows = np.packbits(pixels, axis=1) if pixels.dtype == bool else pixels.reshape(height, -1)
    depth, colour = (1, 0) if pixels.dtype == bool else (8, 2)
    raw = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()  # a filter byte of 0 before each row
    blocks = [raw[i : i + 65535] for i in range(0, len(raw), 65535)]
    stored = b"".join(
        struct.pack("<BHH", i == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for i, block in enumerate(blocks)
    )
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)),
        (b"IDAT", b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(raw))),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data)) for tag, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
