"""Hostile folders, names and cards: each reported case, and variants of its kind."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image
from shared import shared_path

from bench.data import DataError, inspect, open_test_sets
from bench.data.cards import CardError, load
from bench.data.files import list_files
from bench.data.levels import classes
from bench.data.spec import parse
from models.image import stored_size

SHAPE = (40, 50)
TRUTH = np.zeros(SHAPE, bool)
TRUTH[10:20, 5:30] = True


def photo(path, seed=0, **options):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    pixels = np.random.default_rng([seed, *os.fsencode(path)]).integers(0, 256, (*SHAPE, 3), np.uint8)
    with open(path, "wb") as file:
        Image.fromarray(pixels).save(file, options.pop("format", "PNG"), **options)


def mask(path, truth=TRUTH):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        Image.fromarray((truth * 255).astype(np.uint8)).save(file, "PNG")


def pair(root, name, as_mask=None):
    """An image and its mask; names are bytes or text, so that any file name can be made."""
    root = os.fsencode(root)
    photo(os.path.join(root, b"images", os.fsencode(name)))
    mask(os.path.join(root, b"masks", os.fsencode(as_mask or name)))


def opened(root, masks=True):
    spec = f"folder:{root}/images" + (f",{root}/masks" if masks else "")
    (found,) = open_test_sets(spec)
    return found


def case(name):
    return shared_path("cases") / name


# ----------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe", "图像".encode("gbk"), b"a\xc3"])
def test_names_that_are_not_utf_8(tmp_path, name):
    pair(tmp_path, name + b".png")
    pair(tmp_path, "good.png")
    found = opened(tmp_path)
    assert len(found.tampered) == 2 and not found.defects
    for sample in found.samples:
        sample.id.encode("utf-8")
        assert np.array_equal(found.read_mask(sample), TRUTH)
    assert "good" in {sample.id for sample in found.samples} and found.digest
    inspect.verify_text(inspect.verify(found)).encode("utf-8")


def test_a_defect_of_a_file_with_such_a_name_can_be_printed(tmp_path):
    pair(tmp_path, "good.png")
    with open(os.fsencode(tmp_path) + b"/images/caf\xe9.png", "wb") as file:
        file.write(b"nothing")
    (defect,) = [d for d in opened(tmp_path, masks=False).defects]
    assert defect.file == "caf\\xe9.png" and defect.problem.isprintable()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["é", "für Elise", "Ångström", "が"])
def test_composed_and_decomposed_names_are_the_same(tmp_path, name, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    pair(tmp_path, unicodedata.normalize(form, name) + ".png", unicodedata.normalize(other, name) + "_gt.png")
    found = opened(tmp_path)
    assert [sample.id for sample in found.tampered] == [unicodedata.normalize("NFC", name)] and not found.defects


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a*b", "$x$ to $y$", "a;b", "a'b\"", "=cmd()", "NA", " x ", "[1]"])
def test_any_other_name_is_taken_as_it_is(tmp_path, name):
    pair(tmp_path, f"{name}.png")
    found = opened(tmp_path)
    assert [sample.id for sample in found.tampered] == [name] and not found.defects


@pytest.mark.parametrize("suffix", ["_mask", "_gt", "_edgemask"])
def test_a_photo_called_like_a_mask_keeps_its_own(tmp_path, suffix):
    for name in ("face", f"face{suffix}"):
        pair(tmp_path, f"{name}.jpg", f"{name}.png")
        pair(tmp_path, f"deep/{name}.jpg", f"deep/{name}.png")
    found = opened(tmp_path)
    assert len(found.tampered) == 4 and not found.defects
    assert all(sample.mask.stem == sample.image.stem for sample in found.samples)


# --------------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize(
    "folder",
    ["@eaDir/a.jpg", "#recycle", "$RECYCLE.BIN", "lost+found", "__MACOSX", ".Trash-0", "System Volume Information"],
)
def test_what_systems_put_beside_photos_is_no_photo(tmp_path, folder):
    photo(tmp_path / "images/a.jpg")
    photo(tmp_path / f"images/{folder}/THUMB_M.jpg")
    photo(tmp_path / f"images/deep/{folder}/THUMB_M.jpg")
    assert [sample.id for sample in opened(tmp_path, masks=False).samples] == ["a"]


def test_linked_folders_and_files_are_followed_and_loops_are_not(tmp_path):
    photo(tmp_path / "elsewhere/x.png")
    mask(tmp_path / "elsewhere/masks/x.png")
    (tmp_path / "set/images").mkdir(parents=True)
    (tmp_path / "set/images/linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "set/images/one.png").symlink_to(tmp_path / "elsewhere/x.png")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "set", target_is_directory=True)
    (tmp_path / "elsewhere/self").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    names = list_files(tmp_path / "set/images")
    assert {"linked/x.png", "one.png"} <= set(names) and len(names) < 20


def test_masks_beside_their_images(tmp_path):
    for name in ("a", "b", "only_gt"):
        photo(tmp_path / f"all/{name}.png")
    for name in ("a_mask", "b_gt"):
        mask(tmp_path / f"all/{name}.png")
    (found,) = open_test_sets(f"folder:{tmp_path}/all,{tmp_path}/all")
    assert [sample.id for sample in found.tampered] == ["a", "b"]
    (alone,) = open_test_sets(f"folder:{tmp_path}/all")
    assert len(alone.authentic) == 5 and "look like masks" in alone.remarks[0]


@pytest.mark.parametrize("images, masks", [("set", "set/masks"), ("set/images", "set")])
def test_one_folder_inside_the_other(tmp_path, images, masks):
    photo(tmp_path / f"{images}/1.png")
    mask(tmp_path / f"{masks}/{'1.png' if masks != 'set' else 'gt/1.png'}")
    (found,) = open_test_sets(f"folder:{tmp_path}/{images},{tmp_path}/{masks}")
    assert len(found.samples) == 1 and np.array_equal(found.read_mask(found.samples[0]), TRUTH)


# --------------------------------------------------------------------------------------------------------- endings


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JFIF", "jif", "apng", "dib", "pbm", "j2k"])
def test_less_usual_endings_are_read(tmp_path, suffix):
    form = {"apng": "PNG", "dib": "DIB", "pbm": "PPM", "j2k": "JPEG2000"}.get(suffix.lower(), "JPEG")
    photo(tmp_path / f"images/a.{suffix}", format=form)
    assert len(opened(tmp_path, masks=False).samples) == 1


@pytest.mark.parametrize(
    "start, form", [(b"\xff\xd8\xff\xe0", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"\0\0\0\x18ftypheic", "HEIC")]
)
@pytest.mark.parametrize("name", ["b.heic", "b.foo", "b", "b.jpg_large"])
def test_a_file_that_begins_like_an_image_is_never_left_out_in_silence(tmp_path, start, form, name):
    photo(tmp_path / "images/a.png")
    (tmp_path / "images" / name).write_bytes(start + bytes(40))
    (tmp_path / "images/notes.txt").write_text("no image")
    found = opened(tmp_path, masks=False)
    (defect,) = found.defects
    assert defect.file == name and f"begins like {form}" in defect.problem


# ----------------------------------------------------------------------------------------------------------- paths


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    pair(tmp_path / "set", "a.png")
    assert len(open_test_sets("folder:~/set/images,~/set/masks")[0].tampered) == 1
    (item,) = parse("casia1:~/data")
    assert item.root == tmp_path / "data"


@pytest.mark.parametrize("name", ["a,b", "a, b,c", "x@y", "a@b,c"])
def test_paths_with_commas_and_at_signs(tmp_path, name):
    pair(tmp_path / name, "a.png")
    photo(tmp_path / "other/images/z.png")
    base = f"folder:{tmp_path}/{name}/images,{tmp_path}/{name}/masks"
    one, two = open_test_sets(f"{base},folder:{tmp_path}/other/images")
    assert len(one.tampered) == 1 and len(two.authentic) == 1
    photo(tmp_path / name / "image/1.tif")
    (found,) = open_test_sets(f"coverage:{tmp_path}/{name}")
    assert [sample.id for sample in found.samples] == ["image/1"]


def test_paths_are_absolute_from_the_start(tmp_path, monkeypatch):
    pair(tmp_path, "a.png")
    monkeypatch.chdir(tmp_path)
    (found,) = open_test_sets("folder:images,masks")
    monkeypatch.chdir("/")
    assert np.array_equal(found.read_mask(found.samples[0]), TRUTH)


def test_errors_of_an_image_name_it_and_no_place(tmp_path):
    pair(tmp_path, "sub/a.png", "sub/a.png")
    (tmp_path / "images/sub/a.png").write_bytes((tmp_path / "images/sub/a.png").read_bytes()[:900])
    found = opened(tmp_path)
    with pytest.raises(ValueError, match=r"^sub/a: ") as raised:
        found.read_image(found.samples[0])
    assert str(tmp_path) not in str(raised.value)


# ----------------------------------------------------------------------------------------------------------- cards

CARD = r"""
name = "mine"
title = "Mine"
licence = "-"
citation = "-"
page = "-"
layout = "a/x.png  tampered"
[[tampered]]
image = 'a/(?P<key>\w+)\.png'
mask = 'm/(?P<key>\w+)\.png'
"""


def card(tmp_path, text, encoding="utf-8"):
    (tmp_path / "mine.toml").write_text(text, encoding=encoding)
    return load(tmp_path / "mine.toml")


def test_a_byte_order_mark_is_read_over(tmp_path):
    assert card(tmp_path, CARD, "utf-8-sig").name == "mine"


@pytest.mark.parametrize(
    "source", ["{key:>999999999}", "{key!r}", "{key.__class__}", "{key[0]}", "{0}", "{}", "{key:{key}}"]
)
def test_braces_hold_a_name_and_no_program(tmp_path, source):
    with pytest.raises(CardError, match=r"tampered\.source: "):
        card(tmp_path, CARD + f'source = "{source}"')


@pytest.mark.parametrize("pattern", [r"(\w+\s?)+:", r"((a|b|ab)+)+c", r"(?:[a-z]+)*\d", r"(.*a){20}"])
def test_a_pattern_that_backtracks_for_ever_is_told_within_a_second_or_matches(tmp_path, pattern, monkeypatch):
    monkeypatch.setattr("bench.data.cards.MATCH_SECONDS", 0.2)
    text = CARD.replace(r"image = 'a/(?P<key>\w+)\.png'", f"image = '(?P<key>{pattern})'")
    mine = tmp_path / "mine.toml"
    mine.write_text(text)
    photo(tmp_path / f"root/{'ab' * 60}!.png")
    with pytest.raises((CardError, DataError), match=r"needs more than 0.2 s|no usable image"):
        open_test_sets(f"{mine}:{tmp_path}/root")


def test_a_list_must_lie_beside_its_card(tmp_path):
    for outside in ("/etc/passwd", "../../secret.txt"):
        with pytest.raises(CardError, match="must lie beside the card"):
            card(tmp_path, CARD + f'only = "{outside}"')
    with pytest.raises(CardError, match=r"gone\.txt: the list cannot be read"):
        card(tmp_path, CARD + 'only = "gone.txt"')
        photo(tmp_path / "root/a/x.png")
        open_test_sets(f"{tmp_path}/mine.toml:{tmp_path}/root")


@pytest.mark.parametrize(
    "addition, message",
    [
        ("boxes = 'b/(?P<key>x)'", "exclude each other"),
        ("[mask]\nno_score = [9, 1]", "mask.no_score: must be two whole numbers"),
        ('[mask.colours]\nred = "forgd"', 'mask.colours.red: unknown value "forgd"; did you mean "forged"?'),
        ('[mask.colours]\npink = "forged"', "mask.colours.pink: is no colour"),
        ('[[subset]]\nnam = "x"', 'subset.nam: unknown key; did you mean "name"?'),
        ('[[subset]]\nname = "x"\nunknown = 1', "subset.unknown: must be true or false"),
        ('[[archive]]\nname = "x"\nholds = "mask"', 'archive.holds: unknown value "mask"; did you mean "masks"?'),
        ('[[tampered]]\nlist = "l.txt"\nimage = "{a}"', 'tampered.image: the list has no column "a"'),
    ],
)
def test_the_new_keys_are_told_by_name_and_fix(tmp_path, addition, message):
    with pytest.raises(CardError) as raised:
        card(tmp_path, CARD + addition)
    assert message in str(raised.value)


def test_boxes_unions_and_detection_only(tmp_path):
    base = CARD.partition("[[tampered]]")[0]
    photo(tmp_path / "root/a/x.png")
    (tmp_path / "root/b").mkdir()
    (tmp_path / "root/b/x.txt").write_text("5 10 29 19\n")
    group = "[[tampered]]\nimage = 'a/(?P<key>\\w+)\\.png'\n"
    card(tmp_path, base + group + "boxes = 'b/(?P<key>\\w+)\\.txt'")
    (boxed,) = open_test_sets(f"{tmp_path}/mine.toml:{tmp_path}/root")
    assert np.array_equal(boxed.read_mask(boxed.samples[0]), TRUTH)
    (tmp_path / "root/b/x.txt").write_text("5 10 29")
    with pytest.raises(DataError, match="is no list of boxes"):
        open_test_sets(f"{tmp_path}/mine.toml:{tmp_path}/root")
    card(tmp_path, base + group)
    (blind,) = open_test_sets(f"{tmp_path}/mine.toml:{tmp_path}/root")
    (sample,) = blind.samples
    truth = blind.read_truth(sample)
    assert sample.tampered and not sample.located and not truth.scorable.any() and not truth.forged.any()
    assert "only their image-level decision" in inspect.verify(blind)["remarks"][0]


# --------------------------------------------------------------------------------------------------- three classes


@pytest.mark.parametrize("levels", [(0, 128, 255), (0, 50, 100, 150), (30, 140, 250)])
def test_masks_of_several_grey_classes_are_remarked(tmp_path, levels):
    pair(tmp_path, "a.png")
    grey = np.full(SHAPE, levels[0], np.uint8)
    for number, level in enumerate(levels[1:]):
        grey[number * 10 : number * 10 + 8, 5:30] = level
    Image.fromarray(grey).save(tmp_path / "masks/a.png")
    (remark,) = opened(tmp_path).remarks
    assert f"holds {len(levels)} classes ({', '.join(map(str, levels))})" in remark
    assert remark in inspect.verify(opened(tmp_path))["remarks"]


def test_masks_in_three_colours_are_remarked_and_soft_or_plain_ones_are_not(tmp_path):
    pair(tmp_path, "a.png")
    assert not opened(tmp_path).remarks
    colours = np.zeros((*SHAPE, 3), np.uint8)
    colours[:, :, 2] = 255
    colours[:10], colours[10:20] = (255, 0, 0), (0, 255, 0)
    Image.fromarray(colours).save(tmp_path / "masks/a.png")
    assert "holds 3 classes (blue, green, red)" in opened(tmp_path).remarks[0]
    soft = np.repeat(np.linspace(0, 255, SHAPE[1]).astype(np.uint8)[None], SHAPE[0], 0)
    assert classes(np.repeat(soft[:, :, None], 3, axis=2)) == []


# ------------------------------------------------------------------------------------------------ the reported cases


@pytest.mark.parametrize(
    "name, tampered, authentic",
    [
        ("alpha-mask", 2, 0),
        ("mask-16bit", 3, 0),
        ("tiff-orientation", 3, 0),
        ("jfif", 3, 0),
        ("damaged-avif", 1, 0),
        ("png-long-text", 2, 0),
        ("photo-called-mask", 2, 0),
    ],
)
def test_reported_folders_hold_what_they_should(name, tampered, authentic):
    report = inspect.verify(opened(case(name)))
    assert report["usable"] == {"tampered": tampered, "authentic": authentic}
    assert [defect["file"] for defect in report["defects"]] == (["auth_bad.avif"] if name == "damaged-avif" else [])
    turned = [remark for remark in report["remarks"] if "orientation tag" in remark]
    assert bool(turned) == (name == "tiff-orientation")


def test_the_other_reported_cases():
    assert len(opened(case("nas-thumbnails"), masks=False).samples) == 1
    root = case("one-folder") / "all"
    (found,) = open_test_sets(f"folder:{root},{root}")
    assert [s.id for s in found.samples] == ["a"] and found.read_mask(found.samples[0]).sum() == 440
    (mine,) = open_test_sets(f"{case('toml-bom') / 'mine.toml'}:{case('toml-bom')}")
    assert len(mine.tampered) == 1
    for name in ("turned.tif", "side.tif", "good.png"):
        assert stored_size(case("tiff-orientation") / "images" / name) == (48, 64)
    for sample in opened(case("alpha-mask")).samples + opened(case("mask-16bit")).samples:
        assert TRUTH.any() and sample.located
    for name in ("alpha-mask", "mask-16bit"):
        found = opened(case(name))
        assert {int(found.read_mask(sample).sum()) for sample in found.samples} == {440}
