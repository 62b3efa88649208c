"""Opening test sets: pairing by name, the spec's grammar, official layouts, masks, fingerprints, the commands."""

import argparse
import json

import numpy as np
import pytest
from PIL import Image
from shared import shared_path

from bench.commands import data as data_commands
from bench.data import DataError, describe, open_test_sets

TRUTH = np.zeros((40, 50), bool)
TRUTH[10:20, 5:30] = True


def photo(path, height=40, width=50, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *path.name.encode()]).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def mask(path, truth=TRUTH, colour=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((truth * colour).astype(np.uint8)).save(path)
    return path


def ids(samples):
    return [sample.id for sample in samples]


def problems(test_set):
    return {defect.file: defect.problem for defect in test_set.defects}


# ----------------------------------------------------------------------------------------------------- folders


def test_a_folder_without_masks_is_authentic(tmp_path):
    photo(tmp_path / "b.png")
    photo(tmp_path / "sub/a.jpg")
    (tmp_path / "notes.txt").write_text("not an image")
    (found,) = open_test_sets(f"folder:{tmp_path}")
    assert ids(found.samples) == ["b", "sub/a"]
    assert not found.tampered and not found.defects and found.name == tmp_path.name


def test_folder_pairs_are_made_by_name_and_never_by_position(tmp_path):
    """Sorted lists of the two folders have the same length but another order."""
    images, masks = tmp_path / "set/images", tmp_path / "set/masks"
    stems = {"a.jpg": "z/a_gt.png", "b.png": "b.png", "c.tif": "c_mask.bmp", "d.jpg": "d_edgemask.jpg"}
    for number, (image, its_mask) in enumerate(stems.items()):
        photo(images / image)
        mask(masks / its_mask, np.roll(TRUTH, number, 0))
    (found,) = open_test_sets(f"folder:{images},{masks}")
    assert found.name == "set" and not found.defects
    for number, sample in enumerate(found.samples):
        assert sample.mask.relative_to(masks).as_posix() == stems[sample.image.name]
        assert np.array_equal(found.read_mask(sample), np.roll(TRUTH, number, 0))


def test_authentic_images_beside_tampered_ones(tmp_path):
    for name in ("auth_1.png", "authentic/2.png", "3.png", "4.png"):
        photo(tmp_path / "images" / name)
    mask(tmp_path / "masks/3.png")
    (found,) = open_test_sets(f"folder:{tmp_path / 'images'},{tmp_path / 'masks'}")
    assert ids(found.tampered) == ["3"]
    assert ids(found.authentic) == ["auth_1", "authentic/2"]
    assert problems(found) == {"4.png": "no mask; add 4.png, or call it auth_4 if authentic"}
    assert found.found == {"tampered": 2, "authentic": 2}


def test_masks_inside_the_image_folder_are_not_images(tmp_path):
    photo(tmp_path / "1.png")
    mask(tmp_path / "edgemask/1_edgemask.jpg")
    (found,) = open_test_sets(f"folder:{tmp_path},{tmp_path / 'edgemask'}")
    assert ids(found.tampered) == ["1"] and not found.defects


def test_what_does_not_pair_up_is_a_defect(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name in ("good.png", "double.png", "x/same.png", "y/same.png"):
        photo(images / name)
    for name in ("good.png", "double.png", "double_gt.png", "orphan.png", "same.png"):
        mask(masks / name)
    (found,) = open_test_sets(f"folder:{images},{masks}")
    assert ids(found.samples) == ["good"]
    assert problems(found) == {
        "double.png": "2 masks: double.png, double_gt.png; keep one",
        "x/same.png": "no mask; add same.png, or call it auth_same if authentic",
        "y/same.png": "no mask; add same.png, or call it auth_same if authentic",
        "orphan.png": "a mask without an image",
        "same.png": "a mask without an image",
    }


def test_two_images_of_one_stem_keep_distinct_ids(tmp_path):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "a.png")
    (found,) = open_test_sets(f"folder:{tmp_path}")
    assert len(set(ids(found.samples))) == 2


# -------------------------------------------------------------------------------------------------------- spec


def test_several_sets_and_the_comma_rule(tmp_path):
    photo(tmp_path / "one/1.png")
    mask(tmp_path / "gt/1.png")
    photo(tmp_path / "two/2.png")
    first, second = open_test_sets(f"folder:{tmp_path / 'one'},{tmp_path / 'gt'},folder:{tmp_path / 'two'}")
    assert (len(first.tampered), len(second.authentic)) == (1, 1)


@pytest.mark.parametrize(
    "spec, message",
    [
        ("columba:X", "unknown test set 'columba'; did you mean 'columbia'?"),
        ("built-in", "unknown test set 'built-in'; did you mean 'builtin'?"),
        ("columbia", "'columbia' does not say where its files lie; write columbia:ROOT"),
        ("folder:", "write folder:IMAGES or folder:IMAGES,MASKS"),
        (" , ", "no test set named"),
        ("columbia:/no/such/place", "no such folder; get the set from https://"),
    ],
)
def test_a_wrong_spec_is_told_what_to_write(spec, message):
    with pytest.raises(DataError) as raised:
        open_test_sets(spec)
    assert message in str(raised.value)


def test_two_sets_of_one_name_are_refused(tmp_path):
    photo(tmp_path / "a/set/1.png")
    photo(tmp_path / "b/set/1.png")
    with pytest.raises(DataError, match="two test sets are called 'set'"):
        open_test_sets(f"folder:{tmp_path / 'a/set'},folder:{tmp_path / 'b/set'}")


def test_a_card_of_ones_own(tmp_path):
    card = tmp_path / "mine.toml"
    card.write_text(
        'name = "mine"\ntitle = "Mine"\nlicence = "x"\ncitation = "x"\npage = ""\nlayout = "x"\n'.replace('""', '"-"')
        + "[[tampered]]\nimage = 'f/(?P<k>\\d)\\.png'\nmask = 'f/(?P<k>\\d)_inverse\\.png'\n"
        + '[mask]\nforged = "below"\nsize = "resize"\n'
    )
    photo(tmp_path / "root/f/1.png", 80, 100)
    mask(tmp_path / "root/f/1_inverse.png", ~TRUTH)
    (found,) = open_test_sets(f"{card}:{tmp_path / 'root'}")
    doubled = TRUTH.repeat(2, 0).repeat(2, 1)
    assert np.array_equal(found.read_mask(found.samples[0]), doubled)
    assert found.remarks == ["1 image has a mask of another size, resized to nearest: f/1"]


# --------------------------------------------------------------------------------------------- official layouts


@pytest.mark.parametrize("prefix", ["", "download/CASIA1/"])
@pytest.mark.parametrize("tampered", ["CASIA 1.0 dataset/Tp", "CASIA 1.0 dataset/Modified TP/Tp", "Tp"])
def test_casia1(tmp_path, prefix, tampered):
    root = tmp_path / prefix
    authentic = "Au" if tampered == "Tp" else "CASIA 1.0 dataset/Au"
    splice, copy, lost = "Sp_D_CND_A_pla0005_pla0023_0281", "Sp_S_NNN_A_ani0041_ani0041_0199", "Sp_D_NRN_A_cha0011"
    photo(root / tampered / f"Sp/{splice}.jpg")
    photo(root / tampered / f"Sp/{lost}_sec0011_0542.jpg")
    photo(root / tampered / f"CM/{copy}.jpg")
    photo(root / authentic / "Au_ani_0041.jpg")
    photo(root / authentic / "Au_ani_0042.jpg", seed=1)
    mask(root / f"CASIA 1.0 groundtruth/Sp/{splice}_gt.png")
    mask(root / f"CASIA 1.0 groundtruth/CM/{copy}_gt.png", ~TRUTH)
    (found,) = open_test_sets(f"casia1:{tmp_path}")
    kinds = {sample.image.stem: (sample.kind, sample.source) for sample in found.samples}
    assert kinds[splice][0] == "splice"
    assert kinds[copy] == ("copy-move", "ani_0041") and kinds["Au_ani_0041"] == ("authentic", "ani_0041")
    assert [(defect.problem, defect.known) for defect in found.defects] == [("no mask", True)]
    copied = next(sample for sample in found.samples if sample.image.stem == copy)
    assert np.array_equal(found.read_mask(copied), ~TRUTH)


def test_imd2020(tmp_path):
    photo(tmp_path / "IMD2020/1bv5l3/1bv5l3_orig.jpg")
    photo(tmp_path / "IMD2020/1bv5l3/c8u4gpd_0.png")
    mask(tmp_path / "IMD2020/1bv5l3/c8u4gpd_0_mask.png", colour=3)
    photo(tmp_path / "IMD2020/z14/00030_fake.jpg")
    mask(tmp_path / "IMD2020/z14/00030_fake_mask.png", TRUTH.T)
    (found,) = open_test_sets(f"imd2020:{tmp_path}")
    assert ids(found.tampered) == ["1bv5l3/c8u4gpd_0"] and ids(found.authentic) == ["1bv5l3/1bv5l3_orig"]
    assert {sample.source for sample in found.samples} == {"1bv5l3"}
    assert np.array_equal(found.read_mask(found.tampered[0]), TRUTH)
    assert [(d.file, d.known) for d in found.defects] == [("z14/00030_fake.jpg", True)]


def test_comofod_takes_the_plain_images_only(tmp_path):
    for name in ("001_F.png", "001_O.png", "001_F_BC1.png", "001_O_JC1.jpg", "001_F_JC1.jpg"):
        photo(tmp_path / name)
    mask(tmp_path / "001_B.png")
    photo(tmp_path / "001_M.png")
    (found,) = open_test_sets(f"comofod:{tmp_path}")
    assert ids(found.samples) == ["001_F", "001_O"] and not found.defects
    assert {sample.source for sample in found.samples} == {"001"}


def test_casia2(tmp_path):
    photo(tmp_path / "Tp/Tp_D_CRN_M_N_pla00010_pla00020_10001.tif")
    photo(tmp_path / "Tp/Tp_S_NNN_S_N_ani10127_ani10127_12469.jpg")
    photo(tmp_path / "Au/Au_ani_00001.jpg")
    mask(tmp_path / "CASIA 2 Groundtruth/Tp_D_CRN_M_N_pla00010_pla00020_10001_gt.png")
    mask(tmp_path / "CASIA 2 Groundtruth/Tp_S_NNN_S_N_ani10127_ani10127_12469_gt3.png")
    (found,) = open_test_sets(f"casia2:{tmp_path}")
    assert [sample.kind for sample in found.samples] == ["splice", "copy-move", "authentic"]
    assert (found.card.role, found.card.repeat) == ("train", 40) and not found.defects


def test_tampcoco_pairs_names_that_hold_their_extension_several_times(tmp_path):
    names = {
        "sp": ("88_000000013140.jpg_000000574443.jpg.jpg", "88_000000013140.png_000000574443.png.png"),
        "cm": ("90_000000484327.jpg_000000484327.jpg_RS1.18.jpg", "90_000000484327.png_000000484327.png_RS1.18.png"),
        "bcm": (
            "85_000000415798.jpg_000000415798.jpg_RT-31.5_RS0.76.jpg",
            "85_000000415798.png_000000415798.png_RT-31.5_RS0.76.png",
        ),
    }
    for kind, (image, its_mask) in names.items():
        photo(tmp_path / f"tampCOCO/{kind}_images/{image}")
        mask(tmp_path / f"tampCOCO/{kind}_masks/{its_mask}", colour=1)
    photo(tmp_path / "tampCOCO/bcmc_images/69_000000294714_Q97.jpg_000000294714_Q97.jpg_Q97.jpg")
    (found,) = open_test_sets(f"tampcoco:{tmp_path}")
    assert not found.defects and found.found == {"tampered": 3, "authentic": 0}
    assert {sample.source for sample in found.samples} == {"000000013140", "000000484327", "000000415798"}
    for sample in found.samples:
        assert sample.image.name.replace(".jpg", ".png") == sample.mask.name
        assert np.array_equal(found.read_mask(sample), TRUTH)


def test_fantasticreality_reads_masks_from_arrays(tmp_path):
    root = tmp_path / "FantasticReality_v1/dataset"
    for name in ("IMG_0000051_IMG_0000050", "IMG_0000053_IMG_0000052", "IMG_0000055_IMG_0000054"):
        photo(root / f"ColorFakeImages/{name}.jpg")
    photo(root / "ColorRealImages/IMG_0000051.jpg")
    (root / "SegmentationFake").mkdir()
    np.savez_compressed(root / "SegmentationFake/IMG_0000051_IMG_0000050.npz", TRUTH[:, :, None].astype(np.uint8) * 3)
    np.savez(root / "SegmentationFake/IMG_0000053_IMG_0000052.npz", TRUTH.T.astype(np.int64))
    (root / "SegmentationFake/IMG_0000055_IMG_0000054.npz").write_bytes(b"PK nothing")
    (found,) = open_test_sets(f"fantasticreality:{tmp_path}")
    assert ids(found.tampered) == ["dataset/ColorFakeImages/IMG_0000051_IMG_0000050"]
    assert {sample.source for sample in found.samples} == {"IMG_0000051"}
    assert np.array_equal(found.read_mask(found.tampered[0]), TRUTH)
    wrong = {file[-27:-4]: problem for file, problem in problems(found).items()}
    assert wrong["IMG_0000053_IMG_0000052"] == "the mask is 40x50, the image 50x40"
    assert "IMG_0000055_IMG_0000054.npz: is not a readable NumPy file" in wrong["IMG_0000055_IMG_0000054"]


def test_a_mask_array_cannot_execute_code(tmp_path):
    """An array of objects is a pickle: it is refused from its header and never loaded."""
    photo(tmp_path / "ColorFakeImages/IMG_1_IMG_2.jpg")
    photo(tmp_path / "ColorRealImages/IMG_1.jpg")
    (tmp_path / "SegmentationFake").mkdir()
    np.savez(tmp_path / "SegmentationFake/IMG_1_IMG_2.npz", np.array([[{}]], dtype=object))
    (found,) = open_test_sets(f"fantasticreality:{tmp_path}")
    (defect,) = found.defects
    assert "holds an array of object (1, 1), a mask is (height, width) of numbers" in defect.problem


@pytest.mark.parametrize(
    "splice, copy_move, removal",
    [
        (
            "defacto-splicing/splicing_7_{img/img,annotations/probe_mask}",
            "defacto-copymove/copymove_{img/img,annotations/probe_mask}",
            "defacto-inpainting/inpainting_{img/img,annotations/probe_mask}",
        ),
        (
            "Splicing-{images-7/img,annotations-7/probe_mask}",
            "Copy-Move-{images/img,annotations/probe_mask}",
            "Inpainting-{images/img,annotations/probe_mask}",
        ),
    ],
)
def test_defacto_in_both_of_its_layouts(tmp_path, splice, copy_move, removal):
    for folders in (splice, copy_move, removal):
        start, _, ends = folders.removesuffix("}").partition("{")
        images, masks = (tmp_path / "DEFACTO" / (start + end) for end in ends.split(","))
        photo(images / "0_000000195755.tif")
        mask(masks / "0_000000195755.jpg")
        mask(masks.with_name("donor_mask") / "0_000000195755.tif", ~TRUTH)
    (found,) = open_test_sets(f"defacto:{tmp_path}")
    assert [sample.kind for sample in found.samples] == ["splice", "copy-move", "removal"] and not found.defects
    assert {sample.source for sample in found.samples} == {"000000195755"} and len(set(ids(found.samples))) == 3
    for sample in found.samples:
        assert np.array_equal(found.read_mask(sample), TRUTH)


def test_coverage_as_released():
    (found,) = open_test_sets(f"coverage:{shared_path('official-layout')}")
    assert ids(found.tampered) == ["image/1t", "image/3t", "image/5t"]
    assert [(d.file, d.known) for d in found.defects] == [("image/41t.tif", True)]
    for sample in found.tampered:
        original = np.array(Image.open(sample.image.with_name(f"{sample.source}.tif")).convert("RGB"), int)
        forged = np.array(Image.open(sample.image).convert("RGB"), int)
        changed = np.abs(forged - original).max(2) > 12
        assert changed[found.read_mask(sample)].mean() > 5 * changed[~found.read_mask(sample)].mean()


def test_columbia_as_released():
    (found,) = open_test_sets(f"columbia:{shared_path('official-layout')}")
    assert (len(found.tampered), len(found.authentic), found.defects) == (3, 1, [])
    for sample in found.tampered:
        colours = np.array(Image.open(sample.mask).convert("RGB"), int)
        truth = found.read_mask(sample)
        assert np.array_equal(truth, colours[:, :, 1] > 120)
        inside = colours[truth].mean(0)
        assert inside[1] > 150 and inside[0] < 30  # green, not red: the polarity is right


@pytest.mark.parametrize("name", ["coverage", "columbia", "casia1", "casia2", "imd2020", "comofod"])
def test_the_shared_copies_open_as_folders(name):
    root = shared_path("testsets") / name
    (found,) = open_test_sets(f"folder:{root / 'images'},{root / 'masks'}")
    images = list((root / "images").iterdir())
    assert found.name == name and not found.defects
    assert len(found.samples) == len(images)
    assert len(found.authentic) == sum(image.name.startswith("auth_") for image in images)


def test_the_list_of_sets_names_all_of_them():
    rows = {row["name"]: row for row in describe()}
    assert {"builtin", "folder:IMAGES[,MASKS]", "coverage:ROOT", "imd2020:ROOT"} <= set(rows)
    assert rows["coverage:ROOT"]["summary"] == "100 tampered, 100 authentic; subsets finetune-25"
    assert rows["casia2:ROOT"]["summary"] == "5123 tampered, 7491 authentic; to train on"
    assert (
        rows["imd2020:ROOT"]["summary"]
        == "2010 tampered, 414 authentic; to test or to train on; subsets 2010, catnet-valid-141"
    )
    assert rows["defacto:ROOT"]["summary"] == "numbers not exactly known; to train on"


# ------------------------------------------------------------------------------------------------ fingerprints


def test_a_fingerprint_follows_image_mask_and_rule_but_not_the_place(tmp_path):
    for root in ("a/set", "b/set"):
        photo(tmp_path / root / "images/1.png")
        mask(tmp_path / root / "masks/1.png")

    def fingerprint(root):
        (found,) = open_test_sets(f"folder:{tmp_path / root / 'images'},{tmp_path / root / 'masks'}")
        return found.fingerprint(found.samples[0])

    first = fingerprint("a/set")
    assert first == fingerprint("b/set")
    mask(tmp_path / "b/set/masks/1.png", ~TRUTH)
    second = fingerprint("b/set")
    photo(tmp_path / "b/set/images/1.png", seed=1)
    third = fingerprint("b/set")
    assert len({first, second, third}) == 3
    (found,) = open_test_sets(f"folder:{tmp_path / 'a/set/images'},{tmp_path / 'a/set/masks'}")
    found.rule = type(found.rule)(threshold=5)
    assert found.fingerprint(found.samples[0]) != first


# ---------------------------------------------------------------------------------------------------- commands


def command(*words):
    parser = argparse.ArgumentParser()
    data_commands.add_arguments(parser)
    return data_commands.main(parser.parse_args([str(word) for word in words]))


def comofod(root, numbers):
    for number in numbers:
        photo(root / f"{number:03d}_F.png")
        photo(root / f"{number:03d}_O.png")
        mask(root / f"{number:03d}_B.png")


def test_verify_of_a_complete_set_ends_with_0(tmp_path, capsys):
    comofod(tmp_path, range(1, 201))
    assert command("verify", "comofod", "--root", tmp_path, "--json") == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["found"] == report["usable"] == report["expected"] == {"tampered": 200, "authentic": 200}
    assert report["intact"] and not report["defects"]


def test_verify_of_a_damaged_set_ends_with_1_and_says_what(tmp_path, capsys):
    comofod(tmp_path, range(1, 6))
    broken = tmp_path / "002_F.png"
    broken.write_bytes(broken.read_bytes()[:3000])
    mask(tmp_path / "003_B.png", TRUTH & False)
    mask(tmp_path / "004_B.png", TRUTH.T)
    assert command("verify", "comofod", "--root", tmp_path) == 1
    said = capsys.readouterr().out
    assert "tampered: 5 of 200 found, 2 usable" in said
    assert "002_F" in said and "truncated" in said
    assert "003_B.png: marks no forged pixel" in said
    assert "DEFECT: 004_F.png: the mask is 40x50, the image 50x40" in said
    assert "MISSING: 195 tampered images" in said


def test_verify_of_nothing_ends_with_2(tmp_path, capsys):
    assert command("verify", "comofod", "--root", tmp_path / "gone") == 2
    assert "no such folder; get the set from https://" in capsys.readouterr().err


def test_known_defects_do_not_fail_a_set(tmp_path, capsys):
    for number in range(1, 101):
        photo(tmp_path / f"image/{number}.tif")
        photo(tmp_path / f"image/{number}t.tif")
        wrong = number in (41, 48, 55, 56, 57, 58, 59, 61, 95)
        mask(tmp_path / f"mask/{number}forged.tif", TRUTH[:30] if wrong else TRUTH)
    assert command("verify", "coverage", "--root", tmp_path) == 0
    said = capsys.readouterr().out
    assert said.count("known defect:") == 9 and "100 of 100 found, 91 usable" in said


def test_verify_remarks_on_doubles_and_inverted_masks(tmp_path, capsys):
    photo(tmp_path / "images/1.png")
    (tmp_path / "images/auth_2.png").write_bytes((tmp_path / "images/1.png").read_bytes())
    (tmp_path / "images/auth_3.png").write_bytes((tmp_path / "images/1.png").read_bytes())
    mask(tmp_path / "masks/1.png", ~TRUTH)
    assert command("verify", f"folder:{tmp_path / 'images'},{tmp_path / 'masks'}") == 0
    said = capsys.readouterr().out
    assert "auth_2, auth_3 are the same file" in said and "are they inverted?" in said


def test_stats_counts(tmp_path, capsys):
    comofod(tmp_path, (1, 2))
    assert command("stats", "comofod", "--root", tmp_path, "--json") == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["tampered"], report["authentic"], report["sources"]) == (2, 2, 2)
    assert report["kinds"] == {"copy-move": 2, "authentic": 2} and report["formats"] == {"PNG": 4}
    assert report["megapixels"] == [0.002] * 3 and report["forged_share"] == [0.125] * 3
    assert command("stats", "comofod", "--root", tmp_path) == 0
    assert "2 tampered, 2 authentic" in capsys.readouterr().out


def test_prepare_says_where_a_set_comes_from_and_how_it_lies(capsys):
    assert command("prepare", "coverage:data/coverage") == 0
    said = capsys.readouterr().out
    assert "https://github.com/wenbihan/coverage" in said and "mask/1forged.tif" in said
    assert "bench data verify coverage --root data/coverage" in said
    assert command("prepare", "coverag") == 2
    assert "did you mean 'coverage'?" in capsys.readouterr().err
