"""Training on published sets: which pairs, how often, in which order, and what the trained network says of them."""

from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image

from bench.data import DataError
from bench.training.mpc.forgeries import Presentation
from bench.training.mpc.pairs import Mixture, PairError, PairSamples, open_pairs

WHOLE = Presentation(frame=32, native=0.0, least=32, crop=32, augment=0.0)


def pair(image, mask, truth, seed):
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*truth.shape, 3), np.uint8)
    Image.fromarray(pixels).save(image)
    Image.fromarray(truth.astype(np.uint8) * 255).save(mask)
    return pixels


@pytest.fixture
def sets(tmp_path):
    """Two CASIA v2 pairs and six IMD2020 pairs of three photos; pixels and truths by the image's name."""
    known = {}
    for k in range(8):
        truth = np.zeros((40, 48), bool)
        truth[4 + k : 20 + k, 10:40] = True
        if k < 2:
            stem = f"Tp_D_CRN_M_N_pla0001{k}_pla00020_1000{k}"
            image, mask = tmp_path / f"casia/Tp/{stem}.tif", tmp_path / f"casia/CASIA 2 Groundtruth/{stem}_gt.png"
        else:
            image, mask = (tmp_path / f"imd/photo{k // 2}/f{k}_0{end}.png" for end in ("", "_mask"))
        known[image.name] = (pair(image, mask, truth, k), truth)
    return tmp_path, f"casia2:{tmp_path / 'casia'},imd2020:{tmp_path / 'imd'}", known


def test_an_epoch_holds_each_pair_as_often_as_the_released_script(sets):
    _, spec, _ = sets
    pairs = open_pairs(spec)
    size = 2 * 40 + 6 * 20
    stream = PairSamples(pairs, WHOLE, (1, 2), 2 * size)
    epochs = [[stream.pair(k) for k in range(start, start + size)] for start in (0, size)]
    for epoch in epochs:
        assert Counter(epoch) == Counter({0: 40, 1: 40, **{k: 20 for k in range(2, 8)}})
    assert epochs[0] != epochs[1] and epochs[0] != sorted(epochs[0])
    again = PairSamples(pairs, WHOLE, (1, 2), 2 * size)
    assert [again.pair(k) for k in (size + 3, 5, size + 4)] == [epochs[1][3], epochs[0][5], epochs[1][4]]
    assert [PairSamples(pairs, WHOLE, (1, 3), size).pair(k) for k in range(size)] != epochs[0]
    assert pairs.names == ("casia2", "imd2020")


def test_a_sample_is_the_pair_as_the_network_sees_it(sets):
    _, spec, known = sets
    pairs = open_pairs(spec)
    stream = PairSamples(pairs, WHOLE, (0, 1), 30)
    for k in range(0, 30, 7):
        name = pairs.images[stream.pair(k)].decode().rpartition("/")[2]
        pixels, truth = known[name]
        sample = stream[k]
        assert np.array_equal(sample["image"].numpy(), cv2.resize(pixels, (32, 32)).transpose(2, 0, 1))
        shown = cv2.resize(truth.astype(np.uint8), (32, 32), interpolation=cv2.INTER_NEAREST)
        assert np.array_equal(sample["mask"].numpy(), shown > 0)
    with pytest.raises(IndexError, match="sample 30 of 30"):
        stream[30]


def test_forgeries_of_one_photo_stay_on_one_side(sets):
    _, spec, _ = sets
    pairs = open_pairs(spec)
    training, validation = pairs.split(0.4)
    sides = [{path.decode().rpartition("/")[0] for path in part.images} for part in (training, validation)]
    photos = [{folder for folder in side if "/imd/photo" in folder} for side in sides]
    assert not photos[0] & photos[1] and len(photos[0] | photos[1]) == 3
    assert len(training) + len(validation) == len(pairs) and len(set(validation.sources)) == 2  # of five source photos
    assert pairs.split(0.4)[1].images.tolist() == validation.images.tolist()
    assert len(pairs.split(0.0)[1]) >= 1 and len(pairs.split(1.0)[0]) >= 1


def test_test_sets_and_useless_ones_are_refused(sets):
    root = sets[0]
    images = root / "images"
    pair(images / "a.png", root / "masks/a.png", np.eye(40, 48, dtype=bool), 9)
    pair(root / "COVERAGE/image/1t.tif", root / "COVERAGE/mask/1forged.tif", np.eye(40, 48, dtype=bool), 9)
    with pytest.raises(PairError, match=r"coverage is a test set: .* role = \"train\" or \"both\""):
        open_pairs(f"coverage:{root}")
    with pytest.raises(PairError, match="builtin is a test set"):
        open_pairs("builtin")
    with pytest.raises(PairError, match="holds no tampered image with a mask; name its folder of masks too"):
        open_pairs(f"folder:{images}")
    with pytest.raises(DataError, match="unknown test set 'tampcocos'; did you mean 'tampcoco'"):
        open_pairs(f"tampcocos:{root}")
    one = open_pairs(f"folder:{images},{root / 'masks'}")
    assert one.repeats == (1,)
    with pytest.raises(PairError, match="forgeries of one photo only; at least two are needed"):
        one.split(0.5)


def test_an_unreadable_pair_is_replaced_and_named_once(sets, caplog):
    root, spec, _ = sets
    pairs = open_pairs(spec)
    for name in ("Tp_D_CRN_M_N_pla00010_pla00020_10000.tif", "Tp_D_CRN_M_N_pla00011_pla00020_10001.tif"):
        file = root / "casia/Tp" / name
        file.write_bytes(file.read_bytes()[:300])
    stream = PairSamples(pairs, WHOLE, (1, 2), 100)
    order = [stream.pair(k) for k in range(100)]
    broken = next(k for k in range(100) if order[k] < 2)
    good = next(k for k in range(broken, 100) if order[k] >= 2)
    rgb = stream._read(broken)[0]
    assert np.array_equal(rgb, pairs.read(order[good])[0])
    for k in range(100):
        stream[k]
    lines = caplog.messages
    assert len(lines) == 2 and all(line.startswith("left out: ") for line in lines)


def test_a_set_that_cannot_be_read_at_all_is_an_error(sets):
    root, spec, _ = sets
    pairs = open_pairs(spec)
    for file in [*root.rglob("*.tif"), *root.rglob("*.png")]:
        file.write_bytes(b"")
    with pytest.raises(PairError, match=r"100 pairs in turn could not be read, the last: .*is empty"):
        PairSamples(pairs, WHOLE, (1, 2), 10)[0]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_a_mixture_takes_both_streams_from_their_beginnings_at_an_even_rate(share):
    first, second = [("photo", k) for k in range(200)], [("pair", k) for k in range(200)]
    drawn = [Mixture(first, second, share, 200)[k] for k in range(200)]
    for kind, wanted in (("photo", share), ("pair", 1 - share)):
        own = [number for name, number in drawn if name == kind]
        assert own == list(range(len(own)))
        for n in (10, 33, 200):
            assert abs(sum(name == kind for name, _ in drawn[:n]) - wanted * n) <= 0.5 + 1e-9
