"""What holds for every published network: bad checkpoints, odd images, images that do not fit into memory."""

import numpy as np
import pytest
import torch

import models
from bench.identity import identify
from models import WeightsError, WeightsMissing
from models.deep.composite import CompositeLocalizer
from models.deep.mmfusion import CHECKPOINT_KEYS
from models.deep.noiseprint import blind
from models.deep.parts.tiles import Tiling
from models.image import ForensicImage, NotApplicable, encode_jpeg
from models.memory import Cost, MemoryLimitError, MemoryPolicy
from models.network import NetworkLocalizer, without_memory

pytestmark = pytest.mark.slow  # all networks are built

NETWORKS = [card.name for card in models.cards() if "deep" in card.groups]
NATIVE = [name for name in NETWORKS if models.find(name).memory is not None]
# Networks whose weights are easily mistaken for each other's.
VARIANTS = [
    ("focal-hrnet", "focal-vit"),
    ("focal", "focal-vit"),
    ("hifi-net", "hifi-net-loc"),
    ("mantranet", "mantranet-keras"),
    ("mesorch", "mesorch-p"),
    ("mpc-catnet", "mpc-casia2"),
    ("trufor", "safire"),
]
# Their maps are labels of clusters, or depend on them, and jump where a rounding error moves a point.
CLUSTERED = {"focal", "focal-hrnet", "focal-vit", "safire"}
SMALLEST = {"hifi-net-loc": 10, "noiseprint": blind.smallest_side()}


def test_every_network_is_one_in_code_and_those_that_see_photos_at_their_own_size_plan_their_memory():
    assert all(issubclass(models.find(name), NetworkLocalizer) for name in NETWORKS)
    assert set(NATIVE) == {
        *("catnet-v2", "hifi-net-loc", "mantranet", "mantranet-keras", "mmfusion", "pscc-net", "rru-net", "trufor")
    }


def first_of(weights: dict) -> dict:
    """The (first) state dict."""
    return next((value for value in weights.values() if isinstance(value, dict)), weights)


@pytest.mark.parametrize("name", NETWORKS)
def test_bad_checkpoints_are_refused_with_their_name(name, tiny_weights, monkeypatch, tmp_path):
    weights, file = tiny_weights(name), tmp_path / "given.pth"
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(WeightsMissing, match="download it from http"):
        models.build(name)
    torch.save(weights, file)
    assert len(models.build(name, weights=file).weights_digest) >= 64
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"given\.pth: damaged, truncated or no checkpoint"):
        models.build(name, weights=file)
    file.write_bytes(b"<!DOCTYPE html><html>Download anyway?</html>")
    with pytest.raises(WeightsError, match=r"given\.pth: a web page and no checkpoint"):
        models.build(name, weights=file)
    state = first_of(weights)
    lost = next(iter(state))
    shape = state.pop(lost).shape
    with pytest.raises(WeightsError, match="1 missing, first"):
        models.build(name, weights=weights)
    state[lost] = torch.zeros(*shape, 2)
    with pytest.raises(WeightsError, match="1 misshapen, first"):
        models.build(name, weights=weights)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_result_of_it_has_a_key_in_the_store(name, tiny_weights):
    weights = tiny_weights(name)
    assert len(identify(models.build(name, weights=weights)).digest) == 64


@pytest.mark.parametrize(("name", "other"), [*VARIANTS, *(pair[::-1] for pair in VARIANTS)])
def test_the_checkpoint_of_another_variant_is_refused(name, other, tiny_weights, tmp_path):
    given = tiny_weights(other)
    weights = tiny_weights(name)
    torch.save({"state_dict": given}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth does not fit .*likely cause"):
        models.build(name, weights=tmp_path / "other.pth")
    torch.save(weights, tmp_path / "own.pth")
    assert models.build(name, weights=tmp_path / "own.pth").network is not None


@pytest.mark.parametrize("name", NETWORKS)
def test_odd_images_have_a_map_or_do_not_apply(name, tiny_weights, photo):
    localizer = models.build(name, weights=tiny_weights(name))
    grey = photo(33, 47, grey=True)
    pixel = ForensicImage(np.full((1, 1, 3), 200, np.uint8))
    flat = ForensicImage(np.zeros((40, 34, 3), np.uint8))
    for image in (grey, pixel, flat, photo(2, 70), ForensicImage.from_jpeg(encode_jpeg(grey.rgb, 70))):
        if min(image.shape) < SMALLEST.get(name, 1):
            with pytest.raises(NotApplicable, match="pixels a side"):
                localizer.localize(image)
            continue
        score = localizer.localize(image)
        assert score.values.shape == image.shape and np.isfinite(score.values).all()
        if score.kind == "probability":
            assert score.values.min() >= 0 and score.values.max() <= 1


def files_of(name: str, weights: dict) -> dict[str, object]:
    """What the registered files hold, by their names on the card."""
    files = [file.name for file in models.find(name).card.weights]
    if name == "noiseprint" or not issubclass(models.find(name), CompositeLocalizer):
        return {files[0]: {"epoch": 3, **weights} if name == "mmfusion" else {"state_dict": weights, "epoch": 3}}
    own = {}
    for part, _ in without_memory(models.find(name).make_network).named_children():
        state = {key.removeprefix(f"{part}."): value for key, value in weights.items() if key.startswith(f"{part}.")}
        own[files[len(own)]] = state if part == "sphere" else {f"module.{key}": value for key, value in state.items()}
    return own


@pytest.mark.parametrize("name", NETWORKS)
def test_registered_files_are_found_and_foreign_ones_named(name, tiny_weights, photo, monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    weights = tiny_weights(name)
    files = files_of(name, weights)
    card = models.find(name).card
    for file, content in files.items():
        page, path = next(f.page for f in card.weights if f.name == file), tmp_path / file
        with pytest.raises(WeightsMissing) as caught:
            models.build(name)
        assert all(words in str(caught.value) for words in (path.name, page)) and name in str(caught.value)
        if path.suffix == ".h5":
            return  # those are read in a test of their own
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path)
    given = models.build(name, weights=weights)
    image = photo(190, 200)
    np.testing.assert_array_equal(models.build(name).localize(image).values, given.localize(image).values)
    foreign = {"weight": torch.zeros(2)}
    torch.save({key: foreign for key in CHECKPOINT_KEYS} if name == "mmfusion" else {"model": foreign}, path)
    with pytest.raises(
        WeightsError, match=rf"{path.name} does not fit \w+: .*likely cause: the file belongs to another"
    ):
        models.build(name)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "noiseprint"])
def test_bfloat16_is_close_to_float32(name, tiny_weights, photo):
    """As close as 8 bits of precision let a network of random weights be; what it costs on photos is measured."""
    weights, image = tiny_weights(name), photo(64, 72)
    full, half = (models.build(name, weights=weights, precision=p) for p in ("float32", "bfloat16"))
    exact, rounded = full.localize(image), half.localize(image)
    assert rounded.values.dtype == np.float32 and rounded.kind == exact.kind
    assert (full.precision, half.precision) == ("float32", "bfloat16") and full.identity() != half.identity()
    if name not in CLUSTERED:
        assert (rounded.values != exact.values).any()
        assert np.abs(rounded.values - exact.values).mean() < 0.5 * exact.values.std() + 1e-3


@pytest.mark.parametrize("name", NATIVE)
def test_a_photo_that_does_not_fit_is_seen_in_tiles_and_the_result_says_so(name, tiny_weights, photo, monkeypatch):
    weights, image, cls = tiny_weights(name), photo(120, 150), models.find(name)
    tiling = None if cls.memory.tiling is None else Tiling(128, 32)
    monkeypatch.setattr(cls, "memory", MemoryPolicy(Cost(per_pixel=1000), tiling))
    enough, less, too_little = (models.build(name, weights=weights, memory_gb=gb) for gb in (0.04, 0.0179, 0.001))
    whole = enough.localize(image)
    assert whole.extras["seen"] == "whole" and whole.extras["budget_gb"] == 0.04
    assert less.identity() == enough.identity()  # how a photo was seen is kept with its result
    if tiling is None:
        with pytest.raises(MemoryLimitError, match=rf"{name} needs 0\.0\d+ GB .* tiles would not give the same"):
            less.localize(image)
        return
    tiled = less.localize(image)
    assert tiled.extras["seen"] == "tiles 128x128, overlap 64" and tiled.extras["whole_gb"] == 0.02
    assert tiled.values.shape == image.shape and np.isfinite(tiled.values).all()
    assert (tiled.image_score is None) == (whole.image_score is None)
    np.testing.assert_array_equal(less.localize(image).values, tiled.values)
    with pytest.raises(MemoryLimitError, match=rf"{name} needs 0\.0\d+ GB for 15. x 120 pixels even in tiles of 128"):
        too_little.localize(image)
    small = photo(32, 32)
    assert less.localize(small).extras["seen"] == "whole"
