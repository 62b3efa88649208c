"""The papers' perturbations against recorded outputs of their code, which is research-only and read from ../shared."""

import hashlib
import json
import random

import numpy as np
import pytest
from PIL import Image

from bench.perturb import GRIDS, parse, perturb
from bench.perturb.families.hifi import noisy
from bench.perturb.families.imdlbenco import swapped_jpeg, truncated
from bench.perturb.families.safire import gamma_curve
from models.image import ForensicImage
from tests.shared import shared_path

IMAGES = ("astronaut", "chelsea", "synthetic")
# recorded family -> our perturbation, for what is deterministic
EQUAL = {
    "imdlbenco_blur": "imdlbenco_blur",
    "safire_blur": "safire_blur",
    "safire_gamma_truncated": "safire_gamma",
    "opencv_jpeg_true_colours": "jpeg",
    "pillow_jpeg": "jpeg",
    "hifi_blur": "hifi_blur",
    "hifi_resize": "hifi_resize",
    "catnet_resave": "jpeg_444",
}
LEVELS = {"radius7": "7", "100_444": "100", "var15_255": "15"}  # how a level is written there -> here
GREY = np.full((512, 512, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def outputs():
    folder = shared_path("perturbations")
    with np.load(folder / "outputs.npz") as arrays:
        return dict(arrays), json.loads((folder / "outputs.json").read_text())


def of_family(outputs, family):
    """(level, image, array or None, record) of each output of one family."""
    arrays, about = outputs
    for name, record in about["outputs"].items():
        if name.startswith(f"{family}/"):
            _, level, image = name.split("/")
            yield level, arrays[f"input/{image}"], arrays.get(name), record


@pytest.mark.parametrize("family", EQUAL)
def test_equals_the_recorded_output(outputs, family):
    count = 0
    for level, rgb, expected, record in of_family(outputs, family):
        result = perturb(ForensicImage(rgb), f"{EQUAL[family]}:{LEVELS.get(level, level)}")
        assert np.array_equal(result.rgb, expected), (family, level)
        if "encoded_bytes" in record:
            assert len(result.jpeg) == record["encoded_bytes"]
        count += 1
    assert count and count % len(IMAGES) == 0


def test_imdlbenco_jpeg_is_that_of_swapped_channels(outputs):
    found = list(of_family(outputs, "imdlbenco_jpeg"))
    assert len(found) == 12 * len(IMAGES)
    for level, rgb, expected, record in found:
        result = swapped_jpeg(rgb, int(level))
        assert np.array_equal(result.rgb, expected), level
        assert result.stored == record["encoded_bytes"]


def test_imdlbenco_jpeg_draws_one_of_two_qualities(outputs):
    rgb = outputs[0]["input/synthetic"]
    for quality in (50, 100):
        both = {swapped_jpeg(rgb, q).rgb.tobytes(): q for q in (quality - 1, quality)}
        n = 400
        drawn = [
            both[perturb(ForensicImage(rgb), f"imdlbenco_jpeg:{quality}", ("set", str(i))).rgb.tobytes()]
            for i in range(n)
        ]
        assert abs(drawn.count(quality) / n - 0.5) < 3 * 0.5 / np.sqrt(n)
        assert perturb(ForensicImage(rgb), f"imdlbenco_jpeg:{quality}").jpeg is None  # its file shows other colours


def test_imdlbenco_noise_from_the_original_draws(outputs):
    for level, rgb, expected, _ in of_family(outputs, "imdlbenco_noise"):
        draws = random.Random(0)
        draws.random()
        variance = draws.uniform(float(level), float(level))
        seeded = np.random.RandomState(draws.randint(0, 2**32 - 1))  # as albumentations does
        assert np.array_equal(truncated(rgb, seeded.normal(0, variance**0.5, rgb.shape)), expected), level


def test_safire_noise_from_the_original_draws(outputs):
    for level, rgb, expected, _ in of_family(outputs, "safire_noise"):
        seeded = np.random.RandomState(0)  # as SAFIRE does
        draw = seeded.normal(0, float(level), rgb.shape).astype(np.float32)
        assert np.array_equal(truncated(rgb, draw), expected), level


def test_hifi_noise_from_the_original_draws(outputs):
    for _, rgb, _, record in of_family(outputs, "hifi_noise"):
        result = noisy(rgb, np.random.default_rng(0).normal(0, (15 / 255) ** 0.5, rgb.shape))
        assert hashlib.sha256(result.tobytes()).hexdigest() == record["sha256"]
    for _, rgb, expected, _ in of_family(outputs, "hifi_noise_truncated"):
        result = noisy(rgb, np.random.default_rng(0).normal(0, (15 / 255) ** 0.5, rgb.shape))
        assert np.array_equal(result.astype(np.uint8), expected)


def test_safire_gamma_in_floating_point(outputs):
    for level, rgb, _, record in of_family(outputs, "safire_gamma"):
        stated = 0.7 + 0.15 * 4 if level == "1.3" else float(level)  # 1.2999999999999998, which alone it accepts
        assert hashlib.sha256(gamma_curve(stated)[rgb].tobytes()).hexdigest() == record["sha256"], level


def test_noise_measures_as_recorded(outputs):
    """Mean and deviation on flat grey, within three standard errors of the recorded estimates."""
    n = GREY[..., 0].size
    for name, recorded in outputs[1]["noise_on_flat_grey_128"].items():
        family, level = name.split("/")
        if not level.isdecimal():  # "15, before clipping": not what an image can hold
            continue
        added = perturb(ForensicImage(GREY), f"{family}:{LEVELS.get(level, level)}", ("set", "grey")).rgb - 128.0
        added += 0.5 if family == "hifi_noise" else 0  # recorded before its truncation
        for channel in range(3):
            std = recorded["std"][channel]
            assert abs(added[..., channel].mean() - recorded["mean"][channel]) < 3 * std * np.sqrt(2 / n), name
            assert abs(added[..., channel].std() - std) < 3 * std / np.sqrt(n), name  # sqrt(2) sqrt(1 / 2n)


@pytest.mark.parametrize(
    "spec, std",
    [("mpc_noise_variance:0.002", 255 * 0.002**0.5), ("mpc_noise_variance:0.01", 25.5), ("mpc_noise_std:0.01", 2.55)],
)
def test_mpc_noise_has_the_deviation_of_its_reading(spec, std):
    added = perturb(ForensicImage(GREY), spec, ("set", "grey")).rgb - 128.0
    assert added.std() == pytest.approx((std**2 + 1 / 12) ** 0.5, rel=3 / np.sqrt(2 * GREY.size))
    assert abs(added.mean()) < 3 * std / np.sqrt(GREY.size)


def test_hifi_is_pillow(outputs):
    image = Image.fromarray(outputs[0]["input/chelsea"])
    resized = image.resize((image.width // 4, image.height // 4), Image.Resampling.BILINEAR)
    assert np.array_equal(perturb(ForensicImage(np.array(image)), "hifi_resize:0.25").rgb, np.array(resized))


def specs(grid: str) -> set[str]:
    return {p.spec for p in parse(grid)} - {"identity"}


def test_grids_of_papers_that_share_code_are_equal():
    assert specs("imdlbenco") == specs("mesorch") == specs("sparsevit")
    assert {s for s in specs("safire") if "jpeg" in s} == {s for s in specs("imdlbenco") if "jpeg" in s}
    assert "imdlbenco_blur:19" in specs("safire")  # the one function, under the name it was first found


def test_mpc_grid_has_both_readings_of_its_noise():
    readings = {s.partition(":")[0] for s in specs("mpc") if s.startswith("mpc_noise")}
    assert readings == {"mpc_noise_variance", "mpc_noise_std"}
    assert len([s for s in specs("mpc") if "+" not in s]) == 5 * 5


def test_no_paper_law_is_in_our_own_grids():
    papers = ("imdlbenco_", "safire_", "hifi_", "mpc_")
    for grid in ("standard", "wide", "networks"):
        assert not [s for s in specs(grid) if s.startswith(papers)]


def test_wide_has_forty_levels_of_twelve_families():
    found = parse("wide")[1:]
    assert len(found) >= 40
    assert len({p.family for p in found}) >= 12
    assert set(GRIDS) >= {"mpc", "imdlbenco", "mesorch", "sparsevit", "safire", "hifi", "imlvit", "pscc", "mvss"}
