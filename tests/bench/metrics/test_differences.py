"""The sentences of why numbers differ, on maps where the cause is the only one and its size is known."""

import numpy as np
import pytest

from bench.metrics import PROTOCOLS
from bench.metrics.differences import differences, why
from tests.bench.metrics.test_protocols import observe


def square(height=64, width=64, side=32):
    forged = np.zeros((height, width), bool)
    forged[16 : 16 + side, 16 : 16 + side] = True
    return forged


FORGED = square()
MASK = np.uint8(255) * FORGED
PERFECT = np.where(FORGED, np.float32(0.9), np.float32(0.1))
EMPTY, NOTHING = np.full_like(PERFECT, 0.1), np.zeros_like(MASK)


def item(score, mask=MASK, tampered=True):
    return score, "probability", mask, tampered, None


def found(items, protocols):
    observations = [observe(each, protocols) for each in items]
    return {d.cause: d for d in differences(observations, protocols)}


def test_maps_that_all_protocols_see_alike_have_no_difference():
    assert found([item(PERFECT)] * 3, ["native", "mpc", "imlvit", "mvss", "focal"]) == {}
    assert differences([], ["native", "mpc"]) == []
    assert found([item(EMPTY)], ["native"]) == {}


def test_empty_maps():
    protocols = ["native", "focal"]  # 64 x 64 is focal's own size
    got = found([item(PERFECT), item(EMPTY), item(EMPTY), item(PERFECT)], protocols)
    pristine = 2 * 3072 / (2 * 3072 + 1024)  # F1 of the pristine pixels: 3,072 of 4,096, all called so
    cause = got["empty maps"]
    assert (cause.images, cause.protocols) == (2, ("native", "focal"))
    assert cause.effect == pytest.approx(0.5 * pristine / 2, abs=1e-6)
    assert cause.sentence == (
        "2 of 4 tampered images have an empty map at the fixed threshold: they get .000 (F1) under native and .429 "
        "(Macro F1) under focal."
    )


def test_authentic_images():
    items = [item(PERFECT)] * 3 + [item(EMPTY, NOTHING, False)] * 3
    got = found(items, ["native", "imdlbenco"])
    assert set(got) == {"authentic images"}
    assert got["authentic images"].effect == pytest.approx(0.5, abs=1e-6)
    assert got["authentic images"].sentence == (
        "3 of 6 images are authentic: imdlbenco counts them, native does not; without them the F1 of imdlbenco would "
        "be 1.000 instead of .500."
    )


def test_inverted_maps():
    got = found([item(PERFECT), item(1 - PERFECT)], ["native", "safire"])
    cause = got["inverted maps"]
    assert (cause.images, cause.protocols) == (1, ("safire",))
    assert cause.effect == pytest.approx(0.5, abs=1e-6)
    assert (
        "On 1 of 2 tampered images the inverted map is better than the map: safire takes the better" in cause.sentence
    )
    assert "F1 1.000 instead of .000 there), native does not" in cause.sentence


def test_macro_averages():
    half = PERFECT.copy()
    half[16:32] = 0.1  # the upper half of the forged square is missed
    cause = found([item(half)], ["native", "focal"])["both classes"]
    forged, pristine = 2 * 512 / (2 * 512 + 512), 2 * 3072 / (2 * 3072 + 512)
    assert cause.effect == pytest.approx((pristine - forged) / 2, abs=1e-6)
    assert f"{forged:.3f}"[1:] in cause.sentence and f"{(forged + pristine) / 2:.3f}"[1:] in cause.sentence


def test_another_size():
    forged = np.zeros((256, 256), bool)
    forged[100:101, 20:200] = True  # one pixel wide: lost at 64 x 64
    thin = np.where(forged, np.float32(0.9), np.float32(0.1))
    cause = found([item(thin, np.uint8(255) * forged)], ["native", "focal"]).get("another size")
    assert cause is None or cause.protocols == ("focal",)
    shifted = np.roll(thin, 1, axis=0)
    cause = found([item(np.roll(PERFECT, 1, axis=0)), item(shifted, np.uint8(255) * forged)], ["native", "trufor"])
    assert cause["another size"].protocols == ("trufor",) and "instead of" in cause["another size"].sentence


def test_soft_masks():
    soft = MASK.copy()
    soft[12:16, 16:48] = 100  # 128 pixels: forged under > 0, pristine under > 127
    cause = found([item(PERFECT, soft), item(PERFECT)], ["native", "photoholmes"])["soft masks"]
    assert cause.images == 1 and cause.protocols == ("photoholmes",)
    assert "has 1,152 forged pixels per image, native (> 127, masks of 0 and 1 decoded) 1,024" in cause.sentence
    assert cause.effect == pytest.approx((1 - 1024 / 1152) / 2, abs=1e-6)


def test_thresholds():
    between = np.where(FORGED, np.float32(0.499), np.float32(0.1))  # 255 p = 127.2
    cause = found([item(between)], ["native", "mpc"])["threshold"]
    assert (cause.images, cause.effect) == (1, pytest.approx(1))
    assert "mpc calls other pixels forged than native (mpc: 255 p > 127)" in cause.sentence


def test_images_left_out():
    whole = np.full_like(MASK, 255)
    items = [item(PERFECT), item(EMPTY, whole)]  # one class: hifi's script stops
    cause = found(items, ["native", "hifi"])["images left out"]
    assert (cause.images, cause.protocols) == (1, ("hifi",))
    assert cause.effect == pytest.approx(0.5)
    assert "(hifi: 1 of 2): over the rest the F1 of native is 1.000 instead of .500" in cause.sentence


def test_pooled_counts():
    small = square(64, 64, 8)
    items = [item(PERFECT), item(np.full((64, 64), 0.1, np.float32), np.uint8(255) * small)]
    cause = found(items, ["native", "photoholmes"])["pooled"]
    pooled = 2 * 1024 / (2 * 1024 + 64)
    assert cause.effect == pytest.approx(pooled - 0.5, abs=1e-6)
    assert f"{pooled:.3f}"[1:] in cause.sentence and ".500" in cause.sentence


def test_the_largest_comes_first_and_the_limit_holds():
    items = [item(PERFECT), item(1 - PERFECT), item(EMPTY), item(EMPTY, NOTHING, False)]
    protocols = [name for name, protocol in PROTOCOLS.items() if not protocol.sources]
    observations = [observe(each, protocols) for each in items]
    effects = [d.effect for d in differences(observations, protocols)]
    assert effects == sorted(effects, reverse=True) and len(effects) > 3
    assert len(why(observations, protocols)) == 3 and len(why(observations, protocols, 2)) == 2
