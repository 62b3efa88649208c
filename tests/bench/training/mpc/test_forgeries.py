"""Forgeries made on the fly, against a constructed truth: what is marked is what was changed, and all of it occurs."""

from collections import Counter

import cv2
import numpy as np
import pytest

from bench.data import forge
from bench.training.mpc import forgeries
from bench.training.mpc.forgeries import AREA, KINDS, Photos, augmented, cropped, find_photos, forged_photo

pytestmark = pytest.mark.slow  # many forgeries are made


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four noisy photos, so that no two pixels of different origin agree; two have a segmentation."""
    folder = tmp_path_factory.mktemp("photos") / "set"
    rng = np.random.default_rng(1)
    for name in ("images", "segments"):
        (folder / name).mkdir(parents=True)
    for k in range(4):
        coarse = rng.integers(60, 196, (3, 4, 3)).astype(np.uint8)
        smooth = cv2.resize(coarse, (150, 130), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"images/p{k}.png"), smooth + rng.integers(0, 40, smooth.shape, np.uint8))
        if k < 2:
            labels = np.zeros((130, 150), np.uint8)
            labels[30:80, 20:90], labels[90:125, 60:140] = 1, 2
            cv2.imwrite(str(folder / f"segments/p{k}.png"), labels)
    return find_photos(folder)


@pytest.fixture
def calls(monkeypatch):
    """Name of a forging function -> keyword arguments (and the host) of each of its calls."""
    found = {name: [] for name in ("splice", "copy_move", "remove", "camera_history", "compress", "resample")}

    def watch(name, original):
        def watched(*args, **options):
            found[name].append({"args": args, **options})
            return original(*args, **options)

        return watched

    for name in found:
        monkeypatch.setattr(forge, name, watch(name, getattr(forge, name)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_marks_what_was_changed_and_nothing_else(photos, calls, monkeypatch, kind):
    """With histories and the last compression taken away, pixels outside the truth are the host's, bit by bit."""
    monkeypatch.setattr(forgeries, "KINDS", {kind: 1.0})
    monkeypatch.setattr(forgeries, "_history", lambda rgb, rng, scale: rgb)
    monkeypatch.setattr(forge, "compress", lambda rgb, *_, **__: rgb)
    name = {"copymove": "copy_move", "removal": "remove"}.get(kind, kind)
    for k in range(25):
        rgb, truth = forged_photo(photos, np.random.default_rng([k, 9]))
        call = calls[name][-1]
        changed = (rgb != call["args"][0]).any(2)
        assert not (changed & ~truth).any()
        # the outermost pixels of a soft edge are nearly the host's
        core = cv2.erode(truth.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=call.get("feather", 0)) > 0
        assert changed[core].mean() > 0.9
        assert AREA[0] <= truth.mean() <= AREA[1]


def test_forged_shares_reach_from_half_a_percent_to_half_of_the_photo(photos):
    shares = np.array([forged_photo(photos, np.random.default_rng([k, 4]))[1].mean() for k in range(120)])
    assert shares.min() >= AREA[0] and shares.max() <= AREA[1]
    counts = np.histogram(shares, [0.005, 0.012, 0.03, 0.08, 0.2, 0.5])[0]
    assert counts.min() >= 6


def test_all_ways_of_forging_occur(photos, calls, monkeypatch):
    monkeypatch.setattr(forgeries, "_regraded", lambda rgb, rng: rgb)
    for k in range(150):
        forged_photo(photos, np.random.default_rng([k, 5]))
    splices, moves = calls["splice"], calls["copy_move"]
    colour = np.array([call["match_colour"] for call in splices])
    assert 0.4 < (colour == 0).mean() < 0.8 and colour[colour > 0].min() >= 0.3 and colour.max() > 0.8
    feathers = Counter(call["feather"] for call in splices)
    assert set(feathers) == {0, 1, 2} and feathers[0] > 0.3 * len(splices)
    plain = [call["angle"] == 0 and call["scale"] == 1 and call["shear"] == 0 for call in moves]
    assert 0.1 < np.mean(plain) < 0.5
    assert any(call["mirror"] for call in moves) and not all(call["mirror"] for call in moves)
    assert {np.sign(call["shear"]) for call in moves} == {-1, 0, 1}
    assert max(call["angle"] for call in moves) > 20 and min(call["angle"] for call in moves) < -20
    assert max(call["scale"] for call in moves) > 1.2 and min(call["scale"] for call in moves) < 0.85
    assert {call["method"] for call in calls["remove"]} == {"telea", "ns", "exemplar"}
    drawn = np.array([len(splices), len(moves), len(calls["remove"])]) / 150
    assert drawn == pytest.approx(list(KINDS.values()), abs=0.14)


def test_host_and_donor_get_histories_of_their_own(photos, calls, monkeypatch):
    monkeypatch.setattr(forgeries, "KINDS", {"splice": 1.0})
    for k in range(120):
        forged_photo(photos, np.random.default_rng([k, 6]))
    histories = calls["camera_history"]
    assert 0.7 * 240 < len(histories) < 0.95 * 260  # the others are resampled only
    share = {
        "noise": np.mean([call["noise_std"] > 0 for call in histories]),
        "demosaicing": np.mean([call["demosaic"] for call in histories]),
        "compression": np.mean([call["quality"] is not None for call in histories]),
        "shifted grid": np.mean([call["grid"] != (0, 0) for call in histories]),
        "resampling": np.mean([call["scale"] != 1 for call in histories]),
    }
    wanted = {"noise": 1 / 3, "demosaicing": 0.3, "compression": 0.6, "shifted grid": 63 / 64, "resampling": 1}
    assert share == pytest.approx(wanted, abs=0.12)
    qualities = [call["quality"] for call in histories if call["quality"] is not None]
    assert min(qualities) < 58 and max(qualities) > 92
    assert len({call["grid"] for call in histories}) > 40


def test_a_splice_takes_another_photo(photos, monkeypatch):
    monkeypatch.setattr(forgeries, "KINDS", {"splice": 1.0})
    two = Photos(photos.files[:2], photos.segments[:2])
    drawn = []
    original = forgeries._photo
    monkeypatch.setattr(forgeries, "_photo", lambda p, index, rng: drawn.append(index) or original(p, index, rng))
    for k in range(20):
        drawn.clear()
        forged_photo(two, np.random.default_rng([k, 7]))
        assert set(drawn[1:]) == {1 - drawn[0]}


def test_objects_of_a_segmentation_are_cut_out(photos, calls, monkeypatch):
    """Every mask that `_object` gives is one of the labelled regions but for single pixels at its border."""
    labels = cv2.imread(str(photos.segments[0]), cv2.IMREAD_ANYDEPTH)
    regions = [labels == k for k in range(3)]
    for k in range(20):  # the background, region 0, is more than half of the photo
        for area, nearest in ((0.25, 1), (0.1, 2)):
            mask = forgeries._object(labels, np.random.default_rng(k), area)
            assert (mask & regions[nearest]).sum() / (mask | regions[nearest]).sum() > 0.98
    objects = []
    monkeypatch.setattr(forgeries, "_object", lambda segments, *_: objects.append(segments == 1) or objects[-1])
    monkeypatch.setattr(forgeries, "KINDS", {"removal": 1.0})
    for k in range(30):
        forged_photo(photos, np.random.default_rng([k, 8]), host_index=0)
    used = [any(call["args"][1] is mask for mask in objects) for call in calls["remove"]]
    # .75 * .6; the others stand out in the middle of the photo, follow its edges, or are shapes
    assert 0.2 < np.mean(used) < 0.7


def test_things_are_cut_out_rather_than_what_the_photo_ends_with():
    """A segment that touches the border is taken only where there is no other."""
    labels = np.zeros((100, 120), int)
    labels[:30], labels[50:70, 40:70], labels[80:95, 90:110], labels[60:90, :20] = 1, 2, 3, 4
    inside = [labels == k for k in (2, 3)]
    for k in range(20):
        mask = forgeries._object(labels, np.random.default_rng(k), 0.3)
        assert max((mask & region).sum() / (mask | region).sum() for region in inside) > 0.98
    labels[np.isin(labels, (2, 3))] = 0
    mask = forgeries._object(labels, np.random.default_rng(0), 0.3)
    assert (mask == (labels == 1)).mean() > 0.98


def test_the_augmentation_has_the_released_scripts_probabilities(photos, calls, monkeypatch):
    """Source: the albumentations pipeline of the authors' mydatasets.py."""
    seen = Counter()
    for name in ("_blurred", "_regraded", "_distorted"):
        original = getattr(forgeries, name)
        monkeypatch.setattr(forgeries, name, lambda *a, n=name, f=original: seen.update([n]) or f(*a))
    rgb, mask = cv2.imread(str(photos.files[0])), np.zeros((130, 150), bool)
    turned = 0
    for k in range(300):
        shown, truth = augmented(rgb, mask, np.random.default_rng([k, 3]))
        turned += shown.shape[0] > shown.shape[1]
        assert shown.shape[:2] == truth.shape
    factors = [call["args"][1] for call in calls["resample"]]
    qualities = [call["args"][1] for call in calls["compress"]]
    assert len(factors) / 300 == pytest.approx(0.75, abs=0.07)
    assert 0.5 <= min(factors) < 0.52 and 0.98 < max(factors) <= 1
    assert len(qualities) / 300 == pytest.approx(0.75, abs=0.07)
    assert (min(qualities), max(qualities)) == (50, 95)
    assert sum(seen.values()) / 300 == pytest.approx(0.25, abs=0.07)
    assert min(seen.values()) / 300 == pytest.approx(0.25 / 3, abs=0.045) and len(seen) == 3
    assert turned / 300 == pytest.approx(0.75 * (1 / 4 + 1 / 4 / 2), abs=0.07)  # transposed, or turned by 90 or 270


def test_parts_are_windows_of_the_photo_that_show_the_forgery():
    rows, columns = np.meshgrid(np.arange(120), np.arange(160), indexing="ij")
    rgb = np.stack([rows, columns, rows], axis=2).astype(np.uint8)  # each pixel says where it was
    mask = np.zeros((120, 160), bool)
    mask[100:118, 5:20] = True
    tops, sides = [], []
    for k in range(200):
        shown, truth = cropped(rgb, mask, np.random.default_rng([12, k]))
        top, left = (int(v) for v in shown[0, 0, :2])
        height, width = truth.shape
        assert np.array_equal(shown, rgb[top : top + height, left : left + width])
        assert np.array_equal(truth, mask[top : top + height, left : left + width])
        assert 0.005 <= truth.mean() <= 0.5
        tops.append(top)
        sides.append((height / 120, width / 160))
    sides = np.array(sides)
    assert sides.min() >= 0.49
    assert sides.min(0).max() < 0.55
    assert (sides == 1).all(1).mean() < 0.2  # the whole photo is the exception
    assert max(tops) > 40


def test_parts_of_authentic_and_of_small_photos():
    authentic = np.zeros((120, 160), bool)
    shapes = [
        cropped(np.zeros((120, 160, 3), np.uint8), authentic, np.random.default_rng(k))[1].shape for k in range(50)
    ]
    assert np.mean(shapes, axis=0) == pytest.approx([90, 120], rel=0.1)
    small = np.zeros((20, 40), bool)
    shapes = [cropped(np.zeros((20, 40, 3), np.uint8), small, np.random.default_rng(k))[1].shape for k in range(50)]
    assert {height for height, _ in shapes} == {20}
    assert min(width for _, width in shapes) == 32
    full = np.ones((120, 160), bool)  # more than AREA allows, whatever the window
    assert cropped(np.zeros((120, 160, 3), np.uint8), full, np.random.default_rng(0))[1].shape == (120, 160)
