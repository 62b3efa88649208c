"""What a stored result depends on: every relevant edit is noticed, no irrelevant one is.

Each test edits the suite's own sources in a copy and digests them there, in a process of its own.
"""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.identity import IdentityError, code_digest, identify, unrepeatable
from models import Localizer

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json
from bench.identity import code_digest
from bench.metrics import kept
from bench.perturb import parse
from bench.plan import READER, SEVERITY
from bench.data import TestSet
print(json.dumps({
    "localizer": code_digest("models.classical.ela:ErrorLevelAnalysis").digest,
    "network": code_digest("models.mpc.localizer:MPCSmall").digest,
    "perturbation": code_digest(*parse("jpeg:70")[1].modules).digest,
    "reader": code_digest(READER).digest,
    "truth": code_digest(*TestSet.reader_modules).digest,
    "severity": code_digest(SEVERITY).digest,
    "native": [code_digest(*modules).digest for modules in kept(["native"]).values()],
}))
"""


def digests(root):
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    root = tmp_path_factory.mktemp("suite")
    for name in ("bench", "models", "datasets"):
        ignored = shutil.ignore_patterns("__pycache__", "weights", "deep", "training")
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    shutil.copytree(ROOT / "models" / "deep", root / "models" / "deep", ignore=shutil.ignore_patterns("__pycache__"))
    return root, digests(root)


def edit(root, file, old, new):
    path = root / file
    text = path.read_text()
    assert old in text, f"{file} no longer holds {old!r}; give the test another edit"
    path.write_text(text.replace(old, new, 1))
    return lambda: path.write_text(text)


@pytest.mark.slow
def test_relevant_edits_are_noticed_and_only_where_they_count(copied):
    root, before = copied
    edits = [
        ("models/classical/ela.py", "self.quality = quality", "self.quality = quality + 0", {"localizer"}),
        ("bench/metrics/kernel.py", "positives.sort()", "positives = np.sort(positives)", {"native"}),
        ("bench/severity.py", "SIGMA = 1.5", "SIGMA = 1.6", {"severity"}),
    ]
    for file, old, new, parts in edits:
        undo = edit(root, file, old, new)
        after = digests(root)
        undo()
        assert {name for name in before if after[name] != before[name]} == parts, file


def test_irrelevant_edits_change_nothing(copied):
    root, before = copied
    (root / "models" / "new_localizer.py").write_text(
        'from models import Localizer, ScoreMap, register\n\n\n@register("brandnew", title="x", paper="y")\n'
        "class New(Localizer):\n    def localize(self, image):\n        return ScoreMap(image.luminance, 'score')\n"
    )
    (root / "bench" / "perturb" / "families" / "brandnew.py").write_text(
        '"""A new family."""\n\nfrom models.image import ForensicImage\n\nNEW = ForensicImage\n'
    )
    undo = [lambda: (root / "models" / "new_localizer.py").unlink()]
    undo.append(lambda: (root / "bench" / "perturb" / "families" / "brandnew.py").unlink())
    texts = [
        ("bench/metrics/kernel.py", "from __future__", "# a comment\nfrom __future__"),
        ("bench/severity.py", '"""How much', '"""By how much'),
        ("models/classical/ela.py", 'title="', 'title="Another '),
        ("models/image.py", "class ForensicImage:", "class ForensicImage:  # a photo"),
        ("models/image.py", "def read_image(", "def unused():\n    return 1\n\n\ndef read_image("),
        ("bench/metrics/protocols/native.py", "description=(", 'description=(\n        "Edited. "'),
        ("datasets/casia1.toml", "title = ", "title = "),
        ("bench/summary.py", '"""', '"""Edited. '),
        ("bench/run.py", "IN_PROCESS_BELOW = 64", "IN_PROCESS_BELOW = 65"),
        ("bench/store.py", "FORMAT = 2", "FORMAT = 2  # the second"),
    ]
    undo += [edit(root, *each) for each in texts]
    try:
        assert digests(root) == before
    finally:
        for each in undo:
            each()


# ------------------------------------------------------------------------------------------------- of an object


class Holder(Localizer):
    """Holds whatever it is given."""

    def __init__(self, held=None):
        self.held = held

    def localize(self, image):
        return None


class Plain:
    def __init__(self, **values):
        self.__dict__.update(values)


def network(bias):
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3), torch.nn.BatchNorm2d(1))
    made[0].bias.data.fill_(bias)
    return made


CYCLE_A, CYCLE_B = [1], [2]
CYCLE_A.append(CYCLE_A), CYCLE_B.append(CYCLE_B)
PAIRS = {
    "number": (1, 2),
    "type": (1, 1.0),
    "text": ("a", "b"),
    "array": (np.zeros(3), np.array([0, 0, 1.0])),
    "array dtype": (np.zeros(3), np.zeros(3, np.float32)),
    "tensor": (torch.zeros(2), torch.ones(2)),
    "half tensor": (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
    "network": (network(0.0), network(1e-6)),
    "deep inside": ({"a": [Plain(x=(1, {"y": network(0.0)}))]}, {"a": [Plain(x=(1, {"y": network(0.5)}))]}),
    "a set": ({1, 2}, {1, 3}),
    "order of a list": ([1, 2], [2, 1]),
    "a closure": ((lambda n: lambda: n)(1), (lambda n: lambda: n)(2)),
    "a cycle": (CYCLE_A, CYCLE_B),
    "a generator": (np.random.default_rng(0), np.random.default_rng(1)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_an_object_holds_is_its_identity(name):
    first, second = PAIRS[name]
    assert identify(Holder(first)).digest != identify(Holder(second)).digest
    assert identify(Holder(first)).digest == identify(Holder(first)).digest


def test_equal_content_has_one_identity_whatever_the_order_of_names():
    assert identify(Holder({"a": 1, "b": 2})).digest == identify(Holder({"b": 2, "a": 1})).digest
    assert identify(Holder(network(0.25))).digest == identify(Holder(network(0.25))).digest


def test_the_given_file_counts_by_its_bytes_and_not_by_its_place(tmp_path):
    one, copy, other = (tmp_path / name for name in ("a.pth", "b.pth", "c.pth"))
    one.write_bytes(b"weights"), copy.write_bytes(b"weights"), other.write_bytes(b"weightz")
    found = [identify(Holder(str(file)), str(file)).digest for file in (one, copy, other)]
    assert found[0] == found[1] != found[2]


class CountsInC(itertools.count):
    """A class of ours that holds its number where no attribute shows it."""


def test_a_generator_of_random_numbers_counts_by_its_state():
    one, same, other = (identify(Holder(random.Random(seed))).digest for seed in (0, 0, 1))
    assert one == same != other


def test_what_cannot_be_digested_is_refused_by_name(tmp_path):
    with (tmp_path / "open").open("w") as file, pytest.raises(IdentityError, match=r"held.*--fresh"):
        identify(Holder(file))
    with pytest.raises(IdentityError, match=r"held.*--fresh"):
        identify(Holder(CountsInC()))
    assert unrepeatable().digest != unrepeatable().digest


@pytest.mark.parametrize("place", ["nets/core.py", "nets/deep/inner.py", "helper.py", "lazy.py", "named.py"])
def test_a_users_modules_are_followed_wherever_they_are_imported(tmp_path, place):
    files = {
        "wrapper.py": """
            import importlib
            from models import Localizer
            from nets import core
            class W(Localizer):
                def localize(self, image):
                    import lazy
                    return importlib.import_module("named").f(lazy.f(core.f(image)))
        """,
        "nets/__init__.py": "",
        "nets/core.py": "from .deep.inner import g\nimport helper\ndef f(x):\n    return helper.h(g(x))\n",
        "nets/deep/__init__.py": "",
        "nets/deep/inner.py": "def g(x):\n    return x\n",
        "helper.py": "def h(x):\n    return x\n",
        "lazy.py": "def f(x):\n    return x\n",
        "named.py": "def f(x):\n    return x\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    program = "import wrapper\nfrom bench.identity import identify\nprint(identify(wrapper.W()).digest)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def digest():
        words = [sys.executable, "-B", "-c", program]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout

    before = digest()
    assert digest() == before
    path = tmp_path / place
    path.write_text(path.read_text().replace("return x", "return -x").replace("return helper", "return -helper"))
    assert digest() != before


def test_distributions_of_another_site_folder_are_installed_ones(tmp_path, monkeypatch):
    """An environment that sees its base's packages (--system-site-packages, ~/.local) does not follow their source."""
    site = tmp_path / "lib/python3/site-packages"
    site.mkdir(parents=True)
    (site / "far_away.py").write_text("from ..nowhere import x")
    (tmp_path / "near_user.py").write_text("import far_away\nclass Method: ...")
    monkeypatch.syspath_prepend(site)
    monkeypatch.syspath_prepend(tmp_path)
    code = code_digest("near_user:Method")
    assert not any(name.startswith("far_away") for name in code.definitions)
    assert "far_away" in code.distributions
