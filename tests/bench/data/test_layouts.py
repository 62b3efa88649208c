"""Every shipped card on a tree of small files made from its own layout text, and against the member lists."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from shared import shared_path

from bench.data import open_card, open_test_sets
from bench.data.cards import FOLDER, Group, Listed, fullmatch, load_all, read_list
from bench.data.inspect import verify

CARDS = {card.name: card for card in load_all()}
SHAPE = (48, 64)
FORGED = np.zeros(SHAPE, bool)
FORGED[8:24, 8:32] = True


def write(path, card, mask):
    """A small photo of its own content, or a mask by the card's rule."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not mask:
        seed = np.random.default_rng([*path.as_posix().encode()])
        pixels = seed.integers(0, 256, (*SHAPE, 3), np.uint8)
    else:
        values = ((card.mask.forged == "above") == FORGED) * np.uint8(card.mask.label_step or 255)
        pixels = np.repeat(values[:, :, None].astype(np.uint8), 3, axis=2)
    if path.suffix == ".npz":
        np.savez(path, pixels[:, :, 0])
    elif path.suffix == ".npy":
        np.save(path, pixels[None, :, :, 0] > 0)
    elif path.suffix.lower() not in (".json", ".nef"):
        lossless = {"lossless": True} if path.suffix == ".webp" else {}
        quality = {"quality": 95} if path.suffix.lower() in (".jpg", ".jpeg") else {}
        Image.fromarray(pixels).save(path, **lossless, **quality)
    else:
        path.write_bytes(b"II*\0")


def tree(card, root):
    """The files of a card's layout below `root`; returns path -> role."""
    examples = dict(card.examples())
    for name, role in examples.items():
        write(root / name, card, role.startswith("mask"))
    if any(isinstance(group, Group) and group.polygons for group in card.tampered):
        names = [name for name, role in examples.items() if role == "tampered"]
        outline = [8, 8, 31, 8, 31, 23, 8, 23]
        notes = [{"image_id": n, "category_id": 1, "segmentation": [outline]} for n in range(len(names))]
        images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
        table = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "Fake"}]}
        (root / "Test-Dev_poly.json").write_text(json.dumps(table))
    return examples


def test_there_are_35_cards_copies_counted_once():
    assert sum(not card.copy_of for card in CARDS.values()) >= 35
    assert all(card.copy_of in CARDS for card in CARDS.values() if card.copy_of)


@pytest.mark.parametrize("prefix", ["", "unpacked/here/"])
@pytest.mark.parametrize("name", CARDS)
def test_a_tree_of_the_layout_opens_pairs_and_counts(tmp_path, name, prefix):
    card = CARDS[name]
    examples = tree(card, tmp_path / prefix)
    found = open_card(card, tmp_path)
    problems = [d for d in found.defects if "not here" not in d.problem]  # lists name more files than an example
    assert not problems
    root = tmp_path / prefix
    roles = {s.image.relative_to(root).as_posix(): "tampered" if s.tampered else "authentic" for s in found.samples}
    assert roles == {path: role for path, role in examples.items() if role in ("tampered", "authentic")}
    assert found.found == {role: list(roles.values()).count(role) for role in ("tampered", "authentic")}
    for sample in found.tampered:
        image = sample.image.relative_to(root).as_posix()
        masks = sorted(path for path, role in examples.items() if role == f"mask of {image}")
        if not masks and sample.mask is not None:  # one mask of several images
            assert "shares" in card.layout
            continue
        assert sorted(mask.relative_to(root).as_posix() for mask in sample.masks) == masks
        if sample.located:
            assert np.array_equal(found.read_mask(sample), FORGED)


@pytest.mark.parametrize("name", CARDS)
def test_every_card_says_what_it_is(name):
    card = CARDS[name]
    assert card.page.startswith("http") and card.licence and card.citation and card.verified
    assert card.examples() and all(what for _, what in card.examples())
    for archive in card.archive:
        assert re.fullmatch(r"[0-9a-f]{64}|", archive.sha256)
    assert len({subset.name for subset in card.subset}) == len(card.subset)
    for subset in card.subset:
        assert subset.unknown == ("public nowhere" in unknown(card, subset)) and (subset.note or not subset.unknown)


def unknown(card, subset):
    try:
        open_card(card, FOLDER, subset.name)
    except ValueError as error:
        return str(error)
    return ""


# ------------------------------------------------------------------------------------------------- member lists


def claims(groups, path):
    """Whether a path is an image of one of these groups."""
    for group in groups:
        if isinstance(group, Listed):
            if any(row["image"].lower() == path.lower() for row in group.rows()):
                return True
        elif fullmatch(group.image, path):
            return True
    return False


MEMBERS = {  # list -> card, and how a line of it lies below the set's root; from the lists' own sources
    "casia1-tampered-920": ("casia1", "CASIA 1.0 dataset/Tp/{}"),
    "imd2020-tampered-2010": ("imd2020", "{}"),
    "imd2020-catnet-valid-141": ("imd2020", "{}"),
    "korus-tampered-220": ("korus", "{}"),
    "nist16-tampered-564": ("nist16", "probe/{}.jpg"),
    "nist16-tampered-160": ("nist16", "probe/{}.jpg"),
    "openforensics-trufor-2000": ("openforensics", "Images/Test-Dev/{}.jpg"),
    "safirems-expert-ms2": ("safirems_expert", "{}"),
    "safirems-expert-ms3": ("safirems_expert", "{}"),
    "safirems-expert-ms4": ("safirems_expert", "{}"),
    "safirems-auto-sp-test-200": ("safirems_auto_sp", "{}"),
    "safirems-auto-cm-test-200": ("safirems_auto_cm", "{}"),
    "safirems-auto-rm-test-200": ("safirems_auto_rm", "{}"),
    "safirems-auto-gn-test-200": ("safirems_auto_gn", "{}"),
    "tampcoco-catnet-test-225": ("tampcoco", "{}"),
    "vipp-tampered-69": ("vipp", "{}"),
    "ifs-tc-tampered-442": ("ifs_tc", "training/{}.png"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_every_listed_member_is_claimed_as_tampered_and_by_no_authentic_group(name):
    card, form = CARDS[MEMBERS[name][0]], MEMBERS[name][1]
    lines = read_list(shared_path("reference") / "subsets" / f"{name}.txt")
    authentic = [group for group in card.authentic if isinstance(group, Group) and group.only is None]
    for line in lines:
        path = form.format(line.partition(",")[0])
        assert claims([g for g in card.tampered if isinstance(g, Group)], path) or claims(card.tampered, path), path
        assert not claims(authentic, path), path


@pytest.mark.parametrize("kind", ["sp", "cm", "rm", "gn"])
def test_patterns_pair_what_the_lists_of_safirems_pair(kind):
    """Two ways to the same pairs: the list's lines, and the named groups that image and mask pattern share."""
    (group,) = CARDS[f"safirems_auto_{kind}"].tampered
    shared = set(group.image.groupindex) & set(group.mask.groupindex)
    for line in read_list(shared_path("reference") / f"subsets/safirems-auto-{kind}-test-200.txt"):
        image, mask = line.split(",")
        one, other = fullmatch(group.image, image), fullmatch(group.mask, mask)
        assert one and other and all(one[key] == other[key] for key in shared), line


def test_the_committed_lists_are_those_of_the_reference():
    for path in (shared_path("reference") / "subsets").glob("*.txt"):
        ours = FOLDER / "subsets" / path.name
        if ours.exists():
            assert read_list(ours) == read_list(path)
    parts = [
        read_list(FOLDER / f"subsets/defacto-12k-{kind}-2000.txt") for kind in ("splicing", "copy-move", "inpainting")
    ]
    assert sum(map(len, parts)) == 6000


def test_subsets_hold_what_their_counts_say():
    for card in CARDS.values():
        for subset in card.subset:
            for kind in ("tampered", "authentic"):
                wanted = getattr(subset, kind)
                if not isinstance(wanted, str) and not (subset.groups and kind == "tampered"):
                    assert len({line.partition(",")[0] for line in read_list(wanted)}) == subset.count[kind], (
                        subset.name
                    )
            for group in subset.groups:
                if isinstance(group, Listed):
                    assert len(list(group.rows())) == subset.count["tampered"]


# ------------------------------------------------------------------------------------------- facts not to be lost


def test_facts_that_must_not_get_lost():
    pairs = {row["image"]: row["mask"] for row in CARDS["nist16"].tampered[0].rows()}
    assert len(pairs) == 564 and not any(image[-8:-4] in mask for image, mask in pairs.items())
    assert all(number in CARDS["vipp"].note for number in (".746", ".621", "boxes"))
    assert "fine-tuning test list" in CARDS["nist16"].find_subset("160").note
    assert all("cannot be checked" in CARDS[name].note for name in ("micc_f220", "micc_f2000"))


# ------------------------------------------------------------------------------------------------------- subsets


def test_nist16_160_takes_its_masks_from_three_folders(tmp_path):
    card = CARDS["nist16"]
    rows = list(card.find_subset("160").groups[0].rows())
    chosen = [
        next(row for row in rows if f"/{folder}/" in row["mask"]) for folder in ("splice", "remove", "manipulation")
    ]
    for row in chosen:
        write(tmp_path / row["image"], card, False)
        write(tmp_path / row["mask"], card, True)
    (found,) = open_test_sets(f"nist16:{tmp_path}@160")
    assert found.name == "nist16@160" and found.subset == "160" and len(found.tampered) == 3
    assert {sample.test_set for sample in found.samples} == {"nist16"}
    (defect, *_) = found.defects
    assert (defect.file, defect.problem[:37]) == ("nist16-tampered-160.txt", "names 157 files that are not here: pr")


def test_a_subset_leaves_out_what_its_list_does_not_name(tmp_path):
    card = CARDS["imd2020"]
    for name in ("1a1ogs/c8tf5mq_0", "1a1ogs/other_0"):
        write(tmp_path / f"{name}.png", card, False)
        write(tmp_path / f"{name}_mask.png", card, True)
    write(tmp_path / "1a1ogs/1a1ogs_orig.jpg", card, False)
    (whole,) = open_test_sets(f"imd2020:{tmp_path}")
    (part,) = open_test_sets(f"imd2020:{tmp_path}@2010")
    assert (len(whole.tampered), len(part.tampered), len(part.authentic)) == (2, 1, 1)
    assert part.found == {"tampered": 1, "authentic": 1}
    assert "names 2009 files that are not here" in part.defects[0].problem
    assert whole.digest != part.digest and whole.fingerprint(part.samples[0]) == part.fingerprint(part.samples[0])


def test_unknown_subsets(tmp_path):
    write(tmp_path / "4cam_auth/a.tif", CARDS["columbia"], False)
    with pytest.raises(ValueError, match=r"public nowhere.*osn_columbia"):
        open_test_sets(f"columbia:{tmp_path}@mpc-160")
    with pytest.raises(ValueError, match=r"columbia has no subset 'mpc160'; did you mean 'mpc-160'\?"):
        open_test_sets(f"columbia:{tmp_path}@mpc160")
    with pytest.raises(ValueError, match="comofod has no subset 'x'; its card names none"):
        open_test_sets(f"comofod:{tmp_path}@x")


def test_several_images_may_share_one_mask(tmp_path):
    tree(CARDS["autosplice"], tmp_path)
    (found,) = open_test_sets(f"autosplice:{tmp_path}")
    assert len(found.tampered) == 2 and len({sample.mask for sample in found.tampered}) == 1
    (other,) = open_test_sets(f"autosplice:{tmp_path}@jpeg75")
    assert len(other.tampered) == 1 and "JPEG75" in other.tampered[0].id


# ------------------------------------------------------------------------------------- real files, real defects


def test_columbia_as_distributed_verifies():
    (found,) = open_test_sets(f"columbia:{shared_path('official-layout') / 'columbia'}")
    report = verify(found)
    assert report["usable"] == {"tampered": 3, "authentic": 1} and not report["defects"]
    assert report["missing"] == {"tampered": 177, "authentic": 182} and not report["intact"]
    assert {archive["name"] for archive in report["archives"]} == {"4cam_auth.tar.bz2", "4cam_splc.tar.bz2"}
    assert all(0.05 < found.read_mask(sample).mean() < 0.5 for sample in found.tampered)


def test_coverage_as_distributed_verifies_with_its_known_defects():
    (found,) = open_test_sets(f"coverage:{shared_path('official-layout') / 'coverage'}")
    report = verify(found)
    assert all(defect["known"] for defect in report["defects"]) and report["defects"]
    assert report["usable"]["tampered"] + len(report["defects"]) == report["found"]["tampered"]


def test_a_folder_that_is_another_set_is_told_which(tmp_path):
    tree(CARDS["coverage"], tmp_path)
    with pytest.raises(ValueError, match=r"(?s)no usable image of Columbia.*found there: 5 files.*looks like COVERAGE"):
        open_test_sets(f"columbia:{tmp_path}")
    shutil.rmtree(tmp_path)
    tree(CARDS["nist16_copy"], tmp_path)
    with pytest.raises(ValueError, match="looks like NIST16, a copy"):
        open_test_sets(f"dso1:{tmp_path}")
