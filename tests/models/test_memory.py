"""The memory that a pass may take: what is given, what is free, and what limits of control groups leave."""

import pytest
import torch

import models
from bench.training.tools.network_memory import peak
from models import memory
from models.memory import GB, Cost, MemoryLimitError, available, budget, share_gb

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch):
    monkeypatch.delenv(memory.VARIABLE, raising=False)


def test_a_number_that_is_given_is_the_budget(monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "2.5")
    assert budget(CPU) == 2.5 * GB
    assert budget(CPU, 4) == 4 * GB
    monkeypatch.delenv(memory.VARIABLE)
    assert 0 < budget(CPU) < available(CPU) * 1.1


@pytest.mark.parametrize("given", ["much", "0", "-1", "nan", ""])
def test_what_is_no_budget_is_refused(monkeypatch, given):
    monkeypatch.setenv(memory.VARIABLE, given)
    with pytest.raises(MemoryLimitError, match=r"BENCH_MEMORY_GB is .*a number of GB above 0"):
        budget(CPU)
    with pytest.raises(MemoryLimitError, match="memory_gb is -2"):
        budget(CPU, -2)


def test_workers_get_equal_shares_and_a_given_number_stays(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 10 * GB)
    assert share_gb(4, CPU) == 1.5 and budget(CPU) == 6 * GB
    monkeypatch.setenv(memory.VARIABLE, "3")
    assert share_gb(4, CPU) == 3


@pytest.fixture
def control_groups(monkeypatch, tmp_path):
    """Of this process: its membership in words; the groups' files lie below tmp_path."""

    def belong(membership: str) -> None:
        (tmp_path / "cgroup").write_text(membership)
        monkeypatch.setattr(memory, "CGROUPS", tmp_path)
        monkeypatch.setattr(memory, "MEMBERSHIP", tmp_path / "cgroup")

    return belong


def test_the_tightest_control_group_limits_what_is_available(control_groups, tmp_path):
    """Group c lies in b, which is limited; 300 of the 700 bytes that b uses are files that can be dropped."""
    own = tmp_path / "b" / "c"
    own.mkdir(parents=True)
    for folder, limit, used, files in ((own, "max", 500, 0), (own.parent, "2000", 700, 300)):
        (folder / "memory.max").write_text(limit + "\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon {used}\ninactive_file {files}\n")
    control_groups("0::/b/c\n")
    assert available(CPU) == 2000 - (700 - 300)


def test_limits_of_the_first_version_of_control_groups(control_groups, tmp_path):
    own = tmp_path / "memory" / "job"
    own.mkdir(parents=True)
    (own / "memory.limit_in_bytes").write_text("1000\n")
    (own / "memory.usage_in_bytes").write_text("400\n")
    (own / "memory.stat").write_text("total_inactive_file 100\n")
    control_groups("5:cpu,cpuacct:/job\n4:memory:/job\n")
    assert available(CPU) == 1000 - (400 - 100)


def test_a_full_group_leaves_nothing(control_groups, tmp_path):
    (tmp_path / "memory.max").write_text("100\n")
    (tmp_path / "memory.current").write_text("150\n")
    (tmp_path / "memory.stat").write_text("inactive_file 0\n")
    control_groups("0::/\n")
    assert available(CPU) == 0


def test_costs_grow_with_the_pixels():
    cost = Cost(per_pixel=100, fixed=5000)
    assert cost.of(10, 20) == 5000 + 100 * 200
    assert cost.in_tiles(100, 20, 40) == 5000 + 100 * 40 * 20 + memory.STITCHING_BYTES * 2000


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["catnet-v2", "hifi-net-loc", "mantranet", "mmfusion", "pscc-net", "rru-net", "trufor"]
)
def test_the_estimate_covers_the_tensors_of_a_pass_and_is_not_far_above(name):
    """At 12 MP, where nobody wants to measure. Buffers of operations are not counted here, but in the estimate."""
    estimate, tensors = models.find(name).memory.cost.of(3000, 4000), peak(name, 3000, 4000)
    assert 1.1 * tensors < estimate < 1.5 * tensors
