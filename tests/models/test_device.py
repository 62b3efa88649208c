"""Devices that an option names, the spread of workers over them, and precision; GPUs are pretended."""

import pytest
import torch

from models import device as devices
from models.device import Device, DeviceError, assign_workers, compute_device, parse_devices, resolved_precision

CPU, FIRST, SECOND = torch.device("cpu"), Device("cuda", 0), Device("cuda", 1)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu", [Device("cpu")]),
        ("cuda", [FIRST, SECOND]),
        ("cuda:1", [SECOND]),
        ("cuda:0,1", [FIRST, SECOND]),
        ("cuda:1, 0", [SECOND, FIRST]),
    ],
)
def test_an_option_names_devices(two_gpus, text, expected):
    assert parse_devices(text) == expected
    assert [str(compute_device(device)) for device in expected] == [str(device) for device in expected]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("gpu", "unknown device 'gpu'"),
        ("mps", "not supported"),
        ("cuda:2", "'cuda:2' was asked for, but"),
        ("cuda:0,2", "'cuda:2' was asked for, but"),
        ("cuda:0,0", "names a GPU twice"),
        ("cuda:0,", "unknown device 'cuda:'"),
        ("cuda:one", "unknown device 'cuda:one'"),
    ],
)
def test_an_option_that_names_no_device_is_refused(two_gpus, text, why):
    with pytest.raises(DeviceError, match=why):
        parse_devices(text)


def test_a_machine_without_a_gpu_says_so():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match=r"'cuda' was asked for, but .*use --device cpu"):
        parse_devices("cuda")
    assert compute_device(CPU) == CPU


@pytest.mark.parametrize(
    ("free", "cores", "expected"),
    [
        ([80, 80], 16, [FIRST, SECOND] * 8),  # eight fit on each, of 10 GB each
        ([80, 80], 3, [FIRST, SECOND, FIRST]),  # fewer cores than would fit
        ([80, 20], 16, [FIRST, SECOND, FIRST, SECOND, *[FIRST] * 6]),
        ([9, 25], 16, [SECOND, SECOND]),  # none fits on the first
        ([5, 5], 16, [FIRST]),  # it will say itself what it lacks
    ],
)
def test_workers_take_turns_on_gpus_that_have_room(free, cores, expected):
    assert assign_workers([FIRST, SECOND], cores, 10, free) == expected


def test_on_a_cpu_memory_and_cores_limit_workers():
    assert assign_workers([CPU], 4, 1.5, [5.0]) == [CPU] * 3
    assert assign_workers([CPU], 2, 1.5, [5.0]) == [CPU] * 2


def test_auto_is_bfloat16_where_the_device_has_it(monkeypatch):
    for has, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(devices, "_computes_in_bfloat16", lambda device, has=has: has)
        assert resolved_precision("auto", CPU) == precision
    assert resolved_precision("float32", CPU) == "float32" and resolved_precision("bfloat16", CPU) == "bfloat16"
    with pytest.raises(DeviceError, match="unknown precision 'half'; use float32, tf32, bfloat16, auto"):
        resolved_precision("half", CPU)
    with pytest.raises(DeviceError, match="'tf32' needs a GPU"):
        resolved_precision("tf32", CPU)
    assert resolved_precision("tf32", FIRST) == "tf32"


def test_tf32_is_off_inside_unless_asked_for_and_as_before_outside():
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    for wanted in (False, True):
        with devices._tf32(wanted):
            assert [switch.allow_tf32 for switch in switches] == [wanted] * 2
    assert [switch.allow_tf32 for switch in switches] == before


def test_products_are_rounded_to_bfloat16_inside_alone():
    x = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    with devices.arithmetic("bfloat16", CPU):
        assert (x @ x).dtype == torch.bfloat16
    with devices.arithmetic("float32", CPU):
        assert (x @ x).dtype == torch.float32
