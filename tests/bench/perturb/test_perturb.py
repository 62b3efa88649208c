import hashlib
import io
import math
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from bench.perturb import GRIDS, STEPS, Perturbation, PerturbationError, describe, parse, perturb, register, step
from models.image import ForensicImage

KEY = ("builtin", "splice-01")

# Start of the SHA-256 of the pixels of `made_image` after each perturbation: to change one of these is to
# change the benchmark.
GOLDEN = {
    "identity": "4161d7640baffcef",
    "jpeg:90": "05c2ee39e9ee6814",
    "jpeg:50": "fb3bde4a648109f9",
    "jpeg:1": "ad1a437e3e8891e0",
    "resize:0.75": "65145d66b5581768",
    "resize:0.5": "cea0778d84c6166b",
    "resize:0.9": "f5395420823cf8ad",
    "resize:1.5": "ff26a49c255af59f",
    "blur:3": "7d613a4a4af0cd62",
    "blur:5": "0d4c8bd0a6d429ba",
    "blur:9": "44cb5919339e4577",
    "blur:29": "35ce8641ae40c0be",
    "noise:2": "d6c32312aa1e4023",
    "noise:10": "b9ed82a4460e61d3",
    "resize:0.75+jpeg:70": "43420db8341a9262",
    "blur:3+noise:5+jpeg:60": "71ea840936ea799f",
}


def made_image(height: int = 97, width: int = 133) -> ForensicImage:
    """Flat, graded and textured areas, from integers only: the same bytes on every machine."""
    y, x = np.mgrid[0:height, 0:width]
    graded = np.stack([2 * x, 255 - 2 * y, x + y], axis=-1)
    textured = np.stack([x * y // 7, 5 * x + 3 * y, x * x // 9 + 40 * (y // 8 % 2)], axis=-1)
    rgb = np.where((x > width // 2)[..., None], textured % 256, np.clip(graded, 0, 255))
    rgb[height // 3 : height // 2, width // 4 : width // 3] = (200, 30, 90)
    return ForensicImage(rgb.astype(np.uint8))


def digest(image: ForensicImage) -> str:
    return hashlib.sha256(repr(image.rgb.shape).encode() + image.rgb.tobytes()).hexdigest()


def seeded_digest(spec: str) -> str:
    return digest(perturb(made_image(), spec, KEY, seed=3))


@pytest.mark.parametrize("spec", GOLDEN)
def test_pixels_are_the_same_on_every_machine(spec):
    assert digest(perturb(made_image(), spec, KEY))[:16] == GOLDEN[spec]


@pytest.mark.parametrize("quality", [1, 10, 50, 75, 90, 95, 100])
def test_jpeg_equals_pillow(quality):
    image = made_image()
    stream = io.BytesIO()
    Image.fromarray(image.rgb).save(stream, "JPEG", quality=quality)
    result = perturb(image, f"jpeg:{quality}")
    assert result.jpeg == stream.getvalue()
    assert np.array_equal(result.rgb, np.asarray(Image.open(stream)))


@pytest.mark.parametrize("quality", [5, 50, 75, 92])
def test_jpeg_result_has_the_tables_of_its_quality(quality):
    # ITU-T T.81, tables K.1 and K.2, and libjpeg's scaling of them.
    luminance = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56
        14 17 22 29 51 87 80 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92
        49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
    chroma = np.full((8, 8), 99)
    chroma[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    expected = [
        np.clip((base * scale + 50) // 100, 1, 255) for base in (np.array(luminance.split(), int).reshape(8, 8), chroma)
    ]
    stored = perturb(made_image(), f"jpeg:{quality}").dct
    assert [table.tolist() for table in stored.tables] == [t.tolist() for t in (*expected, expected[1])]
    assert stored.sampling == ((2, 2), (1, 1), (1, 1))


@pytest.mark.parametrize("factor, height, width", [(0.5, 48, 66), (0.75, 73, 100), (1.5, 146, 200), (0.05, 5, 7)])
def test_resize_rounds_each_side(factor, height, width):
    assert perturb(made_image(), f"resize:{factor}").shape == (height, width)


def test_resize_by_half_is_the_mean_of_four_pixels():
    image = made_image(96, 132)
    blocks = image.rgb.reshape(48, 2, 66, 2, 3).astype(int).sum((1, 3))
    result = perturb(image, "resize:0.5").rgb.astype(int)
    assert np.abs(4 * result - blocks).max() <= 2


def test_enlarging_is_bilinear_between_pixel_centres():
    row = np.array([0, 100, 200, 40], np.uint8)
    image = ForensicImage(np.repeat(np.repeat(row[None, :, None], 3, axis=2), 4, axis=0))
    centres = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    expected = np.interp(centres, np.arange(4), row.astype(float))
    result = perturb(image, "resize:2").rgb
    assert np.abs(result[3, :, 1] - expected).max() <= 0.5


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 9, 15, 29])
def test_blur_is_the_stated_gaussian(kernel_size):
    image = made_image()
    sigma = 0.3 * ((kernel_size - 1) * 0.5 - 1) + 0.8
    radius = (kernel_size // 2, kernel_size // 2, 0)
    exact = gaussian_filter(image.rgb.astype(float), (sigma, sigma, 0), radius=radius, mode="mirror")
    difference = np.abs(perturb(image, f"blur:{kernel_size}").rgb - np.rint(exact))
    assert difference.max() <= 1


@pytest.mark.parametrize("noise_std", [0.5, 2, 10, 30])
def test_noise_has_the_stated_deviation_in_each_channel(noise_std):
    grey = ForensicImage(np.full((400, 500, 3), 128, np.uint8))
    added = perturb(grey, f"noise:{noise_std}", KEY).rgb.astype(float) - 128
    rounded = math.sqrt(noise_std**2 + 1 / 12)  # rounding to whole levels adds the variance of a uniform step
    assert added.std((0, 1)) == pytest.approx([rounded] * 3, rel=0.02)
    assert np.abs(added.mean((0, 1))).max() < 4 * noise_std / math.sqrt(added[..., 0].size)
    assert np.abs(np.corrcoef(added.reshape(-1, 3).T) - np.eye(3)).max() < 0.01
    assert abs(np.corrcoef(added[:, :-1, 0].ravel(), added[:, 1:, 0].ravel())[0, 1]) < 0.01


def test_noise_saturates_instead_of_wrapping():
    extremes = ForensicImage(np.repeat(np.array([[0, 255]], np.uint8), 3, axis=0)[..., None].repeat(3, axis=2))
    result = perturb(extremes, "noise:20", KEY).rgb
    assert result[:, 0].max() < 128 < result[:, 1].min()


@pytest.mark.parametrize(
    "other",
    [
        {"key": ("builtin", "splice-02")},
        {"key": ("casia1", "splice-01")},
        {"seed": 1},
        {"spec": "noise:5+blur:1"},
    ],
    ids=["image", "test set", "seed", "chain"],
)
def test_noise_is_drawn_anew_for_each_coordinate(other):
    image = ForensicImage(np.full((60, 60, 3), 128, np.uint8))
    first = perturb(image, "noise:5", KEY).rgb.astype(float)
    second = perturb(image, **{"spec": "noise:5", "key": KEY, **other}).rgb.astype(float)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


def test_noise_of_two_levels_and_of_two_places_in_a_chain_is_independent():
    image = ForensicImage(np.full((60, 60, 3), 128, np.uint8))
    once = perturb(image, "noise:5", KEY).rgb.astype(float) - 128
    stronger = perturb(image, "noise:10", KEY).rgb.astype(float) - 128
    assert abs(np.corrcoef(once.ravel(), stronger.ravel())[0, 1]) < 0.05
    twice = perturb(image, "noise:5+noise:5", KEY).rgb.astype(float) - 128
    assert twice.std() == pytest.approx(math.sqrt(50), rel=0.05)  # equal draws would give 10


def test_result_does_not_depend_on_order_or_worker():
    specs = ["noise:5", "jpeg:70", "resize:0.75+noise:2", "noise:10"]
    forward = {spec: seeded_digest(spec) for spec in specs}
    backward = {spec: seeded_digest(spec) for spec in reversed(specs)}
    with ProcessPoolExecutor(1) as pool:
        elsewhere = dict(zip(specs, pool.map(seeded_digest, specs), strict=True))
    assert forward == backward == elsewhere


def test_chain_equals_its_steps_one_after_the_other():
    image = made_image()
    chained = perturb(image, "jpeg:70+resize:0.75+blur:3+jpeg:50")
    for spec in ("jpeg:70", "resize:0.75", "blur:3", "jpeg:50"):
        image = perturb(image, spec)
    assert chained.jpeg == image.jpeg
    assert np.array_equal(chained.rgb, image.rgb)


def test_noise_in_a_chain_takes_its_own_generator():
    image = made_image()
    (chain,) = parse("blur:3+noise:5+jpeg:80")[1:]
    blurred = perturb(image, "blur:3")
    noisy = STEPS["noise"].function(blurred, 5.0, chain.generator(1, KEY, 7))
    assert chain.apply(image, KEY, seed=7).jpeg == perturb(noisy, "jpeg:80").jpeg


def test_only_jpeg_results_carry_jpeg_bytes():
    photo = perturb(made_image(), "jpeg:90")
    assert perturb(photo, "identity") is photo
    for spec in ("resize:0.5", "resize:1", "blur:1", "noise:0", "jpeg:50+noise:2"):
        assert perturb(photo, spec, KEY).jpeg is None, spec
    for spec in ("jpeg:60", "noise:2+jpeg:60"):
        result = perturb(photo, spec, KEY)
        assert np.array_equal(ForensicImage.from_jpeg(result.jpeg).rgb, result.rgb), spec


def test_input_is_left_alone():
    image = made_image()
    before = image.rgb.copy()
    for p in parse("standard;noise:0;resize:1;blur:1"):
        p.apply(image, KEY)
    assert np.array_equal(image.rgb, before)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2)])
def test_every_perturbation_takes_the_smallest_images(shape):
    image = ForensicImage(np.full((*shape, 3), 77, np.uint8))
    for p in parse("standard;resize:0.05;blur:99;jpeg:40"):
        result = p.apply(image, KEY)
        assert result.rgb.dtype == np.uint8
        assert min(result.shape) >= 1
        if "noise" not in p.family:
            assert np.abs(result.rgb.astype(int) - 77).max() <= 2, p.spec


def test_parse_gives_specs_families_and_levels():
    found = parse(" jpeg:90, 60.0 ; blur:3+noise:5,2.50;resize:.6")
    assert [(p.spec, p.family, p.level) for p in found] == [
        ("identity", "identity", ""),
        ("jpeg:90", "jpeg", "90"),
        ("jpeg:60", "jpeg", "60"),
        ("blur:3+noise:5", "blur+noise", "3+5"),
        ("blur:3+noise:2.5", "blur+noise", "3+2.5"),
        ("resize:0.6", "resize", "0.6"),
    ]


def test_networks_are_levels_of_one_family():
    (alone, chained) = parse("facebook@2021;weibo@2021+jpeg:60")[1:]
    assert (alone.spec, alone.family, alone.level) == ("facebook@2021", "network", "facebook@2021")
    assert (chained.family, chained.level) == ("network+jpeg", "weibo@2021+60")


def test_parse_mixes_grids_and_specs_without_duplicates():
    standard = [p.spec for p in parse("standard")]
    assert [p.spec for p in parse("jpeg:35;standard;jpeg:90,60;identity;clean")] == [
        "identity",
        "jpeg:35",
        *standard[1:],
    ]
    assert [p.spec for p in parse("clean")] == ["identity"]


def test_standard_grid_has_its_levels():
    specs = {p.spec for p in parse("standard")} - {"identity"}
    assert len(specs) >= 13
    assert {"jpeg:70", "resize:0.5", "blur:5", "noise:10"} < specs
    assert {name for p in parse("standard") for name, _ in p.steps} == {"jpeg", "resize", "blur", "noise"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("jpg:60", "unknown perturbation 'jpg'.*did you mean 'jpeg'"),
        ("BLUR:3", "did you mean 'blur'"),
        ("standrd", "did you mean 'standard'"),
        ("qqq:3", "known: .*jpeg.*standard"),
        ("", "empty spec"),
        ("jpeg:60;;blur:3", "empty spec"),
        ("jpeg", "jpeg needs a level.*from 1 to 100"),
        ("jpeg:", "from 1 to 100"),
        ("jpeg:60,", "from 1 to 100"),
        ("jpeg:101", "jpeg:101 is not possible.*from 1 to 100"),
        ("jpeg:60.5", "whole number from 1 to 100"),
        ("blur:4", "odd number from 1 to 99"),
        ("blur:-3", "odd number from 1 to 99"),
        ("resize:0", "from 0.05 to 4"),
        ("noise:nan", "from 0 to 128"),
        ("noise:inf", "from 0 to 128"),
        ("noise:five", "from 0 to 128"),
        ("identity+jpeg:60", "'identity' stands alone"),
        ("standard+jpeg:60", "'standard' stands alone"),
        ("jpeg:60+", "unknown perturbation ''"),
    ],
)
def test_bad_specs_say_what_is_allowed(text, message):
    with pytest.raises(PerturbationError, match=message):
        parse(text)


def test_perturb_takes_one_perturbation():
    with pytest.raises(PerturbationError, match="names 2 perturbations"):
        perturb(made_image(), "jpeg:60,70")


def levels(name: str):
    s = STEPS[name]
    if s.values in ("none", "choice"):
        return st.sampled_from(s.choices or (None,))
    if s.values == "real":
        return st.floats(s.low, s.high, allow_nan=False, allow_subnormal=False)
    whole = st.integers(int(s.low), int(s.high))
    return whole.filter(lambda level: level % 2 == 1) if s.values == "odd" else whole


installed = sorted(name for name, s in STEPS.items() if s.installed)
steps = st.sampled_from(installed).flatmap(lambda name: st.tuples(st.just(name), levels(name)))


@given(st.lists(steps, min_size=1, max_size=4))
def test_canonical_spec_reads_back(chain):
    original = Perturbation(tuple(chain))
    found = parse(original.spec)
    assert found == [Perturbation(), original]
    assert found[1].spec == original.spec
    assert not re.search(r"\de", original.level)


def darken(image, factor, rng):
    """All samples scaled and cut to whole levels.

    Level: factor, of brightness
    Source: this test
    """
    return ForensicImage((image.rgb * factor).astype(np.uint8))


def test_a_perturbation_is_added_by_one_function(monkeypatch):
    monkeypatch.setattr("bench.perturb.registry.STEPS", steps := dict(STEPS))
    monkeypatch.setattr("bench.perturb.spec.STEPS", steps)
    added = step("darken", values="real", low=0, high=1, identity=1)(darken)
    register([added])
    image = made_image()
    assert np.array_equal(perturb(image, "darken:0.5").rgb, image.rgb // 2)
    entry = next(e for e in describe() if e["name"] == "darken")
    assert (entry["title"], entry["parameter"], entry["unit"], entry["source"]) == (
        "All samples scaled and cut to whole levels.", "factor", "of brightness", "this test",
    )  # fmt: skip
    with pytest.raises(PerturbationError, match="from 0 to 1"):
        parse("darken:2")
    with pytest.raises(ValueError, match="two perturbations"):
        register([added])


def test_a_perturbation_must_state_its_law(monkeypatch):
    monkeypatch.setattr("bench.perturb.registry.STEPS", dict(STEPS))
    with pytest.raises(ValueError, match="must state its law"):
        register([step("silent", values="none")(lambda image, level, rng: image)])


def test_an_installed_package_adds_perturbations(tmp_path):
    """Through the entry-point group, in a process of its own; a broken one is named and does no harm."""
    (tmp_path / "theirs.py").write_text(
        "from bench.perturb.step import step\n"
        "from models import ForensicImage\n"
        "@step('negative', values='none')\n"
        "def negative(image, level, rng):\n"
        '    """The negative.\n\n    Source: theirs\n    """\n'
        "    return ForensicImage(255 - image.rgb)\n"
    )
    about = tmp_path / "theirs-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[bench.perturbations]\ntheirs = theirs\nbroken = theirs_not\n")
    code = (
        "import numpy as np; from bench.perturb import parse, perturb; from models import ForensicImage\n"
        "image = ForensicImage(np.full((2, 3, 3), 55, np.uint8))\n"
        "print(perturb(image, 'negative').rgb.max(), parse('negative')[1].modules[-1])"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout == "200 theirs:negative\n", done.stderr
    assert "'broken' (theirs_not)" in done.stderr


def test_describe_lists_steps_and_grids():
    entries = describe()
    assert [e["name"] for e in entries] == ["identity", *STEPS, *GRIDS]
    assert all(e["title"] for e in entries)
    jpeg = next(e for e in entries if e["name"] == "jpeg")
    assert (jpeg["low"], jpeg["high"], jpeg["values"]) == (1, 100, "integer")
    standard = next(e for e in entries if e["name"] == "standard")
    assert standard["specs"] == [p.spec for p in parse("standard")]


def test_jpeg_pixels_are_what_opencv_decodes():
    result = perturb(made_image(), "jpeg:40")
    decoded = cv2.imdecode(np.frombuffer(result.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(result.rgb, decoded)
