"""Splits on disk, their digests, and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.data import Split, digest, read_split, write_split
from understudy.errors import DataError

SPLIT = Split("val", ["val:0", "val:3"], ["good\n“film”", "bad"], np.array([1, -1], dtype=np.int64))


def test_a_split_survives_the_disk(tmp_path: Path) -> None:
    write_split(SPLIT, tmp_path / "val.parquet")
    back = read_split(tmp_path / "val.parquet", "val")
    assert (back.name, list(back.ids), list(back.texts)) == ("val", list(SPLIT.ids), list(SPLIT.texts))
    assert back.labels.dtype == np.int64
    assert back.labels.tolist() == [1, -1]


def test_an_empty_split_survives_the_disk(tmp_path: Path) -> None:
    write_split(SPLIT.take([]), tmp_path / "empty.parquet")
    assert len(read_split(tmp_path / "empty.parquet", "unlabeled")) == 0


def test_equal_splits_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_split(SPLIT, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_another_file_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "val.parquet"
    pq.write_table(pa.table({"id": ["a"], "text": ["b"], "label": ["c"]}), path)
    with pytest.raises(DataError) as error:
        read_split(path, "val")
    assert str(error.value) == f"{path}: row 0: not a row of a stored split (id, text, integer label)"


ROWS = st.lists(st.tuples(st.text("ab\0", max_size=3), st.text("ab\0", max_size=3), st.integers(-1, 2)), max_size=4)


@given(ROWS, ROWS)
def test_digests_are_equal_for_equal_splits_only(one: list, other: list) -> None:
    def split(rows: list) -> Split:
        return Split("x", [r[0] for r in rows], [r[1] for r in rows], np.array([r[2] for r in rows], dtype=np.int64))

    assert (digest(split(one)) == digest(split(other))) is (one == other)


def test_a_digest_depends_on_order_and_not_on_the_name() -> None:
    assert digest(SPLIT.take([1, 0])) != digest(SPLIT)
    assert digest(Split("test", SPLIT.ids, SPLIT.texts, SPLIT.labels)) == digest(SPLIT)
    # Artifacts on disk carry digests: another way of computing them makes all of them stale.
    assert digest(SPLIT)[:12] == "562f451ad94f"


def test_importing_the_package_imports_no_optional_dependency() -> None:
    code = "import sys, understudy.data; print([m for m in ('pyarrow', 'datasets', 'torch') if m in sys.modules])"
    path = str(Path(__file__).parents[1] / "src")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path})
    assert result.stdout == "[]\n", result.stderr
