"""What localizers get and give: arrays that cannot be written into, decoding that is one rule for all formats."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin
from shared import shared_path

from models.image import ForensicImage, ImageError, ScoreMap, ScoreMapError, encode_jpeg, read_image, stored_size

RGB = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


# ------------------------------------------------------------------------------------------------------ read-only


def test_no_array_of_an_image_can_be_written_into():
    image = ForensicImage.from_jpeg(encode_jpeg(RGB, 80))
    for values in (image.rgb, image.luminance, *image.dct.coefficients, *image.dct.tables):
        with pytest.raises(ValueError, match="read-only"):
            values[0, 0] = 0
        with pytest.raises(ValueError, match="read-only"):
            values *= 0


def test_making_an_image_copies_nothing_and_leaves_the_makers_array_writable():
    pixels = RGB.copy()
    image = ForensicImage(pixels)
    assert np.shares_memory(image.rgb, pixels)
    pixels[0, 0] = 7


# ----------------------------------------------------------------------------------------------------- score maps


@pytest.mark.parametrize("low, high", [(-4, 4), (0, 1.01), (-0.001, 1)])
def test_probabilities_outside_0_and_1_are_refused(low, high):
    values = np.array([[low, 0.5], [high, 0.5]], np.float32)
    with pytest.raises(ScoreMapError, match=rf"values from {low} to {high} are no probabilities; say kind='logit'"):
        ScoreMap(values, "probability")
    ScoreMap(values, "logit")
    ScoreMap(np.clip(values, 0, 1), "probability")


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, np.float32("nan")])
def test_an_image_score_that_is_no_number_is_refused(score):
    with pytest.raises(ScoreMapError, match=r"image-level score is .*finite"):
        ScoreMap(np.zeros((2, 2), np.float32), "score", image_score=score)


# ------------------------------------------------------------------------------------------------------- decoding


@pytest.mark.parametrize("suffix", ["tif", "png", "webp", "avif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotation_tag_turns_no_photo(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(suffix, {})
    Image.fromarray(RGB).save(tmp_path / f"plain.{suffix}", **options)
    Image.fromarray(RGB).save(tmp_path / f"turned.{suffix}", exif=exif, **options)
    assert np.array_equal(read_image(tmp_path / f"turned.{suffix}").rgb, read_image(tmp_path / f"plain.{suffix}").rgb)
    assert stored_size(tmp_path / f"turned.{suffix}") == (48, 64)


@pytest.mark.parametrize("compression", [None, "tiff_adobe_deflate"])
def test_a_turned_tiff_has_the_pixels_of_its_strips(tmp_path, compression):
    Image.fromarray(RGB).save(tmp_path / "t.tif", tiffinfo={274: 6}, compression=compression)
    assert np.array_equal(read_image(tmp_path / "t.tif").rgb, tifffile.imread(tmp_path / "t.tif"))


@pytest.mark.parametrize("scale, factor", [(1, 255), (255, 1), (65535, 1 / 256)])
def test_float_photos_are_scaled_by_the_range_that_holds_them(tmp_path, scale, factor):
    grey = np.linspace(0, scale, 48 * 64, dtype=np.float32).reshape(48, 64)
    tifffile.imwrite(tmp_path / "f.tif", grey)
    found = read_image(tmp_path / "f.tif").rgb
    assert np.abs(found[:, :, 0].astype(float) - grey * factor).max() <= 1 and np.ptp(found) == 255


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e6])
def test_float_photos_on_no_known_scale_are_refused(tmp_path, value):
    grey = np.full((48, 64), 0.5, np.float32)
    grey[3, 3] = value
    tifffile.imwrite(tmp_path / "f.tif", grey)
    with pytest.raises(ImageError, match=r"f\.tif: .*no known scale"):
        read_image(tmp_path / "f.tif")


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iCCP"])
def test_long_texts_in_a_png_are_skipped(tmp_path, kind, place):
    Image.fromarray(RGB).save(tmp_path / "plain.png")
    texts = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        texts.add_itxt("workflow", "x" * 5_000_000, zip=True)
    elif kind != "iCCP":
        texts.add_text("workflow", "x" * 5_000_000, zip=kind == "zTXt")
    profile = {"icc_profile": bytes(5_000_000)} if kind == "iCCP" else {}
    Image.fromarray(RGB).save(tmp_path / "long.png", pnginfo=texts, **profile)
    if place == "after":
        (tmp_path / "long.png").write_bytes(texts_behind_pixels((tmp_path / "long.png").read_bytes()))
    assert np.array_equal(read_image(tmp_path / "long.png").rgb, RGB)
    assert stored_size(tmp_path / "long.png") == (48, 64)


def texts_behind_pixels(data):
    chunks, place = [], 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append(data[place : place + 12 + length])
        place += 12 + length
    order = {b"IHDR": 0, b"IDAT": 1, b"IEND": 3}
    return data[:8] + b"".join(sorted(chunks, key=lambda chunk: order.get(chunk[4:8], 2)))


def test_another_format_behind_a_known_name_is_refused(tmp_path):
    """EPS would start Ghostscript, DDS raises NotImplementedError from inside Pillow."""
    for name, options in (("EPS", {}), ("DDS", {}), ("PCX", {}), ("TGA", {})):
        Image.fromarray(RGB).save(tmp_path / "odd.png", format=name, **options)
        with pytest.raises(ImageError, match=r"odd\.png: not an image of a known format"):
            read_image(tmp_path / "odd.png")
        with pytest.raises(ImageError, match=r"odd\.png: is not an image of a known format"):
            stored_size(tmp_path / "odd.png")


def test_a_small_file_that_declares_a_huge_image_is_refused_before_it_is_decoded(tmp_path):
    data = io.BytesIO()
    Image.new("1", (12000, 12000)).save(data, "PNG")
    (tmp_path / "huge.png").write_bytes(data.getvalue())
    with pytest.raises(ImageError, match=r"huge\.png: \d+ bytes that claim to be 12000x12000 pixels"):
        read_image(tmp_path / "huge.png")


@pytest.mark.parametrize("suffix", ["avif", "webp", "jp2", "gif", "bmp", "tif", "png", "jpg"])
def test_damage_anywhere_is_an_image_error_or_an_image(tmp_path, suffix):
    """Whatever a decoder raises of broken bytes (RuntimeError of AVIF, struct.error, ...) is one kind of error."""
    Image.fromarray(RGB).save(tmp_path / f"good.{suffix}")
    data = (tmp_path / f"good.{suffix}").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(40):
        broken = bytearray(data[: rng.integers(1, len(data))] if rng.random() < 0.5 else data)
        for place in rng.integers(0, len(broken), 6):
            broken[place] = rng.integers(256)
        (tmp_path / f"bad.{suffix}").write_bytes(broken)
        for read in (read_image, stored_size):
            try:
                read(tmp_path / f"bad.{suffix}")
            except ImageError as error:
                assert f"bad.{suffix}" in str(error)


# ---------------------------------------------------------------------------------------------- the reported cases


def test_reported_files_decode_to_the_pixels_of_the_good_one():
    cases = shared_path("cases")
    good = read_image(cases / "tiff-orientation/images/good.png").rgb
    for name in ("turned.tif", "side.tif"):
        assert np.array_equal(read_image(cases / "tiff-orientation/images" / name).rgb, good)
    long = cases / "png-long-text/images"
    assert np.array_equal(read_image(long / "ai.png").rgb, read_image(long / "good.png").rgb)


def test_the_reported_avif_is_refused_by_name():
    with pytest.raises(ImageError, match=r"auth_bad\.avif: damaged"):
        read_image(shared_path("cases") / "damaged-avif/images/auth_bad.avif")
