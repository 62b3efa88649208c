"""Tools in processes of their own: every way in which one can fail costs its image, and nothing outlives the suite."""

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

import models
from bench import runner
from bench.cli import main
from bench.identity import identify
from bench.results import read
from models import ForensicImage, NotApplicable, WeightsMissing
from models.exec import Description, ExecError
from models.image import encode_jpeg

pytestmark = pytest.mark.slow  # processes are started

ROOT = Path(__file__).parents[2]
SIZE = (24, 30)
RED = np.random.default_rng(3).integers(0, 256, (*SIZE, 3), np.uint8)
# The start of every tool of these tests; `answer` is what differs. numpy is there for those that need it.
BEGIN = """
import json, os, signal, sys, time
print(json.dumps({"protocol": 1, "name": "toy", "version": "1"}), flush=True)
with open("starts", "a") as file: file.write(f"{os.getpid()}\\n")
def say(**fields): print(json.dumps(fields), flush=True)
def flat(path, value=b"\\x00\\x00\\x80\\x3e", shape=(24, 30), descr="<f4"):  # .25 everywhere, an .npy written by hand
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\\n"
    with open(path, "wb") as file:
        file.write(b"\\x93NUMPY\\x01\\x00" + len(header).to_bytes(2, "little") + header + value * (shape[0] * shape[1]))
for line in sys.stdin:
    asked = json.loads(line)
    number, output = asked["id"], asked["output"]
"""
GOOD = "flat(output); say(id=number, map=output)"


@pytest.fixture
def tool(tmp_path):
    """A folder with tool.py and tool.toml; returns the localizer. Further keywords go into the TOML file."""

    def made(answer=GOOD, *, begin=BEGIN, folder="tool", command=None, **stated):
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        (home / "tool.py").write_text(begin + textwrap.indent(textwrap.dedent(answer), "    "))
        stated = {"mode": "serve", "kind": "probability", "format": "npy", "startup_s": 20, "image_s": 20} | stated
        stated["command"] = command or [sys.executable, "-I", "-S", "tool.py"]
        lines = []
        for key, value in stated.items():
            if isinstance(value, dict):
                value = "{" + ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in value.items()) + "}"
                lines.append(f"{key} = {value}")
            else:
                lines.append(f"{key} = {json.dumps(value)}")
        (home / "tool.toml").write_text("\n".join(lines))
        return models.build(f"exec:{home / 'tool.toml'}")

    return made


def starts(localizer) -> list[int]:
    """Process ids of the tool's starts so far."""
    file = Path(localizer.file).with_name("starts")
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def photo() -> ForensicImage:
    return ForensicImage(RED)


def gone(process: int, seconds: float = 10.0) -> bool:
    """Whether the process ends (or is a zombie that nobody has reaped) within this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if ") Z " in Path(f"/proc/{process}/stat").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


# --------------------------------------------------------------------------------------------------- what works


def test_one_process_answers_for_many_images(tool):
    localizer = tool("flat(output); say(id=number, map=output, image_score=0.5 * number)")
    for number in (1, 2, 3):
        score = localizer.localize(photo())
        assert (score.kind, score.image_score) == ("probability", 0.5 * number)
        assert np.array_equal(score.values, np.full(SIZE, 0.25, np.float32))
    assert len(starts(localizer)) == 1


WRITERS = {
    "npy": lambda path, values: np.save(path, values),
    "npz": lambda path, values: np.savez(path, map=values, other=np.ones(3)),
    "mat": lambda path, values: scipy.io.savemat(path, {"map": values.astype(np.float64), "note": "x"}),
    "png": lambda path, values: cv2.imwrite(str(path), np.rint(values * 65535).astype(np.uint16)),
    "tiff": lambda path, values: cv2.imwrite(str(path), values),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format(tool, tmp_path, kind):
    values = np.random.default_rng(1).random(SIZE, np.float32)
    localizer = tool(f"import shutil; shutil.copy('made.{kind}', output); say(id=number, map=output)", format=kind)
    WRITERS[kind](tmp_path / f"tool/made.{kind}", values)
    np.testing.assert_allclose(localizer.localize(photo()).values, values, atol=1e-5 if kind == "png" else 0)


def test_the_tool_gets_the_jpegs_own_bytes_or_a_lossless_copy(tool, tmp_path):
    localizer = tool(
        "import shutil; shutil.copy(asked['image'], f'seen-{os.path.basename(asked[\"image\"])}'); "
        "open(asked['image'], 'w').close(); flat(output); say(id=number, map=os.path.basename(output))"
    )
    data = encode_jpeg(RED, 80)
    for image in (ForensicImage.from_jpeg(data), photo()):
        before = image.rgb.copy()
        localizer.localize(image)
        assert np.array_equal(image.rgb, before)
    assert (tmp_path / "tool/seen-image.jpg").read_bytes() == data
    assert np.array_equal(cv2.imread(str(tmp_path / "tool/seen-image.png"))[:, :, ::-1], RED)


def test_maps_of_another_size_where_the_description_allows_them(tool):
    answer = "flat(output, shape=(3, 4)); say(id=number, map=output)"
    with pytest.raises(ExecError, match=r"the map is 3x4, its image 24x30.*resize"):
        tool(answer).localize(photo())
    for how in ("bilinear", "nearest"):
        assert tool(answer, resize=how).localize(photo()).values.shape == SIZE


def once(tool, body, **stated):
    words = [sys.executable, "-I", "-S", "tool.py", "{image}", "--to={output}"]
    lines = BEGIN.partition("for line in sys.stdin")[0].splitlines(keepends=True)
    begin = "".join(line for line in lines if "protocol" not in line) + "if True:\n"
    return tool(
        f"image, output = sys.argv[1], sys.argv[2][5:]\n{body}", begin=begin, command=words, mode="once", **stated
    )


def test_one_process_an_image(tool):
    localizer = once(tool, "print('any text'); assert open(image, 'rb').read(4) == b'\\x89PNG'; flat(output)")
    for _ in range(2):
        assert (localizer.localize(photo()).values == 0.25).all()
    assert len(starts(localizer)) == 2


# ------------------------------------------------------------------------------------- what fails, and costs one image

FIRST = "if len(open('starts').readlines()) == 1 and number == 1:\n    {}\nelse:\n    " + GOOD
FAULTS = {
    "text": ("print('Loading ...', flush=True)", "is no JSON object: Loading ..."),
    "a number": ("print(7, flush=True)", "is no JSON object: 7"),
    "deep": ("print('[' * 100000, flush=True)", "is no JSON object"),
    "bytes": ("os.write(1, b'\\xff\\xfe\\n')", "is no JSON object"),
    "wrong id": ("say(id=2, map=output)", "answered 2 to the image with the id 1"),
    "true for 1": ("say(id=True, map=output)", "answered True to the image with the id 1"),
    "1.0 for 1": ("say(id=1.0, map=output)", "answered 1.0"),
    "no id": ("say(map=output)", "answered None"),
    "two answers": ("say(id=1, map=output, error='x')", 'one text: "map", "not_applicable" or "error"'),
    "no answer": ("say(id=1)", "one text"),
    "no text": ("say(id=1, map=3)", "one text"),
    "nan": ("flat(output); say(id=1, map=output, image_score=float('nan'))", "image_score is nan"),
    "bool": ("flat(output); say(id=1, map=output, image_score=True)", "image_score is True"),
    "ended": ("sys.exit(3)", "it ended with exit code 3"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "it ended with signal 9"),
    "closed": ("os.close(1); time.sleep(60)", "it closed its standard output"),
    "silent": ("time.sleep(60)", "no answer within 1.5 s"),
    "half a line": ("os.write(1, b'{'); time.sleep(60)", "no answer within 1.5 s"),
    "endless line": ("while True: os.write(1, b'a' * 65536)", "a line of more than 1,048,576 bytes"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_image_and_the_tool_is_started_again(tool, name):
    body, said = FAULTS[name]
    localizer = tool(FIRST.format(body), image_s=1.5)
    with pytest.raises(ExecError) as caught:
        localizer.localize(photo())
    assert said in str(caught.value) and localizer.file in str(caught.value)
    assert (localizer.localize(photo()).values == 0.25).all()
    first, _ = starts(localizer)
    assert gone(first)


MAPS = {
    "absent": ("say(id=number, map=output)", "cannot be read"),
    "outside": ("say(id=number, map='/etc/passwd')", "does not lie in the folder"),
    "climbing": ("say(id=number, map='../../../x.npy')", "does not lie in the folder"),
    "linked": ("os.symlink(os.path.abspath('tool.py'), output); say(id=number, map=output)", "does not lie in"),
    "no path": ("say(id=number, map='a\\0b')", "is no path"),
    "another format": ("say(id=number, map=output + '.png')", "is no npy by its name"),
    "a pipe": ("os.mkfifo(output); say(id=number, map=output)", "not an ordinary file"),
    "a folder": ("os.mkdir(output); say(id=number, map=output)", "not an ordinary file"),
    "empty": ("open(output, 'w').close(); say(id=number, map=output)", "not a readable map"),
    "size": ("flat(output, shape=(24, 31)); say(id=number, map=output)", "24x31"),
    "nan": ("flat(output, b'\\0\\0\\xc0\\x7f'); say(id=number, map=output)", "NaN or infinity in 720 of 720"),
    "range": ("flat(output, b'\\0\\0\\0\\x40'); say(id=number, map=output)", "no probabilities"),
    "objects": ("flat(output, descr='|O'); say(id=number, map=output)", "Python objects, which are not loaded"),
    "huge": ("flat(output, b'', (10**6, 10**6)); say(id=number, map=output)", "more than the file holds"),
    "error": ("say(id=number, error='out of\\nmemory')", "the tool says: out of memory"),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_map_that_cannot_be_used_fails_its_image_and_the_tool_goes_on(tool, name):
    body, said = MAPS[name]
    localizer = tool(f"if number == 1:\n    {body}\nelse:\n    {GOOD}")
    with pytest.raises(ExecError) as caught:
        localizer.localize(photo())
    assert said in str(caught.value)
    assert (localizer.localize(photo()).values == 0.25).all()
    assert len(starts(localizer)) == 1


def test_not_applicable_is_no_failure(tool):
    localizer = tool("say(id=number, not_applicable='no JPEG')")
    with pytest.raises(NotApplicable, match="no JPEG"):
        localizer.localize(photo())


def test_text_after_an_answer_is_not_taken_for_the_next_one(tool):
    localizer = tool(f"{GOOD}; say(id=number + 1, error='stale')")
    for _ in range(2):
        assert (localizer.localize(photo()).values == 0.25).all()
        time.sleep(0.2)
    assert len(starts(localizer)) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(4)", "it ended with exit code 4"),
        ("os.kill(os.getpid(), 11)", "it ended with signal 11"),
        ("print('nothing')", "it ended with exit code 0 and wrote no map.npy"),
        ("time.sleep(60)", "not done within 1.5 s"),
        ("print('no weights', file=sys.stderr); sys.exit(1)", "last words: no weights"),
        ("os.symlink('/etc/passwd', output)", "does not lie in"),
    ],
)
def test_faults_of_one_process_an_image(tool, body, said):
    localizer = once(tool, body, image_s=1.5)
    for _ in range(4):  # more than three: these are no failed starts
        with pytest.raises(ExecError) as caught:
            localizer.localize(photo())
        assert said in str(caught.value)


# ---------------------------------------------------------------------------------------------------------- starts


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("sys.exit(5)", "it ended with exit code 5"),
        ("time.sleep(60)", "no answer within 1 s"),
        ("print('ready', flush=True)", "is no JSON object: ready"),
        ("print('{\"protocol\": 2}', flush=True)", "expected {\"protocol\": 1"),
        ("print('{\"protocol\": 1, \"version\": \"2\"}', flush=True)", "it is version '2', not '1'"),
    ],
)  # fmt: skip
def test_three_failed_starts_fail_the_localizer(tool, start, said):
    begin = "import os, sys, time\nopen('starts', 'a').write(f'{os.getpid()}\\n')\n" + start + "\nif False:\n"
    localizer = tool("pass", begin=begin, startup_s=1, version="1")
    for number in range(5):
        with pytest.raises(ExecError) as caught:
            localizer.localize(photo())
        assert said in str(caught.value)
        assert ("given up after 3 failed starts" in str(caught.value)) == (number >= 3)
    assert len(starts(localizer)) == 3


def test_a_start_that_succeeds_forgives_those_that_failed(tool):
    count = """
import pathlib
file = pathlib.Path("count")
number = len(file.read_bytes()) if file.exists() else 0
file.write_bytes(b"x" * (number + 1))
if number % 3 < 2: raise SystemExit(1)
"""
    begin = count + BEGIN
    localizer = tool(f"{GOOD}; sys.exit(0)", begin=begin)
    found = []
    for _ in range(9):
        try:
            found.append(localizer.localize(photo()).values.max() == 0.25)
        except ExecError:
            found.append(False)
        time.sleep(0.3)  # by then it has ended, which costs no image
    assert found == [False, False, True] * 3


def test_a_file_that_is_no_program_of_this_machine(tool, tmp_path):
    (tmp_path / "tool").mkdir()
    program = tmp_path / "tool/program"
    program.write_bytes(b"\x7fELF nothing")
    program.chmod(0o755)
    with pytest.raises(ExecError, match="it cannot be started: Exec format error"):
        tool(command=["./program"]).localize(photo())


# --------------------------------------------------------------------------------------- surroundings of the process


def test_standard_error_is_drained_and_its_end_is_in_the_reason(tool):
    body = "sys.stderr.write('a' * 5_000_000 + '\\nthe\\x1b[31m end\\n'); sys.stderr.flush(); sys.exit(1)"
    with pytest.raises(ExecError) as caught:
        tool(body).localize(photo())
    assert str(caught.value).endswith("aaa | the [31m end")
    assert 2000 < len(str(caught.value)) < 2500


def test_the_environment_is_what_is_allowed_and_stated(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    localizer = tool(f"json.dump(dict(os.environ), open('env.json', 'w')); {GOOD}", env={"MODE": "fast"})
    localizer.localize(photo())
    found = json.loads((tmp_path / "tool/env.json").read_text())
    assert not {"SECRET_TOKEN", "PYTHONPATH", "VIRTUAL_ENV"} & set(found)
    assert (found["MODE"], found["OMP_NUM_THREADS"], found["CUDA_VISIBLE_DEVICES"]) == ("fast", "3", "5")
    folder = Path(found["TMPDIR"])
    assert folder.stat().st_mode & 0o777 == 0o700
    del localizer
    assert not folder.exists()


def test_workers_are_spread_over_the_devices(tool):
    body = f"open('devices', 'a').write(os.environ['CUDA_VISIBLE_DEVICES'] + '\\n'); time.sleep(0.5); {GOOD}"
    localizer = tool(body, devices=[4, "GPU-7"])
    threads = [threading.Thread(target=localizer.localize, args=(photo(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Path(localizer.file).with_name("devices").read_text().split()) == ["4", "GPU-7"]
    assert len(starts(localizer)) == 2


def test_a_group_that_ignores_sigterm_is_killed_with_its_children(tool):
    body = """
        import subprocess
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(99)"
        child = subprocess.Popen([sys.executable, "-c", deaf])
        with open("starts", "a") as file: file.write(f"{child.pid}\\n")
        time.sleep(99)
    """
    localizer = tool(body, image_s=1.5)
    began = time.monotonic()
    with pytest.raises(ExecError, match="no answer within"):
        localizer.localize(photo())
    assert 5 < time.monotonic() - began < 20  # the five seconds that it was given
    assert len(starts(localizer)) == 2 and all(map(gone, starts(localizer)))


OWNER = """
import os, signal, sys
import numpy as np
import models
localizer = models.build("exec:" + sys.argv[1])
localizer.localize(models.ForensicImage(np.zeros((24, 30, 3), np.uint8)))
print(localizer._local.child.folder, flush=True)
os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_owners_death_ends_the_tool_and_removes_its_folder(tool, number):
    localizer = tool()
    words = [sys.executable, "-c", OWNER, localizer.file, str(int(number))]
    found = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == -number
    (process,) = starts(localizer)
    assert gone(process)
    folder, deadline = Path(found.stdout.strip()), time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()


# ---------------------------------------------------------------------------------------------- what the key covers


def test_identity_follows_content_and_never_paths_devices_or_patience(tool, tmp_path):
    (tmp_path / "tool/src").mkdir(parents=True)
    (tmp_path / "tool/src/net.py").write_text("1")
    (tmp_path / "tool/w.pth").write_bytes(b"weights")
    stated = {"files": ["src", "w.pth"], "version": "1", "env": {"SIZE": "big"}}
    command = [sys.executable, "-I", "tool.py", "--weights=w.pth", "--alpha=0.5"]

    def identity(**changed):
        return identify(tool(command=changed.pop("command", command), **(stated | changed))).digest

    first = identity()
    assert first == identity(devices=[3], image_s=7, startup_s=7)
    moved = tmp_path / "elsewhere"
    subprocess.run(["cp", "-r", tmp_path / "tool", moved], check=True)
    assert identify(models.build(f"exec:{moved / 'tool.toml'}")).digest == first
    seen = [
        first, identity(version="2"), identity(kind="score"), identity(resize="nearest"),
        identity(env={"SIZE": "small"}), identity(command=[*command[:-1], "--alpha=0.6"]), identity(answer="pass"),
    ]  # fmt: skip
    (tmp_path / "tool/w.pth").write_bytes(b"other weights")
    seen.append(identity())
    (tmp_path / "tool/src/net.py").write_text("2")
    seen.append(identity())
    (tmp_path / "tool/src/net.py").rename(tmp_path / "tool/src/core.py")
    seen.append(identity())
    assert len(set(seen)) == len(seen)


def test_identity_covers_the_program(tool, tmp_path):
    (tmp_path / "tool").mkdir()
    seen = set()
    for text in ("#!/bin/sh\n", "#!/bin/sh\n# another\n"):
        program = tmp_path / "tool/program"
        program.write_text(text)
        program.chmod(0o755)
        seen.add(identify(tool(command=["./program"])).digest)
    assert len(seen) == 2


# -------------------------------------------------------------------------------------------------- the description


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mode": "server"}, "mode is 'server'; did you mean serve?"),
        ({"format": "jpg"}, "format is 'jpg'"),
        ({"kind": "prob"}, "kind is 'prob'"),
        ({"modus": "serve"}, "unknown key modus; did you mean mode?"),
        ({"mode": "once"}, "command lacks {image} and {output}"),
        ({"image_s": 0}, "image_s is 0"),
        ({"startup_s": -1}, "startup_s is -1"),
        ({"command": ["no-such-program-of-anybody"]}, "no-such-program-of-anybody is no program"),
        ({"command": ["./gone.sh"]}, "gone.sh is no program"),
        ({"command": ["./tool.py"]}, "tool.py is no program"),
        ({"cwd": "gone"}, "gone is no folder"),
        ({"files": ["gone.pth"]}, "gone.pth does not exist"),
        ({"env": {"A=B": "1"}}, "a variable's name"),
        ({"env": {"A": 1}}, "env.A"),
    ],
)
def test_what_is_wrong_with_a_description_is_named(tool, changed, said):
    with pytest.raises(ExecError) as caught:
        tool(**changed)
    assert said in str(caught.value) and "tool.toml" in str(caught.value)


def test_an_empty_command_and_missing_keys(tmp_path):
    (tmp_path / "t.toml").write_text("command = []\nmode = 'serve'")
    with pytest.raises(ExecError, match=r"kind is missing.*|format is missing.*"):
        models.build(f"exec:{tmp_path / 't.toml'}")
    with pytest.raises(ValueError, match="command is empty"):
        Description((), "serve", "score", "npy")


def test_without_a_file_there_is_no_tool(tmp_path):
    with pytest.raises(WeightsMissing, match=r"exec:FILE\.toml"):
        models.build("exec")
    with pytest.raises(ExecError, match=r"gone\.toml: cannot be read"):
        models.build(f"exec:{tmp_path / 'gone.toml'}")


# --------------------------------------------------------------------------------------------------- in the harness


def test_a_run_with_two_workers(tool, photo_folder, capfd):
    localizer = tool("flat(output, shape=(48, 64)); print('hello', file=sys.stderr); say(id=number, map=output)")
    data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"
    words = ["run", "--models", f"mine=exec:{localizer.file}", "--data", data, "--perturbations", "clean"]
    assert main([*words, "--workers", "2", "--out", str(photo_folder / "run"), "--json", "-q"]) == 0
    about = json.loads(capfd.readouterr().out)
    assert about["cells"]["ok"] == 4 and about["models"][0]["name"] == "mine"
    assert str(photo_folder) not in json.dumps(about["models"])
    assert 1 <= len(starts(localizer)) <= 2


def test_the_example_in_an_environment_of_its_own(tmp_path, photo_folder, capsys):
    home = tmp_path / "external_tool"
    subprocess.run(["cp", "-r", ROOT / "examples/external_tool", home], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--clear", home / "env"], check=True)
    code = "import sys; sys.path[:] = [p for p in sys.path if p]; import numpy"
    assert subprocess.run([home / "env/bin/python", "-c", code], capture_output=True).returncode  # it has no packages
    data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"
    words = ["run", "--models", f"tool=exec:{home / 'tool.toml'},toy_localizers:Redness", "--data", data]
    words += ["--perturbations", "clean;noise:5;jpeg:80", "--workers", "1", "--backend", "threading"]
    assert main([*words, "--out", str(tmp_path / "run"), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["cells"]["ok"] == 2 * 4 * 3 - 4 and about["cells"]["not_applicable"] == 4
    table = read(tmp_path / "run")
    table = table[(table["metric"] == "auc") & ~table["perturbation"].str.startswith("jpeg")]
    ours, plain = (table[table["model"] == name] for name in ("tool", "toy_localizers:Redness"))
    where = ["test_set", "image", "perturbation", "level"]
    both = ours.merge(plain, on=where)
    assert len(both) == len(ours) >= 8 and np.array_equal(both["value_x"], both["value_y"])


def test_no_tool_is_left_over():
    """After all of the above: no process of these tests goes on."""
    runner._cache.clear()  # what the last run in this process has built
    gc.collect()
    left = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if b"guard.py" in text and parent == os.getpid():
                left.append(entry.name)
    deadline = time.monotonic() + 10
    while left and time.monotonic() < deadline:
        left = [number for number in left if not gone(int(number), 0.1)]
    assert not left
