import io
import json
import os
import struct
import tracemalloc
import zipfile

import cv2
import numpy as np
import pytest
import scipy.io
import scipy.ndimage
from PIL import Image

import models
from bench.identity import identify
from models.image import ForensicImage, encode_jpeg
from models.mapfile import MapFileError

SIZE = (24, 30)


def photo(number: int = 0) -> ForensicImage:
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    return ForensicImage(np.stack([7 * x + number, 9 * y, x * y + number], axis=-1).astype(np.uint8))


def truth() -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.random(SIZE, np.float32)


def made_folder(folder, images=(), file="images/photo-{}.png"):
    """A folder as `bench export` leaves it, for these images."""
    entries = [{"file": file.format(n), "content": image.digest} for n, image in enumerate(images)]
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "images": entries}))
    (folder / "maps").mkdir(exist_ok=True)
    return folder


def localize(folder, image):
    return models.build(f"maps:{folder}").localize(image)


@pytest.fixture
def folder(tmp_path):
    return made_folder(tmp_path / "maps-of-tool", [photo()])


def test_float_maps_come_back_exactly(folder):
    np.save(folder / "maps" / "photo-0.npy", truth())
    score = localize(folder, photo())
    assert score.kind == "probability"
    assert score.values.dtype == np.float32
    assert np.array_equal(score.values, truth())
    assert score.image_score is None


def test_npz_takes_the_map_and_the_image_score(folder):
    np.savez(folder / "photo-0.png.npz", map=truth().astype(np.float64), conf=np.ones(SIZE), score=np.array(0.75))
    score = localize(folder, photo())
    assert np.array_equal(score.values, truth())
    assert score.image_score == 0.75
    os.remove(folder / "photo-0.png.npz")
    np.savez(folder / "photo-0.npz", anything=truth())
    assert np.array_equal(localize(folder, photo()).values, truth())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["photo-0.png", "photo-0.tiff", "photo-0.npy"])
def test_integers_are_scaled_to_probabilities(folder, dtype, name):
    top = np.iinfo(dtype).max
    stored = np.rint(truth() * top).astype(dtype)
    stored[0, :2] = (0, top)
    if name.endswith("npy"):
        np.save(folder / "maps" / name, stored)
    else:
        cv2.imwrite(str(folder / "maps" / name), stored)
    values = localize(folder, photo()).values
    assert np.allclose(values, stored / top, atol=1e-7, rtol=0)
    assert (values[0, 0], values[0, 1]) == (0, 1)


def test_float_tiff_and_grey_stored_as_colour(folder):
    cv2.imwrite(str(folder / "maps" / "photo-0.tiff"), truth())
    assert np.array_equal(localize(folder, photo()).values, truth())
    os.remove(folder / "maps" / "photo-0.tiff")
    grey = np.rint(truth() * 255).astype(np.uint8)
    Image.fromarray(grey).convert("RGBA").save(folder / "maps" / "photo-0.png")
    assert np.allclose(localize(folder, photo()).values, grey / 255, atol=1e-7)


def test_kind_is_stated_in_maps_toml(folder):
    np.save(folder / "maps" / "photo-0.npy", truth() * 8 - 4)
    with pytest.raises(MapFileError, match=r"are no probabilities.*maps\.toml"):
        localize(folder, photo())
    for kind in ("logit", "score"):
        (folder / "maps.toml").write_text(f'kind = "{kind}"\n')
        score = localize(folder, photo())
        assert score.kind == kind
        assert np.array_equal(score.values, truth() * 8 - 4)


@pytest.mark.parametrize("text", ['kind = "heatmap"', 'kind = "score"\ncolour = 1', 'resize = "cubic"', "kind ="])
def test_bad_maps_toml(folder, text):
    (folder / "maps.toml").write_text(text)
    with pytest.raises(MapFileError, match=r"maps\.toml"):
        models.build(f"maps:{folder}")


def test_integers_are_no_logits(folder):
    cv2.imwrite(str(folder / "maps" / "photo-0.png"), np.zeros(SIZE, np.uint8))
    (folder / "maps.toml").write_text('kind = "logit"')
    with pytest.raises(MapFileError, match="uint8, which is no logit"):
        localize(folder, photo())


def test_an_image_of_other_bytes_is_refused(folder):
    np.save(folder / "maps" / "photo-0.npy", truth())
    with pytest.raises(MapFileError, match=r"made from other bytes.*bench export"):
        localize(folder, photo(1))


def test_a_jpeg_and_its_pixels_are_different_images(tmp_path):
    compressed = ForensicImage.from_jpeg(encode_jpeg(photo().rgb, 90))
    folder = made_folder(tmp_path / "jpeg", [compressed], "images/photo-{}.jpg")
    np.save(folder / "maps" / "photo-0.npy", truth())
    assert np.array_equal(localize(folder, compressed).values, truth())
    with pytest.raises(MapFileError, match="made from other bytes"):
        localize(folder, ForensicImage(compressed.rgb))


def test_a_missing_map_is_named(folder):
    with pytest.raises(MapFileError, match=r"no map for images/photo-0\.png; expected maps/photo-0\.npy"):
        localize(folder, photo())


def test_equal_images_share_whichever_map_exists(tmp_path):
    folder = made_folder(tmp_path / "twins", [photo(), photo()])
    np.save(folder / "maps" / "photo-1.npy", truth())
    assert np.array_equal(localize(folder, photo()).values, truth())


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_nan_and_infinity_are_refused(folder, bad):
    values = truth().astype(np.float64)
    values[3, 4] = bad
    np.save(folder / "maps" / "photo-0.npy", values)
    with pytest.raises(MapFileError, match=r"photo-0\.npy: NaN or infinity in 1 of 720 pixels"):
        localize(folder, photo())


def test_a_map_of_another_size_is_refused(folder):
    np.save(folder / "maps" / "photo-0.npy", truth().T)
    with pytest.raises(MapFileError, match=r"photo-0\.npy: the map is 30x24, its image 24x30"):
        localize(folder, photo())


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}]), allow_pickle=True)
    return stream.getvalue()


def archive(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("photo-0.npy", b"", "not a readable map"),
        ("photo-0.npy", b"\x93NUMPY\x01\x00v\x00{'descr'", "not a readable map"),
        ("photo-0.npy", pickled(), "not a readable map"),
        ("photo-0.npz", b"PK\x03\x04 cut off", "not a readable map"),
        ("photo-0.npz", archive(a=np.ones(SIZE), b=np.ones(SIZE)), "not a readable map.*map"),
        ("photo-0.npz", archive(map=np.ones(SIZE), score=np.nan), "image-level score is nan"),
        ("photo-0.npz", archive(map=np.ones(SIZE, np.int64)), "holds int64"),
        ("photo-0.png", b"\x89PNG\r\n\x1a\n", "not a readable map"),
        ("photo-0.png", cv2.imencode(".png", photo().rgb)[1].tobytes(), "a colour image is no score map"),
    ],
)
def test_damaged_maps_are_named(folder, name, content, message):
    (folder / "maps" / name).write_bytes(content)
    with pytest.raises(MapFileError, match=message) as caught:
        localize(folder, photo())
    assert name in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"images": [{"file": "a.png"}]}'])
def test_a_folder_without_a_manifest_says_how_to_make_one(tmp_path, text):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(MapFileError, match=r"manifest\.json.*bench export"):
        models.build(f"maps:{tmp_path}")


def test_without_a_folder_there_are_no_maps():
    with pytest.raises(models.WeightsMissing, match="maps:DIR"):
        models.build("maps")


def test_identity_follows_the_maps(folder):
    def identity():
        return identify(models.build(f"maps:{folder}")).digest

    seen = [identity()]
    assert identity() == seen[0]
    np.save(folder / "maps" / "photo-0.npy", truth())
    seen.append(identity())
    np.save(folder / "maps" / "photo-0.npy", truth() / 2)
    seen.append(identity())
    (folder / "maps.toml").write_text('kind = "score"')
    seen.append(identity())
    made_folder(folder, [photo(), photo(1)])
    seen.append(identity())
    assert len(set(seen)) == len(seen)
    os.utime(folder / "maps" / "photo-0.npy", (1, 1))
    assert identity() == seen[-1]


def test_matlab_files(folder):
    scipy.io.savemat(folder / "maps/photo-0.mat", {"map": truth().astype(np.float64), "score": 0.75, "name": "x"})
    score = localize(folder, photo())
    assert np.array_equal(score.values, truth())
    assert score.image_score == 0.75
    scipy.io.savemat(folder / "maps/photo-0.mat", {"anything": truth()}, do_compression=True)
    assert np.array_equal(localize(folder, photo()).values, truth())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"a": np.ones(SIZE), "b": np.ones(SIZE)}, "no variable `map`, but a, b"),
        ({"map": np.array([[{"x": 1}]], object)}, "is of the class"),
        ({"map": "text"}, "is of the class char"),
        ({"map": np.ones(SIZE, np.complex128)}, "not a readable map|holds complex"),
        (b"MATLAB 5.0 MAT-file, cut", "not a readable map"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 600, "not a readable map"),
    ],
)
def test_matlab_files_that_hold_no_map(folder, content, said):
    path = folder / "maps/photo-0.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        scipy.io.savemat(path, content)
    with pytest.raises(MapFileError, match=said):
        localize(folder, photo())


@pytest.mark.parametrize(("how", "order"), [("bilinear", 1), ("nearest", 0)])
def test_maps_of_another_size_where_maps_toml_allows_them(folder, how, order):
    blocks = np.random.default_rng(2).random((SIZE[0] // 6, SIZE[1] // 6), np.float32)
    np.save(folder / "maps/photo-0.npy", blocks)
    (folder / "maps.toml").write_text(f'resize = "{how}"')
    values = localize(folder, photo()).values
    expected = scipy.ndimage.zoom(blocks, 6, order=order, mode="nearest", grid_mode=True)
    assert values.shape == SIZE
    np.testing.assert_allclose(values, expected, atol=1e-6)


def header(shape, descr="<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def zipped(content: bytes, name="map.npy") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("photo-0.npy", header((10**6, 10**6))),
        ("photo-0.npy", header((2**62, 8))),
        ("photo-0.npz", zipped(header((10**6, 10**6)))),
        ("photo-0.npz", zipped(header((20000, 20000), "|b1") + bytes(20000 * 20000 // 16))),
        ("photo-0.npz", zipped(header(SIZE), "map.npy")[:-30]),
        ("photo-0.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIB", 10**5, 10**5, 8) + bytes(8)),
    ],
)  # fmt: skip
def test_a_small_file_cannot_claim_gigabytes(folder, name, content):
    (folder / "maps" / name).write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(MapFileError, match="not a readable map"):
            localize(folder, photo())
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_a_pipe_in_place_of_a_map_is_not_waited_for(folder):
    os.mkfifo(folder / "maps/photo-0.npy")
    with pytest.raises(MapFileError, match="no map for"):
        localize(folder, photo())
