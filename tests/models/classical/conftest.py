"""Material of the constructed forgeries: two photos without JPEG or demosaicing traces, and two masks."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

SIDE = 480


@pytest.fixture(scope="session")
def host() -> np.ndarray:
    return cv2.resize(skimage.data.astronaut(), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="session")
def donor() -> np.ndarray:
    return cv2.resize(skimage.data.coffee(), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="session")
def forged() -> np.ndarray:
    """One rectangle, 15 % of the image, off the 8x8 grid."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[150:330, 200:390] = True
    return mask


@pytest.fixture(scope="session")
def checkerboard() -> np.ndarray:
    """Squares of 60 pixels over the whole image: what an authentic image's content cannot be correlated with."""
    squares = np.arange(SIDE) // 60
    return np.add.outer(squares, squares) % 2 == 0


@pytest.fixture(scope="session")
def pyifd_maps() -> dict[str, np.ndarray]:
    """Maps (float16, one value a block) that pyIFD 0.0.3 gave for the constructed images of these tests.

    Made with pyIFD's functions on the files written by the tests' own constructions (splices named by method and
    quality factors), with three fixes that it needs under NumPy 2: arrays of one element made scalars in ADQ1
    and NOI5, and np.NaN. NOI2 with filter_type="dct".
    """
    with np.load(Path(__file__).parent / "pyifd_maps.npz") as stored:
        return {name: stored[name].astype(np.float64) for name in stored.files}


@pytest.fixture(scope="session")
def recorded() -> dict[str, np.ndarray]:
    """What other programs gave for the constructed images of these tests.

    BLK, CAGI, inverse CAGI and NOI1: pyIFD 0.0.3 on the images as PNG (BLK and NOI1 one value a block, CAGI every
    eighth pixel), with arrays of one element made scalars in CAGI for NumPy 2. Splicebuster: photoholmes at commit
    223762c, features of two blocks, sorted, and its map at every eighth pixel. Noisesniffer: the authors' program of
    2021 with macroblocks of 128 pixels, blocks counted in each and whether the false alarms are at most 1.
    """
    with np.load(Path(__file__).parent / "recorded_maps.npz") as stored:
        return {name: stored[name].astype(np.float64) for name in stored.files}
