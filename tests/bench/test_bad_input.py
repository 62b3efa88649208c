"""Bad images and masks: each gets a clear error or a recorded defect, and the rest of the set is still there."""

import argparse
import io
import os

import numpy as np
import pytest
from PIL import Image

from bench.commands import data as data_commands
from bench.data import DataError, inspect, open_test_sets
from models.image import ForensicImage, ImageError, encode_jpeg, read_image

HEIGHT, WIDTH = 40, 60
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A set of one good pair, with room for a bad one beside it."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    Image.fromarray(RGB).save(tmp_path / "images/good.png")
    write_mask(tmp_path / "masks/good.png")
    return tmp_path


def write_mask(path, size=(WIDTH, HEIGHT), forged=True):
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[2:20, 2:20] = 255 * forged
    Image.fromarray(pixels).save(path)


def opened(folder):
    (found,) = open_test_sets(f"folder:{folder / 'images'},{folder / 'masks'}")
    assert any(sample.id == "good" for sample in found.samples)
    return found


def defect(folder):
    (only,) = opened(folder).defects
    return only.file, only.problem


def verified(folder):
    """What `data verify` finds beyond the scan."""
    report = inspect.verify(opened(folder))
    assert report["usable"]["tampered"] == 1 and not report["intact"]
    return report["defects"][0]["problem"]


# ------------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_truncated_image(folder, suffix):
    path = folder / f"images/bad{suffix}"
    Image.fromarray(RGB).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    write_mask(folder / "masks/bad.png")
    with pytest.raises(ImageError, match=rf"bad\{suffix}.*(truncated|cannot be read|not an image)"):
        read_image(path)
    report = inspect.verify(opened(folder))
    assert report["usable"]["tampered"] == 1
    assert ["bad" in found["file"] for found in report["defects"]] == [True]


def test_empty_image(folder):
    path = folder / "images/bad.png"
    path.touch()
    write_mask(folder / "masks/bad.png")
    with pytest.raises(ImageError, match=r"bad\.png: the file is empty; fetch it again"):
        read_image(path)
    assert defect(folder) == ("bad.png", "is empty; fetch it again")


def test_one_pixel_image(folder):
    Image.fromarray(RGB[:1, :1]).save(folder / "images/bad.png")
    write_mask(folder / "masks/bad.png", (1, 1))
    assert read_image(folder / "images/bad.png").shape == (1, 1)
    assert defect(folder) == ("bad.png", "1x1 pixels are too few, 8x8 are needed")


def test_16_bit_image_keeps_its_high_byte(tmp_path):
    grey = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 27
    Image.fromarray(grey).save(tmp_path / "deep.png")
    image = read_image(tmp_path / "deep.png")
    assert np.array_equal(image.rgb, np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, axis=2))
    Image.fromarray(grey).save(tmp_path / "deep.tif")
    assert np.array_equal(read_image(tmp_path / "deep.tif").rgb, image.rgb)


def test_cmyk_image_becomes_rgb(tmp_path):
    cmyk = Image.fromarray(RGB).convert("CMYK")
    cmyk.save(tmp_path / "print.tif")
    assert np.array_equal(read_image(tmp_path / "print.tif").rgb, RGB)
    flat = Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0))
    flat.save(tmp_path / "print.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "print.jpg").rgb.reshape(-1, 3).mean(0)
    assert red > 245 and green < 10 and blue < 10


def test_palette_image_becomes_rgb(tmp_path):
    indexed = Image.fromarray(RGB).quantize(16)
    indexed.save(tmp_path / "indexed.png")
    assert np.array_equal(read_image(tmp_path / "indexed.png").rgb, np.array(indexed.convert("RGB")))


def test_alpha_channel_is_dropped(tmp_path):
    rgba = np.dstack([RGB, np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH), np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    assert np.array_equal(read_image(tmp_path / "alpha.png").rgb, RGB)


def test_exif_rotation_is_ignored_because_masks_ignore_it(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to view
    Image.fromarray(RGB).save(folder / "images/turned.jpg", exif=exif, quality=95)
    write_mask(folder / "masks/turned.png")
    found = opened(folder)
    turned = next(sample for sample in found.samples if sample.id == "turned")
    assert read_image(turned.image).shape == found.read_mask(turned).shape == (HEIGHT, WIDTH)
    assert not found.defects


def test_non_image(folder):
    path = folder / "images/bad.jpg"
    path.write_text("<html>404 not found</html>")
    write_mask(folder / "masks/bad.png")
    with pytest.raises(ImageError, match=r"bad\.jpg: not an image of a known format"):
        read_image(path)
    assert defect(folder) == ("bad.jpg", "is not an image of a known format; remove it")


def test_missing_image_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png: cannot be read .*check the path"):
        read_image(tmp_path / "gone.png")


def test_a_folder_in_place_of_an_image(tmp_path):
    (tmp_path / "thing.png").mkdir()
    with pytest.raises(ImageError, match=r"thing\.png: cannot be read"):
        read_image(tmp_path / "thing.png")


def test_coefficients_of_a_damaged_jpeg_raise_and_never_end_the_process():
    data = encode_jpeg(RGB, 80)
    with pytest.raises(ImageError, match="coefficients cannot be read"):
        _ = ForensicImage(RGB, data[:2] + b"\0" * 40).dct


def test_pixels_of_another_type_are_refused():
    with pytest.raises(ImageError, match=r"uint8 \(H, W, 3\)"):
        ForensicImage(RGB.astype(np.float32))
    with pytest.raises(ImageError, match=r"uint8 \(H, W, 3\)"):
        ForensicImage(RGB[:, :, 0])


# ------------------------------------------------------------------------------------------------------- masks


def test_mask_of_another_size(folder):
    Image.fromarray(RGB).save(folder / "images/bad.png")
    write_mask(folder / "masks/bad.png", (WIDTH + 1, HEIGHT))
    assert defect(folder) == ("bad.png", "the mask is 61x40, the image 60x40")


def test_missing_mask(folder):
    Image.fromarray(RGB).save(folder / "images/bad.png")
    assert defect(folder) == ("bad.png", "no mask; add bad.png, or call it auth_bad if authentic")


def test_all_black_mask_is_a_defect_and_not_an_authentic_image(folder):
    Image.fromarray(RGB).save(folder / "images/bad.png")
    write_mask(folder / "masks/bad.png", forged=False)
    found = opened(folder)
    bad = next(sample for sample in found.samples if sample.id == "bad")
    with pytest.raises(ImageError, match=r"bad\.png: marks no forged pixel"):
        found.read_mask(bad)
    assert "marks no forged pixel" in verified(folder)


def test_mask_that_is_no_image(folder):
    Image.fromarray(RGB).save(folder / "images/bad.png")
    (folder / "masks/bad.png").write_text("nothing")
    assert defect(folder) == ("bad.png", "mask bad.png: is not an image of a known format; remove it")


def test_truncated_mask(folder):
    Image.fromarray(RGB).save(folder / "images/bad.png")
    Image.fromarray(RGB).save(folder / "masks/bad.png")
    path = folder / "masks/bad.png"
    path.write_bytes(path.read_bytes()[:2000])
    assert "truncated" in verified(folder)


def test_reading_the_mask_of_an_authentic_image_is_a_programming_error(folder):
    Image.fromarray(RGB).save(folder / "images/auth_1.png")
    found = opened(folder)
    with pytest.raises(ValueError, match="auth_1 is authentic"):
        found.read_mask(found.authentic[0])


# ----------------------------------------------------------------------------------------------------- folders


def test_missing_folder_and_file_in_place_of_a_folder(tmp_path):
    with pytest.raises(DataError, match="gone: no such folder"):
        open_test_sets(f"folder:{tmp_path / 'gone'}")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is not a folder"):
        open_test_sets(f"folder:{tmp_path / 'file'}")


def test_unreadable_folder(folder, monkeypatch):
    """Root may read everything, so the refusal is the operating system's in name only."""
    real = os.scandir

    def refusing(path="."):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    (folder / "images/secret").mkdir()
    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"secret: cannot be read \(Permission denied\); check its permissions"):
        open_test_sets(f"folder:{folder / 'images'}")


def test_folder_without_a_usable_image(tmp_path):
    (tmp_path / "broken.png").touch()
    with pytest.raises(DataError, match=r"no usable image \(1 defects; broken\.png: is empty"):
        open_test_sets(f"folder:{tmp_path}")


def test_verify_of_an_unreadable_set_ends_with_2(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    data_commands.add_arguments(parser)
    assert data_commands.main(parser.parse_args(["verify", f"folder:{tmp_path / 'gone'}"])) == 2
    assert "no such folder" in capsys.readouterr().err


def test_an_image_that_vanishes_after_the_scan_is_told_by_name(folder):
    found = opened(folder)
    found.samples[0].image.unlink()
    with pytest.raises(ImageError, match=r"good\.png: cannot be read"):
        found.fingerprint(found.samples[0])


def test_a_jpeg_read_from_a_file_keeps_its_bytes(tmp_path):
    data = encode_jpeg(RGB, 70)
    (tmp_path / "photo.jpg").write_bytes(data)
    image = read_image(tmp_path / "photo.jpg")
    assert image.jpeg == data
    assert np.array_equal(image.rgb, np.array(Image.open(io.BytesIO(data))))
