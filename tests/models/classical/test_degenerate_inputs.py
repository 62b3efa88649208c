"""What images without content give: a finite map of the image's size, or NotApplicable with its reason."""

import io

import numpy as np
import pytest
from PIL import Image

import models
from models.image import ForensicImage, NotApplicable, decode_rgb, encode_jpeg

NAMES = ["adq1", "adq2", "nadq", "nadq-aligned", "dct", "cfa1", "cfa2", "noi2", "noi4", "noi5"]
NAMES += ["ela", "ghost", "zero", "noi1", "copymove-sift", "copymove-dense"]
NAMES += ["blk", "cagi", "cagi-inverse", "splicebuster", "noisesniffer", "fusion"]


def grey_jpeg(host):
    """A JPEG file of one component."""
    file = io.BytesIO()
    Image.fromarray(host[:, :, 1]).save(file, "JPEG", quality=80)
    return ForensicImage(decode_rgb(file.getvalue()), file.getvalue())


def cmyk_jpeg(host):
    file = io.BytesIO()
    Image.fromarray(host).convert("CMYK").save(file, "JPEG", quality=80)
    return ForensicImage(decode_rgb(file.getvalue()), file.getvalue())


def as_jpeg(rgb, quality=90):
    return ForensicImage.from_jpeg(encode_jpeg(np.ascontiguousarray(rgb), quality))


INPUTS = {
    "flat": lambda host: as_jpeg(np.full((200, 200, 3), 128, np.uint8)),
    "black": lambda host: as_jpeg(np.zeros((200, 200, 3), np.uint8)),
    "saturated": lambda host: as_jpeg(np.full((200, 200, 3), 255, np.uint8)),
    "half saturated": lambda host: as_jpeg(np.where(np.arange(264)[:, None, None] < 130, 255, host).astype(np.uint8)),
    "two values": lambda host: as_jpeg(np.where(host > 128, 255, 0).astype(np.uint8)),
    "1x1": lambda host: as_jpeg(host[:1, :1]),
    "5x300": lambda host: as_jpeg(host[:5, :300]),
    "9x9": lambda host: as_jpeg(host[:9, :9]),
    "33x47": lambda host: as_jpeg(host[:33, :47]),
    "131x133": lambda host: as_jpeg(host[:131, :133]),
    "grey": grey_jpeg,
    "grey content": lambda host: as_jpeg(np.repeat(host[:, :, :1], 3, 2)),
    "CMYK": cmyk_jpeg,
    "quality 1": lambda host: as_jpeg(host, 1),
    "quality 100": lambda host: as_jpeg(host, 100),
    "no JPEG": lambda host: ForensicImage(host[:200, :200]),
    "flat, no JPEG": lambda host: ForensicImage(np.full((200, 200, 3), 7, np.uint8)),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_map_is_finite_and_of_the_images_size_or_not_applicable(name, kind, host):
    image = INPUTS[kind](host[:264, :256])
    try:
        score = models.build(name).localize(image)
    except NotApplicable as reason:
        assert len(str(reason)) > 20
        assert kind not in ("quality 100", "half saturated")
    else:
        assert score.values.shape == image.shape
        assert np.isfinite(score.values).all()
        if score.kind == "probability":
            assert score.values.min() >= 0 and score.values.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_same_image_gives_the_same_map(name, host):
    image = as_jpeg(host[:200, :248])
    first = models.build(name).localize(image).values
    again = models.build(name).localize(ForensicImage.from_jpeg(image.jpeg)).values
    np.testing.assert_array_equal(first, again)
