"""What holds for every perturbation: over odd images, over its whole range, in any order, for any seed."""

import ast
import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.perturb import STEPS, Perturbation, PerturbationError, Step, describe, parse, perturb, registry
from bench.perturb.chain import MAX_PIXELS
from bench.truth import Truth
from models.image import ForensicImage

KEY = ("set", "image")
INSTALLED = [name for name, s in STEPS.items() if s.installed]
ODD_SHAPES = [(1, 1), (1, 37), (41, 1), (2, 3), (7, 9), (13, 64), (33, 17), (97, 131)]
TOO_SMALL = ("crop", "trim", "hifi_resize", "perspective")  # may have to refuse a small image


def levels_of(s: Step) -> st.SearchStrategy:
    if s.values == "none":
        return st.none()
    if s.values == "choice":
        return st.sampled_from(s.choices)
    if s.values == "real":
        return st.one_of(
            st.sampled_from([float(s.low), float(s.high)]), st.floats(s.low, s.high, allow_subnormal=False)
        )
    whole = st.integers(int(s.low), int(s.high))
    return whole.map(lambda n: n if n % 2 else max(1, n - 1)) if s.values == "odd" else whole


@functools.cache
def content(kind: str, height: int, width: int) -> np.ndarray:
    if kind == "saturated":
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[::2, ::3] = 255
        rgb[:, width // 2 :] = (255, 0, 255)
    elif kind == "grey":
        rgb = np.full((height, width, 3), 128, np.uint8)
    else:
        rgb = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)
    rgb.setflags(write=False)
    return rgb


images = st.builds(
    lambda kind, shape: ForensicImage(content(kind, *shape)),
    st.sampled_from(["random", "grey", "saturated"]),
    st.sampled_from(ODD_SHAPES),
)


@pytest.mark.parametrize("name", INSTALLED)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_every_perturbation_over_odd_images_and_its_whole_range(name, data):
    s, image = STEPS[name], data.draw(images)
    perturbation = Perturbation(((name, data.draw(levels_of(s))),))
    truth = Truth.of(image.rgb[..., 0] > 127)
    try:
        pair = perturbation.apply_pair(image, truth, KEY, seed=1)
    except PerturbationError:
        assert name in TOO_SMALL
        return
    rgb = pair.image.rgb
    assert (rgb.dtype, rgb.ndim, rgb.shape[2]) == (np.uint8, 3, 3)
    assert rgb.flags.c_contiguous and rgb.size
    if s.geometric:
        assert pair.truth.shape == pair.image.shape
        assert set(np.unique(pair.truth.values)) <= {0, 255}
    else:
        assert pair.truth is truth and pair.reference is image
    again = parse(perturbation.spec)[1]
    assert again == perturbation
    assert np.array_equal(again.apply(image, KEY, seed=1).rgb, rgb)  # also: apply and apply_pair agree
    if pair.image.jpeg is not None:
        assert np.array_equal(ForensicImage.from_jpeg(pair.image.jpeg).rgb, rgb)
    assert pair.unchanged == (np.array_equal(rgb, image.rgb) and pair.image.jpeg is None)


@pytest.mark.parametrize("name", [n for n in INSTALLED if STEPS[n].identity is not None])
@pytest.mark.parametrize("kind", ["random", "saturated"])
@pytest.mark.parametrize("shape", [(3, 2), (33, 17), (97, 131)])
def test_the_identity_level_is_identity(name, kind, shape):
    image = ForensicImage(content(kind, *shape))
    truth = Truth(image.rgb[..., 1], (image.rgb[..., 2] // 64), image.rgb[..., 0] > 20)
    pair = Perturbation(((name, STEPS[name].identity),)).apply_pair(image, truth, KEY)
    assert pair.unchanged
    assert np.array_equal(pair.image.rgb, image.rgb)
    assert np.array_equal(pair.truth.values, truth.values)
    all_can = np.ones(truth.shape, bool)
    assert np.array_equal(all_can if pair.truth.scorable is None else pair.truth.scorable, truth.scorable)


@pytest.mark.parametrize("name", INSTALLED)
def test_no_level_wraps_around(name):
    """Black and white areas: what a step makes of them never jumps to the other end, as overflowing bytes do."""
    s = STEPS[name]
    if name in (
        "salt_pepper",
        "jpeg_flat",
        "avif",
        "heic",
        "jxl",
        "jpeg2000",
        "pixelate",
        "hue",
        "clahe",
        "equalize",
        "palette",
    ):
        pytest.skip("makes extreme values by its law, or is a codec at its coarsest")
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 255
    for level in {s.identity or mild(s), mild(s)}:
        pair = Perturbation(((name, level),)).apply_pair(ForensicImage(image), Truth.of(image[..., 0] > 0), KEY)
        result, truth = pair.image.rgb.astype(int), pair.truth
        if s.geometric:
            scorable = np.ones(truth.shape, bool) if truth.scorable is None else truth.scorable
            assert not ((result[..., 0] > 127) != truth.forged)[scorable].any()
        else:
            far = result.shape[1] // 4
            assert result[:, :far].mean() < 127 < result[:, -far:].mean(), level


def mild(s: Step):
    """A level near the identity, or of middling strength."""
    if s.values in ("none", "choice"):
        return s.choices[0] if s.choices else None
    if s.values == "odd":
        return 5
    if s.identity is None:
        middle = (s.low + s.high) / 2
    else:
        middle = s.identity + 0.1 * (s.high - s.identity or s.low - s.identity)
    return middle if s.values == "real" else round(middle)


@pytest.mark.parametrize("name", INSTALLED)
def test_the_seed_decides_and_only_where_something_is_drawn(name):
    s, image = STEPS[name], ForensicImage(content("random", 48, 56))
    perturbation = Perturbation(((name, mild(s)),))
    results = [perturbation.apply(image, KEY, seed=seed).rgb for seed in range(12)]
    distinct = len({r.tobytes() for r in results})
    assert (distinct > 1) is not s.deterministic


def test_order_of_runs_does_not_matter():
    image = ForensicImage(content("random", 33, 17))
    chosen = [p for p in parse("wide") if not p.deterministic or p.geometric]
    forward = {p.spec: p.apply(image, KEY).rgb.tobytes() for p in chosen}
    assert {p.spec: p.apply(image, KEY).rgb.tobytes() for p in reversed(chosen)} == forward


SLOW = ("heic", "avif", "jpeg2000", "jxl", "webp", "palette", "bilateral", "poisson_gaussian")  # seconds at this size


@pytest.mark.slow
def test_twelve_megapixels():
    rng = np.random.default_rng(0)
    image = ForensicImage(np.repeat(np.repeat(rng.integers(0, 256, (300, 401, 3), np.uint8), 10, 0), 10, 1))
    truth = Truth.of(image.rgb[..., 0] > 127)
    for name in [name for name in INSTALLED if name not in SLOW]:
        s = STEPS[name]
        pair = Perturbation(((name, mild(s)),)).apply_pair(image, truth, KEY)
        assert pair.image.rgb.dtype == np.uint8, name
        assert pair.truth.shape == (pair.image.shape if s.geometric else truth.shape), name


def test_at_least_thirty_five_operations():
    """Variants of one operation (JPEG's tables and samplings, papers' own noise, one network's options) count once."""
    variants = ("jpeg_", "imdlbenco_", "safire_", "hifi_", "mpc_", "telegram-desktop-", "signal-high", "facebook-")
    assert len([name for name in STEPS if not name.startswith(variants)]) >= 35


def test_every_record_is_complete():
    for entry in describe():
        if entry["type"] == "perturbation" and entry["name"] != "identity":
            assert entry["title"] and entry["source"], entry["name"]
            assert entry["title"].endswith((".", ")", "recompression."))
            if entry["values"] in ("integer", "odd", "real"):
                assert entry["low"] < entry["high"] and entry["parameter"] and entry["unit"], entry["name"]
            assert ("@" in entry["name"]) == bool(entry["evidence"])


def test_a_missing_codec_names_its_extra(monkeypatch):
    monkeypatch.setattr("bench.perturb.registry._importable", lambda module: False)
    with pytest.raises(PerturbationError, match=r"heic needs pillow_heif.*forgery-bench\[heic\]"):
        parse("heic:50")
    with pytest.raises(PerturbationError, match="webp needs PIL"):
        parse("webp:50")


@pytest.mark.parametrize(
    "text, message",
    [
        ("flip:diagonal", "flip takes one of horizontal, vertical"),
        ("facebook@2021:3", "takes no level"),
        ("facebook@2022", "did you mean 'facebook@2021'"),
        ("whatsapp@2024", "unknown perturbation"),
        ("crop:0", "from 0.05 to 1"),
        ("webp:102", "from 1 to 101"),
    ],
)
def test_bad_levels_say_what_is_allowed(text, message):
    with pytest.raises(PerturbationError, match=message):
        parse(text)


def test_a_result_that_no_decoder_would_open_is_refused_before_it_is_made():
    image = ForensicImage(np.zeros((2000, 2000, 3), np.uint8))
    with pytest.raises(PerturbationError, match=r"megapixels.*smaller factor"):
        perturb(image, "resize:4+resize:4")
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


def test_code_of_a_result_is_that_of_its_steps():
    chained = parse("rotate:5+gamma:2")[1]
    assert set(parse("gamma:2")[1].modules) < set(chained.modules)
    assert {m.rpartition(".")[2] for m in chained.modules} == {
        "chain:apply_pair", "chain:generator", "photometric:gamma", "warps:rotate",
    }  # fmt: skip
    assert parse("clean")[0].modules == ()


def test_a_family_imports_nothing_that_knows_all_families():
    """Else the key of one perturbation would change with every other."""
    folder = Path(registry.__file__).parent
    leaves = [*(folder / "families").glob("*.py"), folder / "chain.py", folder / "step.py", folder / "encode.py"]
    for file in leaves:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                known = ("registry", "spec")
                assert not any(n.startswith("bench.perturb.") and n.rpartition(".")[2] in known for n in names), file
