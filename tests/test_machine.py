"""What the process may use, and what its CPU can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.machine import _cgroup_quota, has_vnni


@pytest.mark.parametrize(
    ("content", "cores"),
    [("max 100000", None), ("50000 100000", 1), ("20000 100000", 1), ("250000 100000", 2), ("", None)],
)
def test_a_quota_is_whole_cores_and_at_least_one(tmp_path: Path, content: str, cores: int | None) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert _cgroup_quota(tmp_path / "cpu.max") == cores
    assert _cgroup_quota(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("instructions", "exact"),
    [(["avx2", "avx512f"], False), (["avx2", "avx_vnni"], True), (["asimddp"], True), ([], False)],
)
def test_exact_int8_sums_need_vnni_or_arm(instructions: list[str], exact: bool) -> None:
    assert has_vnni(instructions) == exact
