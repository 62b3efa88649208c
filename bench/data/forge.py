"""How a forgery comes about: camera histories, shapes, splices, copy-moves and removals.

The built-in test set and MPC's training on synthesised forgeries are made of these primitives. Images are
uint8 (H, W, 3) RGB, masks bool (H, W) with True = forged. Every random choice comes from the
`numpy.random.Generator` that is passed in; pixel arithmetic is in integers, lookup tables or correctly
rounded operations, so that the same generator state gives the same bytes on every machine (float blurs and
cubic resizing do not, and are not used).
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from models.image import encode_jpeg

SHAPES = ("blob", "polygon", "ellipse")
# Name of the 2x2 colour filter -> (row, column) of its red sample, and OpenCV's bilinear demosaicing of it.
FILTERS = {
    "RGGB": ((0, 0), cv2.COLOR_BayerRGGB2RGB),
    "GRBG": ((0, 1), cv2.COLOR_BayerGRBG2RGB),
    "GBRG": ((1, 0), cv2.COLOR_BayerGBRG2RGB),
    "BGGR": ((1, 1), cv2.COLOR_BayerBGGR2RGB),
}
READ_SHARE = 0.4  # share of the noise variance at mid-grey that does not depend on the light


# --------------------------------------------------------------------------------------------- camera history


def camera_history(
    rgb: np.ndarray,
    rng: np.random.Generator,
    *,
    noise_std: float = 0.0,
    demosaic: bool = False,
    colour_filter: str | None = None,
    quality: int | None = None,
    grid: tuple[int, int] = (0, 0),
    subsampling: str = "4:2:0",
    scale: float | None = None,
) -> np.ndarray:
    """The photo as if another camera had taken it.

    In this order: resampling, sensor noise, demosaicing, JPEG.

    noise_std: standard deviation of the sensor noise at mid-grey, 0-255 scale, before demosaicing (see
    `sensor_noise`).
    demosaic: sample through a Bayer filter (`colour_filter`, random when None) and interpolate bilinearly.
    quality, subsampling: of the JPEG compression; None leaves it out.
    grid: (row, column) 0..7 of the first 8x8 block boundary inside the result, as after a crop of a compressed
    photo.
    scale: resampling factor; the only option that changes the size.
    """
    if scale is not None:
        rgb = resample(rgb, scale)
    if demosaic:
        rgb = bayer(rgb, rng, noise_std=noise_std, colour_filter=colour_filter)
    elif noise_std:
        rgb = sensor_noise(rgb, rng, noise_std)
    if quality is not None:
        rgb = compress(rgb, quality, grid, subsampling)
    return rgb


def resample(rgb: np.ndarray, scale: float) -> np.ndarray:
    """The photo at `scale` times its size: area average when shrinking, else bilinear."""
    height, width = (max(1, round(scale * n)) for n in rgb.shape[:2])
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def sensor_noise(values: np.ndarray, rng: np.random.Generator, noise_std: float) -> np.ndarray:
    """Shot and read noise on uint8 samples of any shape.

    Gaussian with a variance that grows linearly with the light v: noise_std^2 (.4 + .6 v / 128), so that
    noise_std is the standard deviation at mid-grey (Foi et al., IEEE TIP 2008, without their clipping model).
    """
    level = np.arange(256, dtype=np.float32)
    spread = np.float32(noise_std) * np.sqrt(np.float32(READ_SHARE) + np.float32(1 - READ_SHARE) * level / 128)
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    noise *= spread[values]
    noise += values
    return np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8)


def bayer(
    rgb: np.ndarray, rng: np.random.Generator, *, noise_std: float = 0.0, colour_filter: str | None = None
) -> np.ndarray:
    """One colour a pixel through a 2x2 Bayer filter, noise on these samples, then bilinear demosaicing."""
    name = colour_filter or list(FILTERS)[rng.integers(len(FILTERS))]
    (row, column), code = FILTERS[name]
    raw = rgb[:, :, 1].copy()
    raw[row::2, column::2] = rgb[row::2, column::2, 0]
    raw[1 - row :: 2, 1 - column :: 2] = rgb[1 - row :: 2, 1 - column :: 2, 2]
    if noise_std:
        raw = sensor_noise(raw, rng, noise_std)
    return cv2.cvtColor(raw, code)


def compress(rgb: np.ndarray, quality: int, grid: tuple[int, int] = (0, 0), subsampling: str = "4:2:0") -> np.ndarray:
    """One JPEG round trip whose 8x8 block boundaries lie at rows grid[0] + 8k and columns grid[1] + 8k."""
    top, left = -grid[0] % 8, -grid[1] % 8
    padded = cv2.copyMakeBorder(rgb, top, 0, left, 0, cv2.BORDER_REPLICATE) if top or left else rgb
    data = np.frombuffer(encode_jpeg(padded, quality, subsampling), np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    assert decoded is not None, "a JPEG that was just made"
    return np.ascontiguousarray(decoded[top:, left:])


def random_crop(rgb: np.ndarray, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A random window of exactly (height, width).

    A smaller photo is first enlarged (bilinear), just as far as needed.
    """
    factor = max(height / rgb.shape[0], width / rgb.shape[1])
    if factor > 1:
        size = (max(width, round(rgb.shape[1] * factor)), max(height, round(rgb.shape[0] * factor)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)
    top, left = (int(rng.integers(have - want + 1)) for have, want in zip(rgb.shape, (height, width), strict=False))
    return rgb[top : top + height, left : left + width].copy()


# ------------------------------------------------------------------------------------------------------ masks


def random_shape_mask(
    rng: np.random.Generator, height: int, width: int, area: float, shape: str | None = None
) -> np.ndarray:
    """One connected random shape in (height, width).

    area: share of the image that it covers, roughly; .005 to .5.
    shape: "blob" (smooth), "polygon" (3 to 9 corners), "ellipse", or None for a random one. It lies within
    the image where it fits. The share is met within 15 %, or within two pixels' width around the shape in
    small images.
    """
    if not 0 < area < 1:
        raise ValueError(f"area is a share of the image between 0 and 1, got {area}")
    shape = shape or SHAPES[rng.integers(len(SHAPES))]
    outline = _outline(rng, shape, stretch=1 + 1.2 * rng.random() * (1 - area), aspect=width / height, area=area)
    place = rng.random(2)
    size = np.array([width, height])
    radius = math.sqrt(area * height * width)
    for _ in range(12):
        points = outline * radius
        low, high = points.min(0), points.max(0)
        room = size - 1 - (high - low)
        origin = np.where(room > 0, place * room, room / 2) - low
        canvas = np.zeros((height, width), np.uint8)
        cv2.fillPoly(canvas, [np.rint(points + origin).astype(np.int32)], 1)
        share = cv2.countNonZero(canvas) / canvas.size
        if abs(share / area - 1) < 0.1:
            break
        radius *= math.sqrt(area / share)
    return canvas.view(bool)


def _outline(rng: np.random.Generator, shape: str, stretch: float, aspect: float, area: float) -> np.ndarray:
    """(n, 2) x, y points around the origin that enclose an area of 1."""
    if shape == "polygon":
        corners = int(rng.integers(3, 10))
        angle = 2 * np.pi * (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) / corners
        length = rng.uniform(0.55, 1.0, corners)
    else:
        angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        length = np.ones_like(angle)
        if shape == "blob":
            for order in range(2, 7):
                length += rng.normal(0, 0.3 / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
            length = np.maximum(length, 0.25)
        elif shape != "ellipse":
            raise ValueError(f"shape must be one of {', '.join(SHAPES)}, got {shape!r}")
    points = np.stack([length * np.cos(angle), length * np.sin(angle) / stretch], axis=1)
    turn = rng.uniform(0, 2 * np.pi)
    points = points @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    if area > 0.15:  # a large shape only fits when it follows the image's proportions
        points *= [math.sqrt(aspect), 1 / math.sqrt(aspect)]
    x, y = points.T
    return points / math.sqrt(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def segment_mask(rgb: np.ndarray, rng: np.random.Generator, area: float) -> np.ndarray:
    """A region that follows the edges of the photo, as a cut-out object does.

    area: share of the image that it covers, roughly.
    Watershed from a jittered grid of seeds (on the median-filtered photo, at most 256 pixels long), then a
    region grown from a random segment by the neighbour of the nearest mean colour. Met within about 40 %.
    """
    height, width = rgb.shape[:2]
    factor = min(1.0, 256 / max(height, width))
    small = cv2.resize(
        rgb, (max(16, round(width * factor)), max(16, round(height * factor))), interpolation=cv2.INTER_AREA
    )
    small = cv2.medianBlur(small, 5)
    step = max(4, int(math.sqrt(area * small.shape[0] * small.shape[1] / 8)))
    step = min(step, min(small.shape[:2]) // 4)
    markers = np.zeros(small.shape[:2], np.int32)
    rows, columns = (np.arange(step // 2, n - 1, step) for n in small.shape[:2])
    jitter = rng.integers(-(step // 3), step // 3 + 1, (2, rows.size, columns.size))
    y = np.clip(rows[:, None] + jitter[0], 1, small.shape[0] - 2)
    x = np.clip(columns[None, :] + jitter[1], 1, small.shape[1] - 2)
    markers[y, x] = np.arange(1, rows.size * columns.size + 1).reshape(y.shape)
    labels = cv2.watershed(small, markers)
    lines = (labels < 1).view(np.uint8)
    labels = np.maximum(labels, 0).astype(np.uint16)
    labels = np.where(lines, cv2.dilate(labels, np.ones((3, 3), np.uint8)), labels).astype(np.int64)

    count = int(labels.max()) + 1
    sizes = np.bincount(labels.ravel(), minlength=count)
    sums = np.stack([np.bincount(labels.ravel(), small[:, :, c].ravel(), count) for c in range(3)], axis=1)
    means = sums / np.maximum(sizes, 1)[:, None]
    touching = np.zeros((count, count), bool)
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        touching[a, b] = touching[b, a] = True
    touching[:, sizes == 0] = False
    region = np.zeros(count, bool)
    region[labels[tuple(rng.integers(n) for n in labels.shape)]] = True
    while sizes[region].sum() < 0.8 * area * labels.size:
        border = touching[region].any(0) & ~region
        if not border.any():
            break
        mean = sums[region].sum(0) / sizes[region].sum()
        distance = np.where(border, np.abs(means - mean).sum(1), np.inf)
        region[np.argmin(distance)] = True
    mask = region[labels].astype(np.uint8)
    outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    mask = cv2.drawContours(mask, outline, -1, 1, cv2.FILLED)  # a cut-out has no holes
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST).view(bool)


def object_mask(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """The thing in the middle of a photo, cut out from what surrounds it; None where nothing stands out.

    GrabCut (Rother et al., SIGGRAPH 2004) on the photo at most 160 pixels long, from a central rectangle of random
    size as what may be the thing, and the photo's margin as what is not; then its largest part, without holes. It
    counts as a thing between 1 % and 50 % of the photo if it ends at the margin on one side at most.

    GrabCut computes in floating point: another machine may draw an outline elsewhere, so the built-in set does not use
    it. It leaves OpenCV's own random numbers seeded from `rng`.
    """
    height, width = rgb.shape[:2]
    factor = min(1.0, 160 / max(height, width))
    size = (max(16, round(width * factor)), max(16, round(height * factor)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    margin = max(2, round(0.06 * min(size)))
    labels = np.full(small.shape[:2], cv2.GC_BGD, np.uint8)
    labels[margin:-margin, margin:-margin] = cv2.GC_PR_BGD
    top, left = (round(side * rng.uniform(0.15, 0.32)) for side in labels.shape)
    labels[top:-top, left:-left] = cv2.GC_PR_FGD
    if np.ptp(small.reshape(-1, 3), axis=0).max() == 0:
        return None
    cv2.setRNGSeed(int(rng.integers(2**31)))  # of the k-means inside
    no_rectangle = (0, 0, 0, 0)  # the labels say where to begin
    cv2.grabCut(small, labels, no_rectangle, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    marked = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    thing = cv2.morphologyEx(marked, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, found, _ = cv2.connectedComponentsWithStats(thing)
    if count < 2:
        return None
    largest = 1 + int(found[1:, cv2.CC_STAT_AREA].argmax())
    outline, _ = cv2.findContours((parts == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    mask = cv2.drawContours(np.zeros_like(thing), outline, -1, 1, cv2.FILLED)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    bottom, right = mask.shape[0] - margin - 1, mask.shape[1] - margin - 1
    ends = (rows[0] <= margin, rows[-1] >= bottom, columns[0] <= margin, columns[-1] >= right)
    if not 0.01 <= mask.mean() <= 0.5 or sum(ends) > 1:
        return None
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST).view(bool)


# -------------------------------------------------------------------------------------------------- forgeries


def splice(
    host: np.ndarray,
    donor: np.ndarray,
    mask: np.ndarray,
    *,
    shift: tuple[int, int] = (0, 0),
    match_colour: float = 0.0,
    feather: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Paste the masked part of `donor` into `host`; returns the image and the ground truth.

    Both are of the host's size.
    mask: bool, of the donor's size. shift: (row, column) of the host where the donor's first pixel lands;
    what falls outside is lost. match_colour: 0 (as it is) to 1 (channel means and deviations of the host
    pixels it covers).
    feather: width in pixels of the soft edge, inside the mask, so that the ground truth stays the mask.
    """
    _check(donor, mask)
    pasted, truth = np.zeros_like(host), np.zeros(host.shape[:2], bool)
    there, here = _overlap(host.shape, donor.shape, shift)
    pasted[there], truth[there] = donor[here], mask[here]
    if match_colour and truth.any():
        pasted = _match_colour(pasted, host, truth, match_colour)
    return _blend(host, pasted, truth, feather), truth


def copy_move(
    rgb: np.ndarray,
    mask: np.ndarray,
    *,
    angle: float = 0.0,
    scale: float = 1.0,
    shear: float = 0.0,
    mirror: bool = False,
    shift: tuple[int, int] = (0, 0),
    feather: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Copy the masked part elsewhere in the same photo.

    Returns the image, the target mask and the source mask.

    About its bounding box's centre the part is mirrored (left to right), sheared (a row moves right by `shear`
    times its distance below the centre), turned by `angle` degrees counter-clockwise and scaled, in this order,
    then moved by `shift` (rows, columns). Only the target is changed: it is the ground truth. The source mask
    holds the original pixels that were copied and are still seen (a target that overlaps its source hides
    part of it).
    """
    _check(rgb, mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        raise ValueError("nothing to copy: the mask is empty")
    centre = ((rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2)
    moved, target = _transform(rgb, mask, centre, angle, scale, shear, mirror, shift)
    return _blend(rgb, moved, target, feather), target, mask & ~target


def remove(
    rgb: np.ndarray,
    mask: np.ndarray,
    *,
    method: str = "telea",
    rng: np.random.Generator | None = None,
    radius: int = 3,
) -> tuple[np.ndarray, np.ndarray]:
    """Fill the masked part from its surroundings; returns the image and the ground truth (the mask).

    method: "telea" (Telea 2004, fast marching), "ns" (Bertalmio et al. 2001, Navier-Stokes), both from OpenCV
    with `radius`, or "exemplar" (block by block from the border inwards, each the patch of this photo that
    fits best what is already there; needs `rng`), which leaves texture instead of a smear.
    """
    _check(rgb, mask)
    if mask.all():
        raise ValueError("nothing to fill from: the mask covers the whole image")
    if method == "exemplar":
        if rng is None:
            raise ValueError('method "exemplar" draws its candidates at random: pass rng')
        return _fill_by_example(rgb, mask, rng), mask.copy()
    flags = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}
    if method not in flags:
        raise ValueError(f'method must be "telea", "ns" or "exemplar", got {method!r}')
    filled = cv2.inpaint(rgb, mask.astype(np.uint8), radius, flags[method])
    return np.where(mask[:, :, None], filled, rgb), mask.copy()


def _check(rgb: np.ndarray, mask: np.ndarray) -> None:
    if mask.dtype != bool or mask.shape != rgb.shape[:2]:
        raise ValueError(f"the mask must be bool {rgb.shape[:2]}, got {mask.dtype} {mask.shape}")


def _overlap(host: tuple, donor: tuple, shift: tuple[int, int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of host and donor that meet when the donor's origin is put at `shift` of the host."""
    there, here = [], []
    for big, small, start in zip(host[:2], donor[:2], shift, strict=True):
        low, high = max(0, start), max(0, min(big, start + small))
        low = min(low, high)
        there.append(slice(low, high))
        here.append(slice(low - start, high - start))
    return tuple(there), tuple(here)


def _match_colour(pasted: np.ndarray, host: np.ndarray, where: np.ndarray, strength: float) -> np.ndarray:
    """Mean and deviation of each channel brought towards the host's, by a table.

    Source: Reinhard et al., 2001, here in RGB.
    """
    level = np.arange(256, dtype=np.float64)
    table = np.empty((256, 1, 3), np.uint8)
    for c in range(3):
        ours, theirs = pasted[:, :, c][where].astype(np.int64), host[:, :, c][where].astype(np.int64)
        (mean, std), (wanted_mean, wanted_std) = ((v.sum() / v.size, _deviation(v)) for v in (ours, theirs))
        gain = min(max(wanted_std / max(std, 1.0), 0.5), 2.0)
        matched = (level - mean) * gain + wanted_mean
        table[:, 0, c] = np.clip(np.rint(level + strength * (matched - level)), 0, 255)
    return cv2.LUT(pasted, table)


def _deviation(values: np.ndarray) -> float:
    """Standard deviation from integer sums, which are exact on every machine."""
    total, squares, n = int(values.sum()), int((values * values).sum()), values.size
    return math.sqrt(max(0, n * squares - total * total)) / n


def _blend(below: np.ndarray, above: np.ndarray, mask: np.ndarray, feather: int) -> np.ndarray:
    """`above` over `below` inside the mask, fading over `feather` pixels from the mask's edge inwards."""
    if feather:
        core = cv2.erode(mask.astype(np.uint8), np.ones((2 * feather + 1,) * 2, np.uint8), borderValue=1)
        alpha = cv2.blur(core * 255, (2 * feather + 1,) * 2).astype(np.uint16)[:, :, None]
        if core.any():
            return ((above * alpha + below * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.where(mask[:, :, None], above, below)


def _transform(
    rgb: np.ndarray,
    mask: np.ndarray,
    centre: tuple[float, float],
    angle: float,
    scale: float,
    shear: float,
    mirror: bool,
    shift: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Photo and mask after an affine map about `centre` (see `copy_move`).

    Bilinear to 1/32 pixel, in integer arithmetic.
    """
    height, width = mask.shape
    turn = math.radians(angle)
    cosine, sine = math.cos(turn) / scale, math.sin(turn) / scale
    y = np.arange(height)[:, None] - shift[0] - centre[0]
    x = np.arange(width)[None, :] - shift[1] - centre[1]
    # Where each output pixel comes from; rows grow downwards, hence the signs of a counter-clockwise turn.
    down = sine * x + cosine * y
    right = cosine * x - sine * y - shear * down
    source_x = np.rint(32 * ((-right if mirror else right) + centre[1])).astype(np.int32)
    source_y = np.rint(32 * (down + centre[0])).astype(np.int32)
    whole = np.clip(np.stack([source_x >> 5, source_y >> 5], axis=2), -32768, 32767).astype(np.int16)
    part = ((source_y & 31) * 32 + (source_x & 31)).astype(np.uint16)
    moved = cv2.remap(rgb, whole, part, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.remap(mask.astype(np.uint8) * 255, whole, part, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return moved, cover > 127


def _fill_by_example(
    rgb: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
    block: int = 12,
    margin: int = 6,
    tries: int = 48,
) -> np.ndarray:
    """Onion-peel patch fill: see `remove`.

    Candidates: random patches without masked pixels, and the neighbours' offsets.
    """
    result = rgb.astype(np.int32)
    known = ~mask
    height, width = mask.shape
    size = min(block + 2 * margin, height, width)
    usable = cv2.boxFilter(known.astype(np.float64), -1, (size, size), anchor=(0, 0), normalize=False)
    usable = np.rint(usable[: height - size + 1, : width - size + 1]) == size * size
    tops, lefts = np.nonzero(usable)
    if not tops.size:  # no patch of that size is free of masked pixels
        return remove(rgb, mask, method="telea")[0]
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L1, 3)
    cells = [
        (float(depth[r : r + block, c : c + block].max()), r, c)
        for r in range(0, height, block)
        for c in range(0, width, block)
        if mask[r : r + block, c : c + block].any()
    ]
    offsets: list[tuple[int, int]] = []
    for _, row, column in sorted(cells):
        top, left = min(max(row - margin, 0), height - size), min(max(column - margin, 0), width - size)
        window = (slice(top, top + size), slice(left, left + size))
        have = known[window]
        picks = rng.integers(tops.size, size=tries)
        candidates = list(zip(tops[picks].tolist(), lefts[picks].tolist(), strict=True))
        near = [(top + dy, left + dx) for dy, dx in offsets[-4:]]
        candidates += [at for at in near if 0 <= at[0] <= height - size and 0 <= at[1] <= width - size and usable[at]]
        here = result[window]
        best = min(
            candidates,
            key=lambda at: int((np.square(rgb[at[0] : at[0] + size, at[1] : at[1] + size] - here).sum(2) * have).sum()),
        )
        offsets.append((best[0] - top, best[1] - left))
        patch = rgb[best[0] : best[0] + size, best[1] : best[1] + size]
        cell = (slice(row, row + block), slice(column, column + block))
        inner = (slice(row - top, row - top + block), slice(column - left, column - left + block))
        todo = ~known[cell]
        result[cell][todo] = patch[inner][: todo.shape[0], : todo.shape[1]][todo]
        known[cell] = True
    return result.astype(np.uint8)
