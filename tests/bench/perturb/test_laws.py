"""Each law against an independent statement of it: NumPy, SciPy, scikit-image, Pillow, or the file that was written."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage
from skimage import exposure
from sklearn.datasets import load_sample_image

from bench.perturb import perturb
from bench.perturb.families.jpeg_variants import ROBIDOUX
from bench.perturb.families.networks import estimated_quality
from models.image import ForensicImage, encode_jpeg

KEY = ("set", "image")
PHOTO = ForensicImage(np.ascontiguousarray(load_sample_image("flower.jpg")[60:189, 100:275]))
ALL_LEVELS = ForensicImage(np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, axis=2))


def result(spec: str, image: ForensicImage = PHOTO) -> np.ndarray:
    return perturb(image, spec, KEY).rgb


def rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "name, levels, law",
    [
        ("gamma", (0.1, 0.7, 1.4, 10), lambda x, g: 255 * (x / 255) ** g),
        ("brightness", (-255, -30.5, 0.4, 17, 255), lambda x, o: x + o),
        ("contrast", (0, 0.3, 0.5, 1.3, 2, 10), lambda x, f: 127.5 + f * (x - 127.5)),
        ("posterize", (1, 3, 7), lambda x, bits: x // 2 ** (8 - bits) * 2 ** (8 - bits)),
    ],
)
def test_curves(name, levels, law):
    grey = np.arange(256.0).reshape(16, 16)
    for level in levels:
        assert np.array_equal(result(f"{name}:{level}", ALL_LEVELS)[..., 1], rounded(law(grey, level))), level


def test_tone_curve_is_that_of_scikit_image_with_fixed_ends():
    grey = np.arange(256) / 255
    curve = exposure.adjust_sigmoid(grey[None], cutoff=0.5, gain=6)[0]
    expected = rounded(255 * (curve - curve[0]) / (curve[-1] - curve[0]))
    assert np.array_equal(result("tone_curve:6", ALL_LEVELS)[..., 0].ravel(), expected)


def test_temperature_moves_red_and_blue_apart():
    warm = result("temperature:0.2")
    x = PHOTO.rgb.astype(float)
    assert np.array_equal(warm, rounded(x * [1.2, 1, 0.8]))


def test_saturation_moves_away_from_grey():
    x = PHOTO.rgb.astype(float)
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    for factor in (0, 0.5, 1.7):
        assert np.abs(result(f"saturation:{factor}") - np.clip(grey + factor * (x - grey), 0, 255)).max() <= 1.5


def test_hue_turns_colours_and_keeps_luminance():
    red = ForensicImage(np.full((2, 2, 3), (180, 60, 60), np.uint8))
    turned = result("hue:120", red)[0, 0]
    assert turned.argmax() != 0
    assert turned @ np.array([0.299, 0.587, 0.114]) == pytest.approx(red.luminance[0, 0], abs=1.5)
    back = perturb(perturb(red, "hue:20"), "hue:-20").rgb
    assert np.abs(back.astype(int) - red.rgb).max() <= 2


def test_autocontrast_is_pillows():
    expected = ImageOps.autocontrast(Image.fromarray(PHOTO.rgb), cutoff=2, preserve_tone=True)
    assert np.abs(result("autocontrast:2").astype(int) - np.asarray(expected)).max() <= 6  # Pillow's cut is coarser
    luma = np.asarray(Image.fromarray(result("autocontrast:2")).convert("L"))
    assert luma.min() < 5 and luma.max() > 250


def test_histograms_become_flat():
    dark = ForensicImage((PHOTO.rgb // 4).astype(np.uint8))
    for spec in ("equalize", "clahe:4"):
        before, after = (np.asarray(Image.fromarray(a).convert("L")).std() for a in (dark.rgb, result(spec, dark)))
        assert after > 1.5 * before


@pytest.mark.parametrize(
    "spec, law",
    [
        ("box_blur:5", lambda p: ndimage.uniform_filter(p, 5, mode="mirror")),
        ("motion_blur:9", lambda p: ndimage.uniform_filter1d(p, 9, axis=1, mode="mirror")),
        ("median:5", lambda p: ndimage.median_filter(p, 5, mode="nearest")),
        ("unsharp:1.5", lambda p: p + 1.5 * (p - ndimage.gaussian_filter(p, 1, radius=3, mode="mirror"))),
    ],
)
def test_filters(spec, law):
    for channel in range(3):
        expected = np.clip(law(PHOTO.rgb[..., channel].astype(float)), 0, 255)
        tolerance = 2 if spec.startswith("unsharp") else 0.51  # it rounds the blurred image first
        assert np.abs(result(spec)[..., channel] - expected).max() <= tolerance


def test_defocus_is_the_mean_over_a_disk():
    y, x = np.mgrid[-4:5, -4:5]
    disk = (x**2 + y**2 <= 16).astype(float)
    expected = ndimage.convolve(PHOTO.rgb[..., 0].astype(float), disk / disk.sum(), mode="mirror")
    assert np.abs(result("defocus:4")[..., 0] - expected).max() <= 0.51


def test_bilateral_smooths_but_keeps_edges():
    step = np.zeros((40, 60, 3), np.uint8) + 60
    step[:, 30:] = 200
    noisy = perturb(ForensicImage(step), "noise:5", KEY)
    smoothed = result("bilateral:30", noisy).astype(int)
    assert smoothed[:, :28].std() < 0.5 * noisy.rgb[:, :28].std()
    assert (smoothed[:, 30] - smoothed[:, 29]).mean() > 130


def test_pixelate_is_the_mean_of_blocks():
    blocks = PHOTO.rgb[:128, :168].reshape(16, 8, 21, 8, 3).astype(float).mean((1, 3))
    assert np.abs(result("pixelate:8")[:128:8, :168:8] - blocks).max() <= 0.51
    assert result("pixelate:8").shape == PHOTO.rgb.shape


def test_palette_has_as_many_colours():
    for colors in (2, 16, 200):
        assert len(np.unique(result(f"palette:{colors}").reshape(-1, 3), axis=0)) <= colors


def test_vignette_darkens_the_corners_by_its_level():
    white = ForensicImage(np.full((81, 121, 3), 200, np.uint8))
    shaded = result("vignette:0.5", white)
    assert (shaded[40, 60] == 200).all() and (shaded[0, 0] == 100).all() and (shaded[-1, 0] == 100).all()


def test_chromatic_aberration_moves_red_out_and_blue_in():
    dots = np.zeros((101, 201, 3), np.uint8)
    dots[48:53, 178:183] = 255
    moved = result("chromatic_aberration:0.02", ForensicImage(dots)).astype(float)
    x = np.arange(201)
    red, green, blue = ((moved[..., c].sum(0) * x).sum() / moved[..., c].sum() for c in range(3))
    assert (red, green, blue) == pytest.approx((180 + 1.6, 180, 180 - 1.6), abs=0.2)


@pytest.mark.parametrize(
    "spec, mean, variance",
    [
        ("poisson_gaussian:0.5", 120, 0.5 * 120 + 0.25 + 1 / 12),
        ("poisson_gaussian:2", 120, 2 * 120 + 4 + 1 / 12),
        ("speckle:0.1", 120, 12**2 + 1 / 12),
    ],
)
def test_noise_laws(spec, mean, variance):
    """Mean and variance within three standard errors (that of a variance: its own times sqrt(2 / n))."""
    grey = ForensicImage(np.full((400, 400, 3), mean, np.uint8))
    values = result(spec, grey).astype(float)
    assert abs(values.mean() - mean) < 3 * np.sqrt(variance / values.size)
    assert abs(values.var() / variance - 1) < 3 * np.sqrt(2 / values.size)


def test_salt_and_pepper_have_their_share():
    n, share = 400 * 400, 0.1
    hit = result("salt_pepper:0.1", ForensicImage(np.full((400, 400, 3), 120, np.uint8)))
    for value in (0, 255):
        count = (hit == value).all(axis=2).sum()
        assert abs(count - n * share / 2) < 3 * np.sqrt(n * share / 2)
    assert set(np.unique(hit)) == {0, 120, 255}


def test_screenshot_fits_the_screen():
    assert result("screenshot:800").shape[:2] == (450, 610)  # 129 x 175: its height is what fits 800 x 450
    wide = ForensicImage(np.zeros((100, 1000, 3), np.uint8))
    assert result("screenshot:500", wide).shape[:2] == (50, 500)
    assert perturb(perturb(PHOTO, "jpeg:80"), "screenshot:800").jpeg is None


def test_rescale_and_stretch_keep_what_they_say():
    assert result("rescale:0.25").shape == PHOTO.rgb.shape
    assert result("stretch:1.5").shape == (129, 262, 3)
    # a low-pass: what varies faster than the small image can hold is gone
    stripes = ForensicImage(np.tile(np.array([0, 255], np.uint8), (40, 30))[..., None].repeat(3, axis=2))
    assert result("rescale:0.5", stripes).std() < 5


# ------------------------------------------------------------------------------------------------- codecs


def test_jpeg_variants_are_written_as_they_say():
    def sampling(spec: str):
        return perturb(PHOTO, spec).dct.sampling

    assert sampling("jpeg_444:80") == ((1, 1),) * 3
    assert sampling("jpeg_422:80") == ((2, 1), (1, 1), (1, 1))
    assert sampling("jpeg_flat:7") == sampling("jpeg_mozjpeg:80") == ((2, 2), (1, 1), (1, 1))
    assert all((table == 7).all() for table in perturb(PHOTO, "jpeg_flat:7").dct.tables)
    assert np.array_equal(perturb(PHOTO, "jpeg_mozjpeg:50").dct.tables[1], np.minimum(ROBIDOUX, 255))
    assert np.array_equal(perturb(PHOTO, "jpeg_mozjpeg:75").dct.tables[0], (np.array(ROBIDOUX) * 50 + 50) // 100)


def test_progressive_jpeg_is_the_baseline_in_another_order():
    baseline, progressive = perturb(PHOTO, "jpeg:70"), perturb(PHOTO, "jpeg_progressive:70")
    assert np.array_equal(progressive.rgb, baseline.rgb)
    assert progressive.jpeg != baseline.jpeg
    assert Image.open(io.BytesIO(progressive.jpeg)).info.get("progressive")
    for one, other in zip(baseline.dct.coefficients, progressive.dct.coefficients, strict=True):
        assert np.array_equal(one, other)


def test_double_jpeg_leaves_the_first_grid_shifted():
    """Steps across the borders of blocks stand out at columns 4, 12, ...; after a single JPEG at 8, 16, ..."""
    smooth = ForensicImage(rounded(ndimage.gaussian_filter(PHOTO.rgb.astype(float), (3, 3, 0))))

    def strongest_column(spec: str) -> int:
        rows = result(spec, smooth).astype(float).mean(axis=2)
        jump = np.abs(rows[:, 2:-1] - rows[:, 1:-2] - (rows[:, 1:-2] - rows[:, :-3] + rows[:, 3:] - rows[:, 2:-1]) / 2)
        return int(np.argmax([jump.mean(axis=0)[(c - 2) % 8 :: 8].mean() for c in range(8)]))

    assert strongest_column("jpeg:20") == 0
    assert strongest_column("double_jpeg:20") == 4
    assert np.array_equal(perturb(PHOTO, "double_jpeg:20").dct.tables[0], perturb(PHOTO, "jpeg:90").dct.tables[0])


@pytest.mark.parametrize("name", ["webp", "avif", "heic", "jxl", "jpeg2000"])
def test_codecs_lose_more_at_coarser_levels(name):
    if name == "heic":
        pytest.importorskip("pillow_heif")
    if name == "jxl":
        pytest.importorskip("pillow_jxl")
    found = [perturb(PHOTO, f"{name}:{level}") for level in ((5, 20, 80) if name == "jpeg2000" else (90, 60, 20))]
    errors = [np.square(f.rgb.astype(float) - PHOTO.rgb).mean() for f in found]
    assert 0 < errors[0] < errors[1] < errors[2] < 1500
    assert found[0].stored > found[1].stored > found[2].stored > 0
    assert all(f.jpeg is None for f in found)


def test_jpeg2000_keeps_to_its_ratio():
    stored = perturb(ForensicImage(load_sample_image("china.jpg")), "jpeg2000:20").stored
    assert 640 * 427 * 3 / stored == pytest.approx(20, rel=0.05)


# ------------------------------------------------------------------------------------------------- networks


def photo_of(height: int, width: int) -> ForensicImage:
    return ForensicImage(np.asarray(Image.fromarray(PHOTO.rgb).resize((width, height), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize(
    "network, limit, quality, chroma, progressive",
    [
        ("telegram-desktop@2026", 1280, 87, 2, True),
        ("telegram-desktop-large@2026", 2560, 87, 2, True),
        ("signal-standard@2026", 1600, 70, 2, False),
        ("signal-high@2026", 4096, 75, 2, False),
        ("x@2022", 4096, 85, 2, False),
        ("facebook@2021", 2048, 92, 2, True),
        ("weibo@2021", None, 85, 1, False),
    ],
)
def test_networks_do_what_is_known_of_them(network, limit, quality, chroma, progressive):
    small = perturb(PHOTO, network)
    assert small.shape == PHOTO.shape
    assert estimated_quality(small.jpeg) == quality
    assert small.dct.sampling[0] == (chroma, chroma)
    assert bool(Image.open(io.BytesIO(small.jpeg)).info.get("progressive")) == progressive
    large = photo_of(100, 4400)
    sent = perturb(large, network)
    assert max(sent.shape) == (limit or 4400)
    assert sent.shape[0] == round(100 * (limit or 4400) / 4400)


@pytest.mark.parametrize("quality", [1, 30, 50, 71, 85, 92, 100])
def test_quality_is_read_from_the_table(quality):
    assert estimated_quality(encode_jpeg(PHOTO.rgb, quality)) == quality


def test_a_picture_that_is_passed_on_is_the_picture_itself():
    fine, coarse = perturb(PHOTO, "jpeg:95"), perturb(PHOTO, "jpeg:80")
    assert perturb(coarse, "x@2022") is coarse
    assert estimated_quality(perturb(fine, "x@2022").jpeg) == 85
    assert perturb(coarse, "telegram-desktop@2026") is coarse
    noisy = perturb(perturb(PHOTO, "noise:60", KEY), "jpeg:98")  # more than 4 bits a pixel
    assert estimated_quality(perturb(noisy, "telegram-desktop@2026").jpeg) == 87
    from bench.perturb import parse
    from bench.truth import Truth

    for spec, image, passed in (("x@2022", coarse, True), ("x@2022", fine, False), ("x@2022+blur:3", coarse, False)):
        assert parse(spec)[1].apply_pair(image, Truth.pristine(image.shape)).unchanged is passed


def test_facebook_by_ifosn_draws_its_quality_from_the_whole_range():
    found = [
        estimated_quality(perturb(ForensicImage(PHOTO.rgb[:16, :16].copy()), "facebook-ifosn@2022", ("s", str(i))).jpeg)
        for i in range(400)
    ]
    assert set(found) == set(range(71, 96))
    assert np.mean(found) == pytest.approx(83, abs=3 * np.sqrt((25**2 - 1) / 12 / 400))


def test_blur_of_pillow_is_what_hifi_calls_its_own():
    expected = Image.fromarray(PHOTO.rgb).filter(ImageFilter.GaussianBlur(3.5))
    assert np.array_equal(result("hifi_blur:3.5"), np.asarray(expected))
