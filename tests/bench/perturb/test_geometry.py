"""Geometric perturbations carry the ground truth along: a perfect map stays perfect, what is made up is not scored."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import affine_transform, binary_erosion
from sklearn.metrics import f1_score

from bench.metrics import Observation, image_metrics, measure
from bench.perturb import STEPS, parse
from bench.severity import severity
from bench.truth import Truth
from models.image import ForensicImage, ScoreMap

KEY = ("set", "image")
GEOMETRIC = {
    "crop": "0.05,0.3,0.5,0.77,0.9,1",
    "trim": "0,1,4,7,19",
    "pad": "0,0.01,0.1,0.5,1",
    "shift": "0,0.01,0.2,0.6",
    "flip": "horizontal,vertical",
    "rotate90": "0,1,2,3",
    "rotate": "-180,-91.5,-3,0,0.2,2,10,45,90,133",
    "shear": "-1,-0.2,0,0.05,0.7",
    "perspective": "0,0.05,0.3,0.9",
    "lens": "-0.5,-0.1,0,0.02,0.3,0.5",
}
SPECS = [p.spec for name, levels in GEOMETRIC.items() for p in parse(f"{name}:{levels}")[1:]]
CHAINS = [
    "rotate:7+crop:0.8",
    "flip:horizontal+rotate90:1+pad:0.1",
    "resize:0.5+rotate:10",
    "crop:0.7+resize:2+shear:0.1",
]


def blobs(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Bool mask with discs, a frame at the border and single pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    mask = (y - height / 2) ** 2 + (x - width / 3) ** 2 < (min(height, width) / 4) ** 2
    mask |= (y < 3) & (x > width / 2)
    return mask | (rng.random((height, width)) < 0.02)


def as_photo(mask: np.ndarray) -> ForensicImage:
    """A picture of the mask itself, so that what a perturbation makes of it is the perfect score map."""
    return ForensicImage(np.where(mask, np.uint8(255), np.uint8(0))[..., None].repeat(3, axis=2))


def scorable(truth: Truth) -> np.ndarray:
    return np.ones(truth.shape, bool) if truth.scorable is None else truth.scorable


def test_all_geometric_ones_are_tested():
    assert set(GEOMETRIC) == {name for name, s in STEPS.items() if s.geometric}


@pytest.mark.parametrize("spec", [*SPECS, *CHAINS])
@pytest.mark.parametrize("shape", [(97, 131), (64, 64), (40, 21)])
def test_a_perfect_map_stays_perfect(spec, shape):
    mask = blobs(*shape)
    (perturbation,) = parse(spec)[1:]
    pair = perturbation.apply_pair(as_photo(mask), Truth.of(mask), KEY)
    assert perturbation.geometric
    assert pair.truth.shape == pair.image.shape
    where = scorable(pair.truth)
    found, expected = pair.image.rgb[..., 0][where] > 127, pair.truth.forged[where]
    for rule in (pair.truth.values > 0, pair.truth.values == 255):  # a hard mask stays hard: all protocols agree
        assert np.array_equal(rule[where], expected)
    if expected.any():
        assert f1_score(expected, found) == 1.0
    else:
        assert not found.any()


@pytest.mark.parametrize("spec", SPECS)
def test_scorable_pixels_show_nothing_but_the_image(spec):
    """A white picture shows black, or grey at its edge, exactly where something else than the image is seen."""
    white = ForensicImage(np.full((61, 83, 3), 255, np.uint8))
    pair = parse(spec)[1].apply_pair(white, Truth.pristine((61, 83)), KEY)
    shown = pair.image.rgb[..., 0]
    where = scorable(pair.truth)
    assert (shown[where] == 255).all()
    assert (shown[~where] < 255).all()


@pytest.mark.parametrize("spec", SPECS)
def test_pixels_that_could_not_be_scored_stay_so(spec):
    """One of them in the footprint of a pixel makes that pixel unscorable, and nothing else does."""
    shape = (61, 83)
    known = np.random.default_rng(1).random(shape) > 0.05
    marked = as_photo(known)
    pair = parse(spec)[1].apply_pair(marked, Truth(np.zeros(shape, np.uint8), scorable=known), KEY)
    assert np.array_equal(scorable(pair.truth), pair.image.rgb[..., 0] == 255)


@pytest.mark.parametrize("degrees", [-91.5, 2, 10, 45])
def test_rotation_is_the_stated_one(degrees):
    """Against SciPy's bilinear interpolation, to the rounding of grey levels; OpenCV 4 rounds positions to 1/32."""
    allowed = 1 if int(cv2.__version__.partition(".")[0]) >= 5 else 1 + 2 * 255 / 64
    rng = np.random.default_rng(2)
    plane = rng.integers(0, 256, (40, 53)).astype(float)
    image = ForensicImage(plane.astype(np.uint8)[..., None].repeat(3, axis=2))
    pair = parse(f"rotate:{degrees}")[1].apply_pair(image, Truth.pristine(image.shape), KEY)
    angle = np.radians(degrees)
    # anticlockwise as seen, rows downwards: where each pixel of the result comes from
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = (np.array(plane.shape) - 1) / 2
    expected = affine_transform(plane, back, centre - back @ centre, order=1, mode="grid-constant")
    where = scorable(pair.truth)
    assert where.mean() > 0.3
    assert np.abs(pair.image.rgb[..., 0] - expected)[where].max() <= allowed


@pytest.mark.parametrize(
    "spec, expected",
    [
        ("flip:horizontal", lambda a: a[:, ::-1]),
        ("flip:vertical", lambda a: a[::-1]),
        ("rotate90:1", lambda a: a.swapaxes(0, 1)[::-1]),
        ("trim:3", lambda a: a[3:, 3:]),
        ("crop:0.5", lambda a: a[10:30, 15:45]),
    ],
)
def test_whole_pixels_are_moved_exactly(spec, expected):
    rng = np.random.default_rng(3)
    image = ForensicImage(rng.integers(0, 256, (40, 60, 3), np.uint8))
    truth = Truth(rng.integers(0, 256, (40, 60), np.uint8), rng.integers(0, 4, (40, 60), np.uint8))
    pair = parse(spec)[1].apply_pair(image, truth, KEY)
    assert np.array_equal(pair.image.rgb, expected(image.rgb))
    assert np.array_equal(pair.truth.values, expected(truth.values))  # soft values are kept
    assert np.array_equal(pair.truth.labels, expected(truth.labels))
    assert pair.truth.scorable is None


@pytest.mark.parametrize("spec", ["rotate:13", "perspective:0.3", "lens:0.2"])
def test_labels_follow_the_mask(spec):
    mask = blobs(97, 131)
    labels = np.where(mask, np.where(np.arange(131) < 50, 2, 7), 0).astype(np.uint8)
    pair = parse(spec)[1].apply_pair(as_photo(mask), Truth(Truth.of(mask).values, labels), KEY)
    where = scorable(pair.truth)
    assert pair.truth.labels.dtype == np.uint8
    assert set(np.unique(pair.truth.labels)) == {0, 2, 7}
    assert np.array_equal((pair.truth.labels > 0)[where], pair.truth.forged[where])


def test_a_perturbation_without_geometry_leaves_the_truth_alone():
    truth = Truth.of(blobs(40, 60))
    image = ForensicImage(np.zeros((40, 60, 3), np.uint8))
    for spec in ("jpeg:50", "resize:0.5", "screenshot:320", "blur:3+noise:5"):
        (perturbation,) = parse(spec)[1:]
        pair = perturbation.apply_pair(image, truth, KEY)
        assert not perturbation.geometric and pair.truth is truth and pair.reference is image


def test_severity_compares_with_the_original_moved_likewise():
    rng = np.random.default_rng(4)
    image = ForensicImage(rng.integers(0, 256, (80, 120, 3), np.uint8))
    turned = parse("rotate:10")[1].apply_pair(image, Truth.pristine(image.shape), KEY)
    alone = severity(turned.reference, turned.image, turned.truth.scorable)
    assert alone.psnr == np.inf and alone.ssim == 1
    assert 0.5 < alone.scorable == turned.truth.scorable.mean() < 1
    noisy = parse("rotate:10+noise:10")[1].apply_pair(image, Truth.pristine(image.shape), KEY)
    measured = severity(noisy.reference, noisy.image, noisy.truth.scorable)
    assert measured.psnr == pytest.approx(20 * np.log10(255 / 10), abs=0.6)  # clipping takes some of the noise
    assert np.array_equal(noisy.reference.rgb, turned.image.rgb)


def test_severity_ignores_what_is_not_scored():
    image = ForensicImage(np.full((60, 60, 3), 100, np.uint8))
    pair = parse("pad:0.5+noise:8")[1].apply_pair(image, Truth.pristine(image.shape), KEY)
    measured = severity(pair.reference, pair.image, pair.truth.scorable)
    assert measured.scorable == 0.25
    inner = pair.image.rgb[30:90, 30:90].astype(float) - 100
    assert measured.psnr == pytest.approx(10 * np.log10(255**2 / np.mean(inner**2)))
    nothing = severity(pair.reference, pair.image, np.zeros(pair.image.shape, bool))
    assert np.isnan(nothing.psnr) and np.isnan(nothing.ssim) and nothing.scorable == 0


def measured(values: np.ndarray, truth: Truth, protocol: str) -> dict[str, float]:
    score = ScoreMap(np.ascontiguousarray(values, np.float32), "probability")
    kept = measure(score, truth, True, [protocol])
    return image_metrics(Observation(True, "probability", None, float(score.values.max()), kept), protocol)


@pytest.mark.parametrize("protocol", ["native", "mpc", "imlvit", "mvss", "safire", "trufor", "imdlbenco"])
@pytest.mark.parametrize("spec", SPECS)
def test_protocols_give_a_perfect_map_an_f1_of_one_whatever_is_said_of_unscorable_pixels(spec, protocol):
    y, x = np.mgrid[0:120, 0:170]
    mask = ((y - 55) ** 2 + (x - 70) ** 2 < 40**2) | ((y > 70) & (y < 100) & (x > 110) & (x < 150))
    pair = parse(spec)[1].apply_pair(as_photo(mask), Truth.of(mask), KEY)
    where = scorable(pair.truth)
    if not all(binary_erosion(of_class, iterations=12).any() for of_class in (pair.truth.forged, ~pair.truth.forged)):
        pytest.skip("less of a class is left than the margins of some protocols take away")
    perfect = pair.image.rgb[..., 0] / 255
    spoilt = np.where(where, perfect, np.random.default_rng(5).random(perfect.shape))
    for values in (perfect, spoilt):
        assert measured(values, pair.truth, protocol)["f1"] == pytest.approx(1, abs=1e-6), protocol
