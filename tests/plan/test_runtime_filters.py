"""Keys of a small side are looked for while the other side is read, which changes no answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp

SETTINGS: dict[str, Any] = {"dask-polars.partition-size": 3000, "dask-polars.fallback": "raise", "scheduler": "sync"}
# How they are joined, and whether a predicate that all rows pass is put on the small side.
JOINS: dict[str, tuple[dict[str, Any], bool]] = {
    "inner": ({"how": "inner"}, True),
    "ordered": ({"how": "inner", "maintain_order": "left"}, True),
    "twice-ordered": ({"how": "inner", "maintain_order": "left_right"}, True),
    "semi": ({"how": "semi"}, True),
    "left": ({"how": "left"}, False),
    "nulls-equal": ({"how": "inner", "nulls_equal": True}, False),
}
DTYPES = {"signed": pl.Int32, "unsigned": pl.UInt64, "text": pl.String}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows with keys of each type, and a few of the keys, some of them more than once, with nulls on both sides."""
    root = tmp_path_factory.mktemp("lake")
    numbers = pl.Series([n * 37 % 400 if n % 13 else None for n in range(1200)])
    few = pl.Series([5, 7, None, 7, 399, 0, 1000] * 2)
    for name, keys in {"rows": numbers, "few": few}.items():
        columns = {kind: keys.cast(dtype) for kind, dtype in DTYPES.items()}
        frame = pl.DataFrame({**columns, "n": range(len(keys))})
        (root / name).mkdir()
        for part in range(6):
            piece = frame.filter(pl.int_range(pl.len()) * 6 // pl.len() == part)
            piece.write_parquet(root / name / f"{part}.parquet", row_group_size=70)
    return root


def joined(scan: Callable[..., Any], lake: Path, key: str, options: dict[str, Any], turned: bool) -> Any:
    rows, few = scan(lake / "rows"), scan(lake / "few").filter(pl.col("n") != 3)
    left, right = (few, rows) if turned else (rows, few)
    return left.join(right, on=key, **options)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("key", DTYPES)
@pytest.mark.parametrize("name", JOINS)
def test_runtime_filters(lake: Path, name: str, key: str, turned: bool) -> None:
    options, filtered = JOINS[name]
    wanted = joined(pl.scan_parquet, lake, key, options, turned).collect()
    with dask.config.set(SETTINGS):
        query = joined(dp.scan_parquet, lake, key, options, turned)
        found = query.collect()
        assert_frame_equal(found, wanted, check_row_order=name == "twice-ordered")
        if name == "ordered":  # matches of one row may come in any order
            assert found["n"].to_list() == wanted["n"].to_list()
        explained = query.explain()
    sent = not (turned and name in ("left", "semi", "ordered", "twice-ordered"))
    least = {"signed": "-2147483648", "unsigned": f'col("{key}") >= 0'}.get(key)
    if least is not None:
        assert (least in explained) == (filtered and sent)


def test_files_that_differ_keep_the_schema_of_the_first(tmp_path: Path) -> None:
    """A part whose first file has other columns, or has them in another order, is read as the whole says."""
    pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}).write_parquet(tmp_path / "0.parquet")
    pl.DataFrame({"b": ["z"], "a": [3]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"a": [4]}).write_parquet(tmp_path / "2.parquet")
    options = {"missing_columns": "insert"}
    wanted = pl.scan_parquet(tmp_path, **options).collect()
    with dask.config.set({"dask-polars.max-rows-per-partition": 1, "scheduler": "sync"}):
        found = dp.scan_parquet(tmp_path, **options)
        assert found.npartitions == 4
        assert_frame_equal(found.collect(), wanted)


def test_a_file_that_cannot_be_read_is_named_by_its_task(tmp_path: Path) -> None:
    for number in range(3):
        pl.DataFrame({"a": range(50)}).write_parquet(tmp_path / f"{number}.parquet")
    with dask.config.set({"dask-polars.max-rows-per-partition": 50, "scheduler": "sync"}):
        query = dp.scan_parquet(tmp_path).filter(pl.col("a") > 3)
        assert query.npartitions == 3
        (tmp_path / "1.parquet").write_bytes(b"PAR1 not at all PAR1")
        with pytest.raises((pl.exceptions.ComputeError, OSError)) as caught:
            query.collect()
    assert "1.parquet" in str(caught.value) + "".join(caught.value.__notes__)
