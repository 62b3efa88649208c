"""From mask files to ground truth: every depth, format and container says the same; nothing is guessed in silence."""

import zipfile

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from shared import shared_path

from bench.data.masks import MaskRule, decode, mask_size, read_truth, shapes_truth
from models.image import ImageError

SHAPE = (48, 64)
FORGED = np.zeros(SHAPE, bool)
FORGED[5:25, 10:32] = True
PLAIN = MaskRule()


def forged(path, rule=PLAIN):
    return read_truth([path], rule, SHAPE).forged


# --------------------------------------------------------------------------------- depth, channels and containers


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "dtype, value", [("u1", 1), ("u1", 200), ("u1", 255), ("u2", 1), ("u2", 255), ("u2", 40000), ("u2", 65535)]
)
def test_the_scale_of_a_mask_is_told_by_its_values_and_not_by_its_type(tmp_path, suffix, channels, dtype, value):
    values = np.repeat((FORGED * value).astype(dtype)[:, :, None], channels, axis=2)
    if channels == 4:
        values[:, :, 3] = np.iinfo(dtype).max
    assert cv2.imwrite(str(tmp_path / f"m.{suffix}"), values)
    assert np.array_equal(forged(tmp_path / f"m.{suffix}"), FORGED)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I", "F"])
def test_every_mode_of_an_image_file(tmp_path, mode):
    Image.fromarray((FORGED * 255).astype(np.uint8)).convert(mode).save(tmp_path / "m.tif")
    assert np.array_equal(forged(tmp_path / "m.tif"), FORGED)


@pytest.mark.parametrize("dtype", ["bool", "u1", "i8", "f4"])
@pytest.mark.parametrize("suffix", ["npz", "npy"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays(tmp_path, dtype, suffix, order):
    values = np.asarray(FORGED.astype(dtype), order=order)
    (np.savez_compressed if suffix == "npz" else np.save)(tmp_path / f"m.{suffix}", values)
    assert mask_size(tmp_path / f"m.{suffix}") == SHAPE
    assert np.array_equal(forged(tmp_path / f"m.{suffix}"), FORGED)


def test_planes_of_one_image_in_an_array_are_united(tmp_path):
    np.save(tmp_path / "m.npy", np.stack([FORGED, np.roll(FORGED, 20, 1)]).astype(np.uint8))
    assert np.array_equal(forged(tmp_path / "m.npy"), FORGED | np.roll(FORGED, 20, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("colour", [False, True])
def test_an_orientation_tag_turns_no_mask(tmp_path, orientation, dtype, colour):
    values = (FORGED * np.iinfo(dtype).max).astype(dtype)
    values = np.repeat(values[:, :, None], 3, axis=2) if colour else values
    options = {"photometric": "rgb"} if colour else {}
    tifffile.imwrite(tmp_path / "m.tif", values, extratags=[(274, "H", 1, orientation, True)], **options)
    assert mask_size(tmp_path / "m.tif") == SHAPE
    assert np.array_equal(forged(tmp_path / "m.tif"), FORGED)


# ---------------------------------------------------------------------------------------------------------- alpha


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (200, 30, 90)])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_a_mask_in_the_alpha_channel(tmp_path, colour, suffix):
    pixels = np.zeros((*SHAPE, 4), np.uint8)
    pixels[:, :, :3], pixels[:, :, 3] = colour, FORGED * 255
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(pixels).save(tmp_path / f"m.{suffix}", **options)
    assert np.array_equal(forged(tmp_path / f"m.{suffix}"), FORGED)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_that_says_the_same_as_the_colours_or_nothing(tmp_path, mode):
    for alpha in (np.full(SHAPE, 255), np.zeros(SHAPE), FORGED * 255):
        bands = [Image.fromarray((FORGED * 255).astype(np.uint8))] * (len(mode) - 1)
        Image.merge(mode, [*bands, Image.fromarray(alpha.astype(np.uint8))]).save(tmp_path / "m.png")
        assert np.array_equal(forged(tmp_path / "m.png"), FORGED)


def test_alpha_that_contradicts_the_colours_is_a_defect(tmp_path):
    pixels = np.zeros((*SHAPE, 4), np.uint8)
    pixels[:, :, :3], pixels[:, :, 3] = (FORGED * 255)[:, :, None], ~FORGED * 255
    Image.fromarray(pixels).save(tmp_path / "m.png")
    message = rf"m\.png: its colours mark {FORGED.sum()} pixels and its alpha channel {(~FORGED).sum()}"
    with pytest.raises(ImageError, match=message):
        forged(tmp_path / "m.png")


def test_a_palette_with_transparency(tmp_path):
    image = Image.fromarray(FORGED.astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 255, 255, 255])
    image.save(tmp_path / "m.png", transparency=0)
    assert np.array_equal(forged(tmp_path / "m.png"), FORGED)


# ---------------------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize("value", [2, 64, 127])
def test_low_values_are_told_with_the_largest_one(tmp_path, value):
    Image.fromarray((FORGED * value).astype(np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(ImageError, match=rf"largest value is {value}, .*above 127 .*threshold = 0 in a card"):
        forged(tmp_path / "m.png")
    assert np.array_equal(forged(tmp_path / "m.png", MaskRule(threshold=0)), FORGED)


def test_soft_values_are_kept_unless_the_card_cuts_them():
    rgb = np.array([[[0, 0, 0], [200, 0, 0], [0, 121, 0], [0, 120, 255]]], np.uint8)

    def values(**rule):
        return MaskRule(**rule).apply(rgb).values.tolist()

    assert values() == [[0, 200, 121, 255]]
    assert values(forged="below") == [[255, 55, 134, 0]]
    assert values(channel="green", threshold=120) == [[0, 0, 255, 0]]
    assert values(channel="red", threshold=127, forged="below") == [[255, 0, 255, 255]]
    assert values(threshold=0) == [[0, 255, 255, 255]]


def test_masks_of_0_and_1_are_scaled_whatever_the_rule():
    rgb = np.repeat(np.array([[[0], [1]]], np.uint8), 3, axis=2)
    assert MaskRule().apply(rgb).values.tolist() == [[0, 255]]
    assert MaskRule(threshold=127).apply(rgb).values.tolist() == [[0, 255]]
    assert MaskRule(threshold=179, forged="below").apply(rgb).values.tolist() == [[255, 0]]
    assert not MaskRule().apply(np.zeros_like(rgb)).forged.any()


def test_levels_that_are_not_scored():
    rgb = np.repeat(np.array([[[0], [90], [128], [255]]], np.uint8), 3, axis=2)
    truth = MaskRule(no_score=(64, 191)).apply(rgb)
    assert truth.values.tolist() == [[0, 0, 0, 255]] and truth.scorable.tolist() == [[True, False, False, True]]


def test_levels_that_number_the_sources():
    rgb = np.repeat(np.array([[[0], [50], [100], [151]]], np.uint8), 3, axis=2)
    truth = MaskRule(label_step=50).apply(rgb)
    assert truth.labels.tolist() == [[0, 1, 2, 3]] and truth.values.tolist() == [[0, 255, 255, 255]]


def test_three_classes_by_colour():
    rgb = np.array([[[0, 0, 255], [0, 250, 10], [255, 0, 0]]], np.uint8)
    rule = MaskRule(colours=(("blue", "pristine"), ("green", "no_score"), ("red", "forged")))
    truth = rule.apply(rgb)
    assert truth.values.tolist() == [[0, 0, 255]] and truth.scorable.tolist() == [[True, False, True]]
    with pytest.raises(ImageError, match=r"holds white in 1 pixels; .* knows blue, green, red"):
        rule.apply(np.full((1, 1, 3), 255, np.uint8))


def test_equal_rules_have_equal_texts_and_defaults_leave_no_trace():
    assert MaskRule().text == "" and MaskRule(threshold=0).text == "threshold=0"


def test_several_masks_are_united(tmp_path):
    halves = FORGED.copy(), FORGED.copy()
    halves[0][:, :20], halves[1][:, 20:] = False, False
    for number, half in enumerate(halves):
        Image.fromarray((half * 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
    truth = read_truth([tmp_path / "0.png", tmp_path / "1.png"], MaskRule(), SHAPE)
    assert np.array_equal(truth.forged, FORGED)


def test_a_mask_is_resized_to_nearest_where_the_card_says_so(tmp_path):
    Image.fromarray((FORGED[::2, ::2] * 255).astype(np.uint8)).save(tmp_path / "m.png")
    enlarged = FORGED[::2, ::2].repeat(2, 0).repeat(2, 1)
    assert np.array_equal(forged(tmp_path / "m.png", MaskRule(size="resize")), enlarged)
    with pytest.raises(ImageError, match=r"m\.png: the mask is 32x24, the image 64x48"):
        forged(tmp_path / "m.png")


def test_boxes_and_polygons():
    truth = shapes_truth([(10, 5, 31, 5, 31, 24, 10, 24)], SHAPE)
    assert np.array_equal(truth.forged, FORGED)
    crossed = shapes_truth([(0, 0, 40, 40, 0, 40, 40, 0)], SHAPE).forged
    assert crossed[3, 20] and crossed[37, 20] and not crossed[20, 3]
    with pytest.raises(ImageError, match="lies inside the image"):
        shapes_truth([(200, 200, 210, 200, 210, 210)], SHAPE)


# ------------------------------------------------------------------------------------------------------ bad input


def encrypted(path):
    """A zip archive whose member says that it is encrypted (bit 0 of its flags)."""
    np.savez(path, FORGED)
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    path.write_bytes(data)


def cut(path):
    np.savez_compressed(path, np.random.default_rng(0).integers(0, 2, (200, 200)))
    path.write_bytes(path.read_bytes()[:900])


def claims_gigabytes(path):
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (65536, 65536), }".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", content + bytes(64))


def objects(path):
    np.savez(path, np.array([[{}]], object))


def empty(path):
    with zipfile.ZipFile(path, "w"):
        pass


def text(path):
    path.write_text("no archive")


@pytest.mark.parametrize("make", [encrypted, cut, claims_gigabytes, objects, empty, text])
def test_a_bad_archive_is_one_line_and_no_memory(tmp_path, make):
    make(tmp_path / "m.npz")
    with pytest.raises(ImageError, match=r"m\.npz: .*(readable NumPy file|claims 65536x65536|array of object)"):
        decode(tmp_path / "m.npz")
    with pytest.raises(ImageError, match=r"m\.npz"):
        read_truth([tmp_path / "m.npz"], MaskRule(), SHAPE)


@pytest.mark.parametrize("values", [np.nan, -3.0, np.inf])
def test_values_that_are_none_of_a_mask(tmp_path, values):
    np.save(tmp_path / "m.npy", np.where(FORGED, values, 0).astype(np.float32))
    with pytest.raises(ImageError, match=r"m\.npy: holds values from|a mask holds none below 0"):
        forged(tmp_path / "m.npy")


# ---------------------------------------------------------------------------------------------- the reported cases


@pytest.mark.parametrize("name", ["alpha-mask/masks/f.png", "mask-16bit/masks/one.png", "mask-16bit/masks/byte.png"])
def test_reported_masks_mark_the_440_pixels_that_were_drawn(name):
    assert forged(shared_path("cases") / name).sum() == 440


@pytest.mark.parametrize("name, largest", [("two.png", 2), ("palette.png", 64)])
def test_reported_masks_of_low_values(name, largest):
    path = shared_path("cases") / "mask-low-values/masks" / name
    with pytest.raises(ImageError, match=rf"{name}: its largest value is {largest}, .*127.*threshold = 0"):
        forged(path)
    assert forged(path, MaskRule(threshold=0)).sum() == 440
