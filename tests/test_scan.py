"""Scans of files: whatever the arguments and the files, the answer is that of Polars."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.io import parquet as io_parquet
from tests.scans import LAYOUTS, scan_of

DATA = pl.DataFrame({"a": range(40), "b": [f"s{i % 7}" for i in range(40)], "c": [i * 0.5 for i in range(40)]})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("files")

    def write(name: str, frame: pl.DataFrame = DATA, **options: Any) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path, **options)

    def piece(index: int) -> pl.DataFrame:
        return DATA[index * 6 : index * 6 + 6]

    write("one/x.parquet")
    write("groups/x.parquet", row_group_size=4)
    for index in range(6):
        write(f"many/p{index}.parquet", piece(index))
    for index in range(3):
        write(f"nested/d{index}/e/p{index}.parquet", piece(index))
        for year in (2020, 2021):
            write(f"hive/year={year}/k=v{index}/p{index}.parquet", piece(index))
        write(f"days/day=2020-01-0{index + 1}/p{index}.parquet", piece(index))
        write(f"x=1/hive/year=202{index}/p{index}.parquet", piece(index))
        write(f"hive_in/k={index}/p.parquet", DATA.with_columns(k=pl.lit(7 + index)))
    write("hive_one/k=1/p.parquet")
    write("empty/a.parquet", DATA[:0])
    write("empty/b.parquet", DATA[:5])
    write("empty/c.parquet", DATA[:0])
    write("all_empty/a.parquet", DATA[:0])
    write("all_empty/b.parquet", DATA[:0])
    for name, other in {
        "string": DATA.with_columns(pl.col("a").cast(pl.String)),
        "narrow": DATA.with_columns(pl.col("a").cast(pl.Int32)),
        "missing": DATA.drop("c"),
        "extra": DATA.with_columns(z=1),
        "order": DATA.select("c", "a", "b"),
    }.items():
        write(f"{name}/a.parquet")
        write(f"{name}/b.parquet", other)
    for name, content in {"corrupt": b"garbage" * 100, "zero": b"", "text": b"hello"}.items():
        write(f"{name}/a.parquet")
        (root / name / "b.parquet").write_bytes(content)
    write("marked/a.parquet")
    (root / "marked/_SUCCESS").write_bytes(b"")
    write("hidden/a.parquet")
    write("hidden/_b.parquet")
    write("hidden/.c.parquet")
    write("wide/a.parquet", pl.DataFrame({"i": pl.Series([1, 2, 3], dtype=pl.Int128)}))
    write("types/a.parquet", typed())
    write("types/b.parquet", typed())
    (root / "nothing").mkdir()
    return root


def typed() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "e": pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"])),
            "c": pl.Series(["x", None], dtype=pl.Categorical),
            "d": pl.Series(["1.50", "2.25"]).cast(pl.Decimal(10, 2)),
            "t": pl.Series([1, 2]).cast(pl.Datetime("ns", "Europe/Berlin")),
            "s": [{"x": 1, "y": [1]}, None],
            "r": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int8, 2)),
            "n": [None, None],
        }
    )


Case = tuple[Callable[[Path], Any], dict[str, Any]]


def case(source: Any, **options: Any) -> Case:
    return (source if callable(source) else lambda root: root / source), options


SCHEMA = {"a": pl.Int64, "b": pl.String, "c": pl.Float64}
CASES: dict[str, Case] = {
    "file": case("one/x.parquet"),
    "string": case(lambda d: str(d / "one/x.parquet")),
    "list": case(lambda d: [d / "one/x.parquet", str(d / "groups/x.parquet"), d / "one/x.parquet"]),
    "glob": case("many/*.parquet"),
    "glob-of-some": case("many/p[0-3].parquet"),
    "glob-recursive": case("nested/**/*.parquet"),
    "directory": case("many"),
    "directory-slash": case(lambda d: f"{d}/many/"),
    "directories": case(lambda d: [d / "many", d / "one"]),
    "nested": case("nested"),
    "url": case(lambda d: f"file://{d}/one/x.parquet"),
    "url-glob": case(lambda d: f"file://{d}/many/*.parquet"),
    "no-glob": case("many/p1.parquet", glob=False),
    "relative": case(lambda d: "many/*.parquet"),
    "relative-directory": case(lambda d: "many"),
    "relative-hive": case(lambda d: "hive"),
    "relative-paths": case(lambda d: "many", include_file_paths="p"),
    "hive": case("hive"),
    "hive-glob": case("hive/**/*.parquet"),
    "hive-glob-on": case("hive/**/*.parquet", hive_partitioning=True),
    "hive-off": case("hive", hive_partitioning=False),
    "hive-list": case(lambda d: sorted((d / "hive").glob("**/*.parquet"))),
    "hive-list-on": case(lambda d: sorted((d / "hive").glob("**/*.parquet")), hive_partitioning=True),
    "hive-file": case("hive/year=2020/k=v0/p0.parquet"),
    "hive-file-on": case("hive/year=2020/k=v0/p0.parquet", hive_partitioning=True),
    "hive-below": case("hive/year=2020"),
    "hive-below-glob": case("hive/year=2020/*/*.parquet", hive_partitioning=True),
    "hive-above": case("x=1/hive"),
    "hive-above-glob": case("x=1/hive/**/*.parquet", hive_partitioning=True),
    "hive-directories": case(lambda d: [d / "hive/year=2020", d / "hive/year=2021"]),
    "hive-directories-on": case(lambda d: [d / "hive/year=2020", d / "hive/year=2021"], hive_partitioning=True),
    "hive-schema": case("hive", hive_schema={"year": pl.Int16, "k": pl.String}),
    "hive-dates": case("days"),
    "hive-no-dates": case("days", try_parse_hive_dates=False),
    "hive-in-the-file": case("hive_in"),
    "hive-one-file": case("hive_one"),
    "hive-paths": case("hive", include_file_paths="path"),
    "paths": case("many", include_file_paths="path"),
    "paths-file": case("one/x.parquet", include_file_paths="path"),
    "row-index": case("many", row_index_name="i"),
    "row-index-offset": case("many", row_index_name="i", row_index_offset=5),
    "row-index-groups": case("groups/x.parquet", row_index_name="i"),
    "row-index-paths": case("many", row_index_name="i", include_file_paths="p"),
    "row-index-rows": case("many", row_index_name="i", n_rows=9),
    "no-rows": case("many", n_rows=0),
    "some-rows": case("many", n_rows=10),
    "all-rows": case("many", n_rows=100),
    "some-rows-groups": case("groups/x.parquet", n_rows=7),
    "empty": case("empty"),
    "all-empty": case("all_empty"),
    "nothing": case("nothing"),
    "nothing-glob": case("nothing/*.parquet"),
    "not-there": case("nope.parquet"),
    "one-not-there": case(lambda d: [d / "one/x.parquet", d / "nope.parquet"]),
    "string-column": case("string"),
    "narrow-column": case("narrow"),
    "narrow-column-cast": case("narrow", cast_options=pl.ScanCastOptions(integer_cast="upcast")),
    "missing-column": case("missing"),
    "missing-column-inserted": case("missing", missing_columns="insert"),
    "extra-column": case("extra"),
    "extra-column-ignored": case("extra", extra_columns="ignore"),
    "other-order": case("order"),
    "schema": case("many", schema=SCHEMA),
    "schema-wrong": case("many", schema={**SCHEMA, "a": pl.Int32}),
    "schema-more": case("many", schema={**SCHEMA, "n": pl.Int8}, missing_columns="insert"),
    "schema-less": case("many", schema={"a": pl.Int64}, extra_columns="ignore"),
    "storage-options": case("many", storage_options={}),
    "tuning": case("many", parallel="none", low_memory=True, rechunk=True, cache=False, use_statistics=False),
    "corrupt": case("corrupt"),
    "zero-bytes": case("zero"),
    "zero-bytes-glob": case("zero/*.parquet"),
    "text": case("text"),
    "marked": case("marked"),
    "hidden": case("hidden"),
    "hidden-glob": case("hidden/*.parquet"),
    "hidden-prefix": case("hidden", hidden_file_prefix="_"),
    "wide-integers": case("wide"),
    "types": case("types"),
    "bytes": case(lambda d: (d / "one/x.parquet").read_bytes()),
    "several-bytes": case(lambda d: [(d / "one/x.parquet").read_bytes(), (d / "groups/x.parquet").read_bytes()]),
    "buffer": case(lambda d: io.BytesIO((d / "one/x.parquet").read_bytes())),
    "open-file": case(lambda d: (d / "one/x.parquet").open("rb")),
}

QUERIES: dict[str, Callable[[Any], Any]] = {
    "all": lambda lf: lf,
    "first": lambda lf: lf.select(pl.first()),
    "len": lambda lf: lf.select(pl.len()),
    "aggregated": lambda lf: lf.filter(pl.first().is_not_null()).group_by(pl.last()).len().sort("len", pl.first()),
}


@pytest.fixture
def here(files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(files)
    with dask.config.set({"scheduler": "sync", "dask-polars.fallback": "silent"}):
        yield files


def outcome(run: Callable[[], pl.DataFrame]) -> Any:
    try:
        return run()
    except Exception as error:
        return type(error), str(error).splitlines()[0]


def check(files: Path, name: str, layout: str, *, through_engine: bool) -> None:
    source, options = CASES[name]
    for title, query in QUERIES.items():
        wanted = outcome(lambda query=query: query(pl.scan_parquet(source(files), **options)).collect())
        with dask.config.set(LAYOUTS[layout]):
            if through_engine:
                found = outcome(
                    lambda query=query: query(pl.scan_parquet(source(files), **options)).collect(engine=dp.DaskEngine())
                )
            else:
                found = outcome(lambda query=query: query(dp.scan_parquet(source(files), **options)).collect())
        if isinstance(wanted, pl.DataFrame) and isinstance(found, pl.DataFrame):
            assert_frame_equal(found, wanted)
        else:
            assert not isinstance(found, pl.DataFrame), title
            assert not isinstance(wanted, pl.DataFrame), found
            assert found == wanted, title


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_scan(here: Path, name: str, layout: str) -> None:
    check(here, name, layout, through_engine=layout == "rows")


@pytest.mark.cluster
@pytest.mark.parametrize(
    "name", ["glob", "hive", "relative", "narrow-column", "corrupt", "types", "bytes", "row-index"]
)
def test_scan_on_a_cluster(client: Any, files: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    with dask.config.set({"dask-polars.fallback": "silent"}):
        check(files, name, "rows", through_engine=False)


def test_small_files_are_grouped(here: Path) -> None:
    lf = dp.scan_parquet(here / "many")
    assert scan_of(lf).npartitions == 1
    paths = [part.paths for part in scan_of(lf, partition_size=500).parts]
    assert 1 < len(paths) < 6
    assert [path for group in paths for path in group] == sorted(str(path) for path in (here / "many").iterdir())


def test_large_files_are_split_where_row_groups_start(here: Path) -> None:
    scan = scan_of(dp.scan_parquet(here / "groups/x.parquet"), partition_size=200)
    assert scan.npartitions > 2
    runs = [run for part in scan.parts for run in part.rows or ()]
    assert all(start % 4 == 0 for start, _ in runs)
    assert sum(rows for _, rows in runs) == 40
    assert scan_of(dp.scan_parquet(here / "one/x.parquet"), partition_size=200).npartitions == 1


def test_rows_of_a_partition_are_limited(here: Path) -> None:
    scan = scan_of(dp.scan_parquet(here / "many"), max_rows_per_partition=4)
    assert [part.rows for part in scan.parts[:2]] == [((0, 4),), ((4, 2),)]
    assert scan.npartitions == 12


def test_sizes_come_from_footers(here: Path) -> None:
    scan = scan_of(dp.scan_parquet(here / "many"))
    assert (scan.size.rows, scan.size.exact, scan.nfiles) == (36, True, 6)
    assert scan.distinct is not None
    assert scan.distinct["a"] >= 36


def test_a_file_that_cannot_be_read_is_named(here: Path) -> None:
    for layout in LAYOUTS.values():
        with dask.config.set(layout), pytest.raises(pl.exceptions.ComputeError) as caught:
            dp.scan_parquet(here / "corrupt").collect()
        assert "corrupt/b.parquet" in str(caught.value) + str(getattr(caught.value, "__notes__", ""))


@pytest.mark.parametrize("wrong", ["garbled", "other-column", "other-type"])
def test_one_wrong_file_among_many_is_named(tmp_path: Path, wrong: str) -> None:
    for index in range(30):
        pl.DataFrame({"a": range(100), "b": ["x"] * 100}).write_parquet(tmp_path / f"{index:02}.parquet")
    path = tmp_path / "17.parquet"
    if wrong == "garbled":
        path.write_bytes(path.read_bytes()[:4] + b"\xff" * 60 + path.read_bytes()[64:])
    else:
        frame = pl.DataFrame({"a": range(100)}) if wrong == "other-column" else pl.DataFrame({"a": ["x"], "b": ["x"]})
        frame.write_parquet(path)
    with pytest.raises((pl.exceptions.PolarsError, OSError)) as caught:
        dp.scan_parquet(tmp_path).with_columns(pl.col("b").str.len_bytes()).collect(scheduler="sync")
    assert "17.parquet" in str(caught.value) + str(getattr(caught.value, "__notes__", ""))


def test_directories_count_for_what_files_have_of_that_name(tmp_path: Path) -> None:
    for year in range(4):
        (tmp_path / f"a={year}").mkdir()
        for index in range(5):
            frame = pl.DataFrame({"a": [7, 8, 9], "v": range(3)})
            frame.write_parquet(tmp_path / f"a={year}" / f"{index}.parquet", row_group_size=1)
    for query in (
        lambda lf: lf.filter(pl.col("a") == 2),
        lambda lf: lf.filter(pl.col("a") > 6),
        lambda lf: lf.group_by("a").agg(pl.col("v").median()).sort("a"),
    ):
        for layout in LAYOUTS.values():
            with dask.config.set(layout):
                found = query(dp.scan_parquet(tmp_path)).collect(scheduler="sync")
            assert_frame_equal(found, query(pl.scan_parquet(tmp_path)).collect())


@pytest.mark.parametrize(
    "value", ["true", "2024-01-05", "2024-01-05 10:00:00", "a%20b", "1.50", "__HIVE_DEFAULT_PARTITION__"]
)
def test_values_in_directories(tmp_path: Path, value: str) -> None:
    schemas: dict[str, Any] = {"true": pl.Boolean, "2024-01-05": pl.Date, "2024-01-05 10:00:00": pl.Datetime("us")}
    for name in (value, "other" if value not in schemas else value.replace("true", "false").replace("-05", "-06")):
        (tmp_path / f"k={name}").mkdir()
        pl.DataFrame({"v": [1]}).write_parquet(tmp_path / f"k={name}/0.parquet")
    options = {"hive_schema": {"k": schemas[value]}} if value in schemas else {}
    wanted = pl.scan_parquet(tmp_path, **options)
    key = wanted.select(pl.col("k").first()).collect().item()
    for predicate in (pl.col("k").eq_missing(pl.lit(key)), pl.col("k").is_null(), pl.col("k").is_not_null()):
        found = dp.scan_parquet(tmp_path, **options).filter(predicate).collect(scheduler="sync")
        assert_frame_equal(found, wanted.filter(predicate).collect())


def test_links_to_directories(tmp_path: Path) -> None:
    (tmp_path / "x/sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    pl.DataFrame({"v": [1]}).write_parquet(tmp_path / "x/sub/a.parquet")
    pl.DataFrame({"v": [2]}).write_parquet(tmp_path / "other/b.parquet")
    (tmp_path / "x/link").symlink_to(tmp_path / "other")
    assert dp.scan_parquet(tmp_path / "x").collect(scheduler="sync")["v"].sort().to_list() == [1, 2]


def test_relative_paths_below_a_directory_named_like_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p=1/q=2").mkdir(parents=True)
    pl.DataFrame({"v": [1]}).write_parquet(tmp_path / "p=1/q=2/f.parquet")
    monkeypatch.chdir(tmp_path / "p=1")
    for source in ("q=2/f.parquet", "q=*/f.parquet", "q=2", ".", "./q=2/f.parquet"):
        wanted = pl.scan_parquet(source, hive_partitioning=True).collect()
        assert_frame_equal(dp.scan_parquet(source, hive_partitioning=True).collect(scheduler="sync"), wanted)


def test_large_files_whose_footers_were_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are too many to read their footers while planning: tasks find out where row groups begin."""
    monkeypatch.setattr(io_parquet, "_FEW", 0)
    frame = pl.DataFrame({"a": range(100)})
    for index in range(20):
        frame.write_parquet(tmp_path / f"{index:02}.parquet", row_group_size=7)
    with dask.config.set({"dask-polars.partition-size": "200 B"}):
        scan = scan_of(dp.scan_parquet(tmp_path))
        assert any(part.share for part in scan.parts)
        found = dp.scan_parquet(tmp_path).with_row_index().collect(scheduler="sync")
    assert_frame_equal(found, pl.concat([frame] * 20).with_row_index())


def test_planning_reads_no_data(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def collected(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr(pl.LazyFrame, "collect", collected)
    dp.scan_parquet(here / "many").group_by("b").agg(pl.col("a").sum()).sort("b").explain()


@pytest.mark.parametrize("kind", ["csv", "ipc", "ndjson", "parquet"])
def test_buffers_run_and_say_so(here: Path, kind: str) -> None:
    writers: dict[str, Any] = {
        "csv": DATA.write_csv,
        "ipc": DATA.write_ipc,
        "ndjson": DATA.write_ndjson,
        "parquet": DATA.write_parquet,
    }
    target = io.BytesIO()
    writers[kind](target)
    lf = getattr(pl, f"scan_{kind}")(target.getvalue())
    query = lf.filter(pl.col("a") > 10).group_by("b").agg(pl.col("c").sum()).sort("b")
    with pytest.warns(dp.FallbackWarning, match="a buffer in memory is read by one task"):
        found = query.collect(engine=dp.DaskEngine(fallback="warn"))
    assert_frame_equal(found, query.collect())
    with pytest.raises(dp.FallbackError, match="read by one task"):
        query.collect(engine=dp.DaskEngine(fallback="raise"))
    assert f"scan of {kind.upper()}" in dp.LazyFrame(query).explain()


def test_signature_and_documentation() -> None:
    import inspect

    assert inspect.signature(dp.scan_parquet) == inspect.signature(pl.scan_parquet)
    assert dp.scan_parquet.__doc__ == pl.scan_parquet.__doc__
