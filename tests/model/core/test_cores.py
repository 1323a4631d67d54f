"""Threads are no more than the cores that a process may use."""

import os
from pathlib import Path

import pytest

from model.core.cores import cores, limit_threads

SEEN = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def version_1(groups: Path, quota: str) -> None:
    (groups / "cpu").mkdir()
    (groups / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (groups / "cpu" / "cpu.cfs_period_us").write_text("100000\n")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("100000 100000", 1),
        ("20000 100000", 1),  # a fifth of a core is one thread
        ("6400000 100000", SEEN),  # more than there are
        ("max 100000", SEEN),
        ("", SEEN),
        ("100000 0", SEEN),
    ],
)
def test_a_quota_of_version_2_limits_the_cores(tmp_path: Path, written: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(written)
    assert cores(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("50000", 1), ("100000", 1), ("-1", SEEN), ("?", SEEN)])
def test_a_quota_of_version_1_limits_the_cores(tmp_path: Path, quota: str, expected: int) -> None:
    version_1(tmp_path, quota)
    assert cores(tmp_path) == expected


@pytest.mark.parametrize("limited", ["system.slice", "system.slice/nightly.service"])
def test_a_quota_of_a_service_limits_its_cores_wherever_it_is_set(tmp_path: Path, limited: str) -> None:
    own, groups = tmp_path / "own", tmp_path / "groups"
    own.write_text("1:name=systemd:/elsewhere\n0::/system.slice/nightly.service\n")
    (groups / "system.slice" / "nightly.service").mkdir(parents=True)
    (groups / "system.slice" / "nightly.service" / "cpu.max").write_text("max 100000")
    (groups / limited / "cpu.max").write_text("100000 100000")
    assert cores(groups, own) == 1
    assert cores(groups, tmp_path / "absent") == SEEN


def test_without_control_groups_all_cores_count(tmp_path: Path) -> None:
    assert cores(tmp_path) == SEEN


@pytest.mark.skipif(SEEN == 1, reason="one core needs no limit")
def test_threads_are_limited_where_there_is_a_quota_and_a_set_variable_stays(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    limit_threads(environment, tmp_path)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}
    version_1(tmp_path, "100000")
    limit_threads(environment, tmp_path)
    assert environment["OMP_NUM_THREADS"] == "1"
    chosen = {"OMP_NUM_THREADS": "5", "OMP_WAIT_POLICY": "ACTIVE"}
    limit_threads(chosen, tmp_path)
    assert chosen == {"OMP_NUM_THREADS": "5", "OMP_WAIT_POLICY": "ACTIVE"}
