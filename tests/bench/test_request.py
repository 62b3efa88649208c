"""What a request names: labels, checkpoints, settings, paths, and what is refused at once or fails by name."""

import json
import sys
import textwrap

import pytest
import torch

import models
from bench.cli import main
from bench.request import Requested, model_record, plan_models, requested_models
from bench.usage import UsageError

CPU = torch.device("cpu")


def labels(text, *weights):
    return [each.label for each in requested_models(text, weights)]


def test_checkpoints_and_settings_of_one_localizer(tmp_path):
    first, second = tmp_path / "a.pth", tmp_path / "b.pth"
    wanted = requested_models(f"mine=mpc@{first},other=mpc@{second},mpc,ela?quality=75&window=8,ela")
    assert wanted == [
        Requested("mine", "mpc", str(first)),
        Requested("other", "mpc", str(second)),
        Requested("mpc", "mpc"),
        Requested("ela?quality=75&window=8", "ela", None, (("quality", 75), ("window", 8))),
        Requested("ela", "ela"),
    ]
    assert labels(f"mpc@{first},mpc@{second}") == ["mpc@a.pth", "mpc@b.pth"]


@pytest.mark.parametrize(
    ("text", "value"), [("75", 75), ("0.5", 0.5), ("true", True), ('"75"', "75"), ("db8", "db8"), ("[1, 2]", (1, 2))]
)
def test_values_of_settings(text, value):
    (each,) = requested_models([f"toy_localizers:Redness?gain={text}"])
    assert each.settings == (("gain", value),)


def test_settings_reach_the_localizer_and_its_identity():
    planned, unusable = plan_models(requested_models("toy_localizers:Redness,low=toy_localizers:Redness?gain=0.5"), CPU)
    assert not unusable
    assert [p.name for p in planned] == ["toy_localizers:Redness", "low"]
    assert [dict(p.settings) for p in planned] == [{}, {"gain": 0.5}]
    assert planned[0].identity != planned[1].identity


def test_groups_give_their_members_once():
    assert labels("ela,baselines,ela") == ["ela", *[m for m in models.groups()["baselines"] if m != "ela"]]


@pytest.mark.parametrize("name", ["with,comma", "with,two,commas", "at@sign", "what?", "a=b", "a?b=c"])
def test_paths_are_taken_as_they_are(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    for text in (f"maps:{folder}", f"ela,maps:{folder}"):
        last = requested_models(text)[-1]
        assert (last.name, last.label) == (f"maps:{folder}", f"maps:{name}")


def test_a_checkpoint_whose_path_holds_a_comma(tmp_path):
    file = tmp_path / "a,b.pth"
    file.touch()
    assert [each.weights for each in requested_models(f"one=mpc@{file},two=mpc@{file},ela")] == [str(file)] * 2 + [None]
    assert requested_models("mpc", [f"mpc={file}"])[0].weights == str(file)


def test_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert requested_models("mpc@~/w.pth")[0].weights == str(tmp_path / "w.pth")
    assert requested_models("mpc", ["mpc=~/w.pth"])[0].weights == str(tmp_path / "w.pth")
    assert requested_models("maps:~/m")[0].name == f"maps:{tmp_path / 'm'}"


def test_weights_go_to_labels_and_to_names():
    wanted = requested_models("mine=mpc,mpc-catnet", ["mine=/a.pth", "mpc-catnet=/b.pth"])
    assert [each.weights for each in wanted] == ["/a.pth", "/b.pth"]


@pytest.mark.parametrize(
    ("text", "weights", "message"),
    [
        ("mpc", ["mpc=a", "mpc=b"], "two checkpoints for mpc; compare them as two localizers"),
        ("mpc@a", ["mpc@a=b"], "two checkpoints for mpc@a"),
        ("mpc", ["mcp=a"], "expected MODEL=FILE with a MODEL of --models"),
        ("mpc", ["mpc="], "expected MODEL=FILE"),
        ("ela", ["ela=a.pth"], "ela: ela takes no weights"),
        ("ela@a.pth", [], "takes no weights"),
        ("mpc@", [], "no file after the @"),
        ("mpc@x/a.pth,mpc@y/a.pth", [], "2 localizers would be called 'mpc@a.pth'"),
        ("a=ela,a=ghost", [], "2 localizers would be called 'a'"),
        ("maps:a/x,maps:b/x", [], "2 localizers would be called 'maps:x'"),
        ("ela?qualty=75", [], "ela has no setting 'qualty'; did you mean 'quality'"),
        ("centre?x=1", [], "centre has no setting 'x'; it has none"),
        ("noi1?signed=no", [], "noi1: signed is true or false, got 'no'"),
        ("mpc?device=1", [], "has no setting 'device'"),
        ("mine=baselines", [], "baselines is a group"),
        ("baselines?x=1", [], "baselines is a group"),
        ('=cmd()=ela', [], "unknown model"),
        ("a\nb=ela", [], "cannot be a label"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(text, weights, message):
    with pytest.raises((UsageError, models.UnknownModel)) as caught:
        requested_models(text, weights)
    assert message in str(caught.value)


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module on the path with this text; returns its name."""

    def written(text: str, name: str = "user_plugin") -> str:
        (tmp_path / f"{name}.py").write_text("from toy_localizers import Redness\n" + textwrap.dedent(text))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return written


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no licence\\nfound')", "ValueError: no licence found"),
        ("raise SystemExit('gone')", "SystemExit: gone"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import absent_package", "ModuleNotFoundError: No module named 'absent_package'"),
        ("self.gain = 1; self.localize = None; raise MemoryError", "MemoryError"),
    ],
)
def test_a_constructor_that_fails_costs_its_localizer_alone(plugin, photo_folder, capsys, body, said):
    name = plugin(f"class Bad(Redness):\n    def __init__(self):\n        {body}\n")
    data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"
    words = ["run", "--models", f"{name}:Bad,toy_localizers:Redness", "--data", data, "--perturbations", "clean"]
    out = photo_folder / "run"
    assert main([*words, "--workers", "1", "--backend", "threading", "--out", str(out)]) == 1
    about = json.loads((out / "run.json").read_text())
    assert [m["status"] for m in about["models"]] == ["failed", "run"]
    assert about["models"][0]["reason"] == said
    assert about["cells"]["ok"] == 4
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("text", ["raise RuntimeError('broken')", "import sys; sys.exit(3)", "import absent_package"])
def test_a_module_that_fails_costs_its_localizers_alone(plugin, text):
    name = plugin(f"{text}\nclass Bad(Redness): pass")
    wanted = requested_models(f"{name}:Bad,ela")
    planned, unusable = plan_models(wanted, CPU)
    assert [p.name for p in planned] == ["ela"]
    assert unusable[f"{name}:Bad"].status == "failed" and "cannot be imported" in unusable[f"{name}:Bad"].reason
    assert model_record(wanted[0], planned, unusable)["status"] == "failed"


def test_a_class_without_localize_fails_by_name(plugin):
    name = plugin("from models import Localizer\nclass Empty(Localizer): pass")
    _, unusable = plan_models(requested_models(f"{name}:Empty"), CPU)
    assert "localize" in unusable[f"{name}:Empty"].reason


def test_a_constructor_that_prints_leaves_standard_output_alone(plugin, capsys):
    name = plugin("class Loud(Redness):\n    def __init__(self):\n        super().__init__(); print('hello')")
    planned, _ = plan_models(requested_models(f"{name}:Loud"), CPU)
    assert len(planned) == 1
    said = capsys.readouterr()
    assert said.out == "" and "hello" in said.err


def test_weights_that_do_not_exist_fail_by_name_and_absent_official_ones_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    _, unusable = plan_models(requested_models(f"mpc@{tmp_path}/no.pth,mpc-catnet,ela"), CPU)
    assert {label: refused.status for label, refused in unusable.items()} == {
        "mpc@no.pth": "failed", "mpc-catnet": "skipped",
    }  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda_is_refused_at_once(tmp_path, capsys):
    assert main(["run", "--models", "ela", "--device", "cuda", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "use --device cpu" in said[0]
    assert not (tmp_path / "run").exists()
