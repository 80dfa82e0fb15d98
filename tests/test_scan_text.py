"""Scans of CSV, newline delimited JSON and lines: whatever the arguments and the files, the answer is that of Polars."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.plan import plan_queries
from dask_polars.plan.stages import ScanStage, walk_stages

DATA = pl.DataFrame({"a": range(40), "b": [f"s{i % 7}" for i in range(40)], "c": [i * 0.5 for i in range(40)]})
QUOTED = pl.DataFrame(
    {"n": range(30), "t": ['x,"y"\nz', "", "plain", '""', "\n\n", 'a "b" c'] * 5, "m": [None, "q"] * 15}
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("text")

    def put(name: str, content: str | bytes) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    for index in range(6):
        piece = DATA[index * 6 : index * 6 + 6]
        put(f"many/p{index}.csv", piece.write_csv())
        put(f"json/p{index}.ndjson", piece.write_ndjson())
        put(f"year=2020/k={index}/p.csv", piece.write_csv())
    put("one.csv", DATA.write_csv())
    put("one.ndjson", DATA.write_ndjson())
    put("quoted.csv", QUOTED.write_csv())
    put("quoted2.csv", QUOTED.write_csv())
    put("quoted.ndjson", QUOTED.write_ndjson())
    put("quoted_all.csv", QUOTED.write_csv(quote_style="always"))
    put("crlf.csv", QUOTED.write_csv(line_terminator="\r\n"))
    put("no_end.csv", DATA.write_csv()[:-1])
    put("no_end.ndjson", DATA.write_ndjson()[:-1])
    put("headless.csv", DATA.write_csv(include_header=False))
    put("headless_quoted.csv", QUOTED.write_csv(include_header=False))
    put("headless_ragged.csv", "1,2\n3\n" * 20 + "4,5\n")
    put("semicolons.csv", DATA.write_csv(separator=";", decimal_comma=True))
    put("bars.csv", DATA.write_csv(line_terminator="|"))
    put("bom.csv", b"\xef\xbb\xbf" + DATA.write_csv().encode())
    put("preamble.csv", 'made "by hand\nx\n' + DATA.write_csv())
    put("preamble_quoted.csv", 'made "by\nhand"\nx\n' + DATA.write_csv())
    put("blank_first.csv", "\n\n" + DATA.write_csv())
    put("blank.csv", "a,b\n1,2\n\n3,4\n\n" * 5)
    put("comments.csv", "# one\na,b\n1,2\n# it's \"two\n3,4\n" * 1 + "5,6\n# end\n" * 10)
    put("ragged.csv", "a,b\n1,2,3\n4\n" * 8)
    put("stray.csv", 'a,b\n1,5" pipe\n2,"x\ny"\n3,7" pipe\n' * 6)
    put("unclosed.csv", "a,b\n" + "1,x\n" * 20 + '2,"y\n' + "3,z\n" * 20)
    put("header_quoted.csv", '"a\nx","b ""y"""\n' + "1,2\n" * 20)
    put("dup.csv", "a,a\n" + "1,2\n" * 20)
    put("nulls.csv", "a,b\nNA,-\n1,x\n-,NA\n" * 8)
    put("dates.csv", "d,t,h\n" + "2020-01-05,2020-01-05T10:00:00,10:00:00\n" * 20)
    put("latin.csv", b"a,b\n" + b"1,caf\xe9\n" * 20)
    put("types.csv", "d,e,t,i\n" + "1.50,x,10:00:00,5\n" * 20)
    put("long.csv", "a,b\n" + f'1,"{"x" * 300}"\n' + "2,y\n")
    put("late.csv", "a,b\n" + "1,2\n" * 30 + "x,y\n")
    put("empty.csv", "")
    put("header.csv", "a,b,c\n")
    put("newline.csv", "\n")
    put("empty.ndjson", "")
    put("blank.ndjson", '{"a":1}\n\n{"a":2}\n\n' * 5)
    put("ragged.ndjson", '{"a":1,"b":2}\n{"b":1,"c":[3]}\n{"a":null}\n' * 5)
    put("late.ndjson", '{"a":1}\n' * 110 + '{"a":"x"}\n' * 2)
    put("bad.ndjson", '{"a":1}\n' * 20 + '{"a":\n' + '{"a":2}\n' * 20)
    put("nested.ndjson", '{"a":{"x":1,"y":[1,2]},"b":"u\\nv"}\n{"a":null,"b":"{}"}\n' * 10)
    put("zip/a.csv.gz", gzip.compress(DATA.write_csv().encode()))
    put("zip/a.ndjson.gz", gzip.compress(DATA.write_ndjson().encode()))
    put("lines.txt", 'one\n\ntwo "\nthree\r\nfour')
    put("lines2.txt", "five\nsix\n")
    for name, other in {
        "order": "b,c,a\nx,0.5,1\n",
        "extra": "a,b,c,z\n1,x,0.5,9\n",
        "missing": "a,b\n1,x\n",
        "float": "a,b,c\n1.5,x,2\n",
        "nothing": "",
    }.items():
        put(f"{name}/a.csv", DATA.write_csv())
        put(f"{name}/b.csv", other)
        put(f"{name}_late/a.csv", DATA.write_csv())
        for index in range(10):
            put(f"{name}_late/b{index}.csv", DATA.write_csv())
        put(f"{name}_late/c.csv", other)
    (root / "none").mkdir()
    return root


Case = tuple[str, Callable[[Path], Any], dict[str, Any]]


def case(method: str, source: Any, **options: Any) -> Case:
    return method, (source if callable(source) else lambda root: root / source), options


def csv(source: Any, **options: Any) -> Case:
    return case("scan_csv", source, **options)


def ndjson(source: Any, **options: Any) -> Case:
    return case("scan_ndjson", source, **options)


def lines(source: Any, **options: Any) -> Case:
    return case("scan_lines", source, **options)


SCHEMA = {"a": pl.Int64, "b": pl.String, "c": pl.Float64}
TYPES = {"d": pl.Decimal(10, 2), "e": pl.Enum(["x", "y"]), "t": pl.Time, "i": pl.Int8}
DRIFT = {"missing_columns": "insert", "extra_columns": "ignore"}

CASES: dict[str, Case] = {
    "file": csv("one.csv"),
    "string": csv(lambda d: str(d / "one.csv")),
    "list": csv(lambda d: [d / "one.csv", d / "many/p1.csv", d / "one.csv"]),
    "glob": csv("many/*.csv"),
    "directory": csv("many"),
    "url": csv(lambda d: f"file://{d}/one.csv"),
    "relative": csv(lambda d: "many/*.csv"),
    "no-glob": csv("many/p1.csv", glob=False),
    "not-there": csv("nope.csv"),
    "one-not-there": csv(lambda d: [d / "one.csv", d / "nope.csv"]),
    "no-files": csv("none"),
    "no-hive": csv("year=2020/**/*.csv"),
    "quoted": csv("quoted.csv"),
    "quoted-twice": csv("quoted*.csv"),
    "quoted-all": csv("quoted_all.csv"),
    "quoted-paths": csv("quoted.csv", include_file_paths="p"),
    "quoted-index": csv("quoted.csv", row_index_name="i", row_index_offset=3),
    "quoted-rows": csv("quoted.csv", n_rows=17),
    "not-quoted": csv("quoted.csv", quote_char=None, truncate_ragged_lines=True),
    "other-quote": csv("one.csv", quote_char="'"),
    "crlf": csv("crlf.csv"),
    "no-end": csv("no_end.csv"),
    "no-header": csv("headless.csv", has_header=False),
    "no-header-names": csv("headless.csv", has_header=False, new_columns=["x", "y", "z"]),
    "no-header-schema": csv("headless.csv", has_header=False, schema=SCHEMA),
    "no-header-quoted": csv("headless_quoted.csv", has_header=False),
    "no-header-but-one": csv("many/*.csv", has_header=False),
    "no-header-ragged": csv("headless_ragged.csv", has_header=False),
    "no-header-skip": csv("headless_quoted.csv", has_header=False, skip_rows=2),
    "separator": csv("semicolons.csv", separator=";", decimal_comma=True),
    "eol": csv("bars.csv", eol_char="|"),
    "bom": csv("bom.csv"),
    "bom-no-header": csv("bom.csv", has_header=False),
    "skip-rows": csv("preamble_quoted.csv", skip_rows=2),
    "skip-lines": csv("preamble.csv", skip_lines=2),
    "skip-after": csv("one.csv", skip_rows_after_header=7),
    "skip-after-quoted": csv("quoted.csv", skip_rows_after_header=2),
    "skip-both": csv("preamble_quoted.csv", skip_rows=2, skip_rows_after_header=1),
    "skip-all": csv("one.csv", skip_rows_after_header=100),
    "skip-too-many": csv("one.csv", skip_rows=100),
    "blank-first": csv("blank_first.csv"),
    "blank": csv("blank.csv"),
    "blank-strings": csv("blank.csv", empty_string_is_null=False),
    "comments": csv("comments.csv", comment_prefix="#"),
    "ragged": csv("ragged.csv"),
    "ragged-cut": csv("ragged.csv", truncate_ragged_lines=True),
    "stray-quotes": csv("stray.csv"),
    "unclosed-quote": csv("unclosed.csv"),
    "header-quoted": csv("header_quoted.csv"),
    "duplicates": csv("dup.csv"),
    "names": csv("one.csv", new_columns=["x", "y", "z"]),
    "some-names": csv("one.csv", new_columns=["x"], extra_columns="ignore"),
    "renamed": csv("one.csv", with_column_names=lambda names: [name.upper() for name in names]),
    "renamed-many": csv("many/*.csv", with_column_names=lambda names: [name.upper() for name in names]),
    "overrides": csv("one.csv", schema_overrides={"a": pl.Float32}),
    "overrides-list": csv("one.csv", schema_overrides=[pl.Float32, pl.String]),
    "overrides-names": csv("one.csv", schema_overrides=[pl.Float32], new_columns=["x", "y", "z"]),
    "types": csv("types.csv", schema=TYPES),
    "types-overrides": csv("types.csv", schema_overrides=TYPES),
    "schema": csv("many/*.csv", schema=SCHEMA),
    "schema-wrong": csv("many/*.csv", schema={**SCHEMA, "b": pl.Int32}),
    "schema-other-order": csv("many/*.csv", schema={"c": pl.Float64, "a": pl.Int8, "b": pl.String}),
    "schema-more": csv("many/*.csv", schema={**SCHEMA, "n": pl.Int8}, missing_columns="insert"),
    "schema-less": csv("many/*.csv", schema={"a": pl.Int64}, extra_columns="ignore"),
    "no-inference": csv("one.csv", infer_schema=False),
    "short-inference": csv("late.csv", infer_schema_length=5),
    "long-inference": csv("late.csv", infer_schema_length=None),
    "ignored-errors": csv("late.csv", infer_schema_length=5, ignore_errors=True),
    "null-values": csv("nulls.csv", null_values=["NA", "-"]),
    "null-value": csv("nulls.csv", null_values="NA"),
    "null-values-by-column": csv("nulls.csv", null_values={"a": "NA", "b": "-"}),
    "dates": csv("dates.csv", try_parse_dates=True),
    "latin": csv("latin.csv"),
    "latin-lossy": csv("latin.csv", encoding="utf8-lossy"),
    "giant-field": csv("long.csv"),
    "empty": csv("empty.csv"),
    "empty-allowed": csv("empty.csv", raise_if_empty=False),
    "empty-schema": csv("empty.csv", raise_if_empty=False, schema=SCHEMA),
    "header-only": csv("header.csv"),
    "newline-only": csv("newline.csv"),
    "rows": csv("many/*.csv", n_rows=10),
    "no-rows": csv("many/*.csv", n_rows=0),
    "rows-infer": csv("late.csv", n_rows=2),
    "row-index": csv("many/*.csv", row_index_name="i"),
    "row-index-rows": csv("many/*.csv", row_index_name="i", row_index_offset=5, n_rows=9),
    "paths": csv("many/*.csv", include_file_paths="p"),
    "paths-index": csv("many/*.csv", include_file_paths="p", row_index_name="i"),
    "paths-clash": csv("many/*.csv", include_file_paths="a"),
    "paths-relative": csv(lambda d: "many/*.csv", include_file_paths="p"),
    "compressed": csv("zip/a.csv.gz"),
    "tuning": csv("many/*.csv", low_memory=True, storage_options={}),
    "bytes": csv(lambda d: (d / "one.csv").read_bytes()),
    "buffer": csv(lambda d: io.BytesIO((d / "one.csv").read_bytes())),
    "order": csv("order"),
    "order-drift": csv("order", **DRIFT),
    "order-one": csv("order", infer_schema_files=1),
    "order-schema": csv("order", schema=SCHEMA),
    "extra": csv("extra"),
    "extra-drift": csv("extra", **DRIFT),
    "extra-schema": csv("extra", schema=SCHEMA),
    "extra-ignored": csv("extra", schema=SCHEMA, extra_columns="ignore"),
    "missing": csv("missing"),
    "missing-drift": csv("missing", **DRIFT),
    "missing-schema": csv("missing", schema=SCHEMA),
    "missing-inserted": csv("missing", schema=SCHEMA, missing_columns="insert"),
    "float": csv("float"),
    "float-one": csv("float", infer_schema_files=1),
    "nothing": csv("nothing"),
    "nothing-allowed": csv("nothing", raise_if_empty=False),
    "order-late": csv("order_late"),
    "extra-late-ignored": csv("extra_late", extra_columns="ignore"),
    "missing-late-inserted": csv("missing_late", missing_columns="insert"),
    "float-late": csv("float_late"),
    "ndjson": ndjson("one.ndjson"),
    "ndjson-glob": ndjson("json/*.ndjson"),
    "ndjson-list": ndjson(lambda d: [d / "one.ndjson", d / "json/p0.ndjson"]),
    "ndjson-directory": ndjson("json"),
    "ndjson-no-end": ndjson("no_end.ndjson"),
    "ndjson-quoted": ndjson("quoted.ndjson"),
    "ndjson-blank": ndjson("blank.ndjson"),
    "ndjson-ragged": ndjson("ragged.ndjson"),
    "ndjson-late": ndjson("late.ndjson"),
    "ndjson-late-ignored": ndjson("late.ndjson", ignore_errors=True),
    "ndjson-late-all": ndjson("late.ndjson", infer_schema_length=None),
    "ndjson-bad": ndjson("bad.ndjson"),
    "ndjson-bad-ignored": ndjson("bad.ndjson", ignore_errors=True),
    "ndjson-nested": ndjson("nested.ndjson"),
    "ndjson-schema": ndjson("ragged.ndjson", schema={"a": pl.Float64, "c": pl.List(pl.Int8)}),
    "ndjson-overrides": ndjson("ragged.ndjson", schema_overrides={"a": pl.String}),
    "ndjson-empty": ndjson("empty.ndjson"),
    "ndjson-empty-schema": ndjson("empty.ndjson", schema={"a": pl.Int8}),
    "ndjson-rows": ndjson("json/*.ndjson", n_rows=9, row_index_name="i", row_index_offset=1),
    "ndjson-paths": ndjson("json/*.ndjson", include_file_paths="p"),
    "ndjson-compressed": ndjson("zip/a.ndjson.gz"),
    "ndjson-bytes": ndjson(lambda d: (d / "one.ndjson").read_bytes()),
    "ndjson-tuning": ndjson("one.ndjson", batch_size=3, low_memory=True),
    "lines": lines("lines.txt"),
    "lines-glob": lines("lines*.txt", name="x", include_file_paths="p", row_index_name="i"),
    "lines-rows": lines("lines*.txt", n_rows=4),
    "lines-empty": lines("empty.csv"),
    "lines-hive": lines("year=2020"),
}

QUERIES: dict[str, Callable[[Any], Any]] = {
    "all": lambda lf: lf,
    "first": lambda lf: lf.select(pl.first()),
    "len": lambda lf: lf.select(pl.len()),
    "head": lambda lf: lf.head(3),
    "aggregated": lambda lf: lf.filter(pl.first().is_not_null()).group_by(pl.last()).len().sort(pl.all()),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dask-polars.max-rows-per-partition": 3},
    "bytes": {"dask-polars.partition-size": 150},
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
        # Threads decide which of several values that cannot be parsed is found first; chunks begin elsewhere.
        message = re.sub("parse `.*` as", "parse `…` as", str(error).splitlines()[0])
        return type(error), re.sub(r"row_offset \d+, length \d+", "…", message)


def run(scan: Any, source: Any, files: Path, options: Any, query: Any, engine: Any) -> pl.DataFrame:
    lf = query(scan(source(files), **options))
    return lf.collect() if engine is None else lf.collect(engine=engine)


def check(files: Path, name: str, layout: str, *, through_engine: bool) -> None:
    method, source, options = CASES[name]
    for title, query in QUERIES.items():
        wanted = outcome(partial(run, getattr(pl, method), source, files, options, query, None))
        engine = dp.DaskEngine() if through_engine else None
        scan = getattr(pl if through_engine else dp, method)
        with dask.config.set(LAYOUTS[layout]):
            found = outcome(partial(run, scan, source, files, options, query, engine))
        if isinstance(wanted, pl.DataFrame) and isinstance(found, pl.DataFrame):
            assert_frame_equal(found, wanted)
        elif title != "head":  # how far Polars reads beyond the rows that are wanted is its own affair
            assert not isinstance(found, pl.DataFrame), (title, wanted)
            assert not isinstance(wanted, pl.DataFrame), (title, found)
            assert found == wanted, title


@pytest.mark.parametrize(
    ("name", "layout"), [pair for number, pair in enumerate(product(CASES, LAYOUTS)) if number % 3]
)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:The `(extra|missing)_columns` parameter")
def test_scan(here: Path, name: str, layout: str) -> None:
    check(here, name, layout, through_engine=layout == "bytes")


# ---------------------------------------------------------------- quoted fields, cut everywhere

FIELDS = st.text(alphabet='ab",;\n\r ', max_size=6)


@st.composite
def quoted_files(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """Draw a file whose fields hold line ends, quotes and separators, and how it is read."""
    eol = draw(st.sampled_from(["\n", "\r\n"]))
    rows = draw(st.lists(st.tuples(FIELDS, FIELDS), max_size=12))

    def written(field: str) -> str:
        if not draw(st.booleans()) and not set(field) & set('",\n\r'):
            return field
        return '"' + field.replace('"', '""') + '"'

    header = draw(st.booleans())
    lines = [",".join(map(written, row)) for row in rows]
    text = eol.join((["x,y"] if header else []) + lines)
    options: dict[str, Any] = {
        "has_header": header,
        "schema": {"x": pl.String, "y": pl.String},
        "raise_if_empty": False,
    }
    if header and draw(st.booleans()):
        text, options["skip_lines"] = f'odd " line{eol}{text}', 1
    return (text + (eol if draw(st.booleans()) else "")).encode(), options


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(file=quoted_files(), size=st.integers(1, 60))
def test_quoted_files_are_cut_between_records(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[bytes, dict[str, Any]], size: int
) -> None:
    content, options = file
    path = tmp_path_factory.getbasetemp() / "drawn.csv"
    path.write_bytes(content)
    wanted = outcome(pl.scan_csv(path, **options).collect)
    with dask.config.set({"scheduler": "sync", "dask-polars.partition-size": size}):
        found = outcome(dp.scan_csv(path, **options).collect)
    if isinstance(wanted, pl.DataFrame):
        assert isinstance(found, pl.DataFrame), (content, found)
        assert_frame_equal(found, wanted)
    else:
        assert found == wanted


# ---------------------------------------------------------------- how files are cut


def scan_of(lf: Any, **options: Any) -> ScanStage:
    plan = plan_queries([lf.to_polars()], Options.current(**options))
    (scan,) = (stage for stage in walk_stages(plan.roots) if isinstance(stage, ScanStage))
    return scan


def test_small_files_are_grouped(here: Path) -> None:
    lf = dp.scan_csv(here / "many/*.csv")
    assert scan_of(lf).npartitions == 1
    paths = [part.paths for part in scan_of(lf, partition_size=300).parts]
    assert 1 < len(paths) < 6
    assert [path for group in paths for path in group] == sorted(str(path) for path in (here / "many").iterdir())


@pytest.mark.parametrize(("method", "name"), [("scan_csv", "one.csv"), ("scan_ndjson", "one.ndjson")])
def test_large_files_are_split(here: Path, method: str, name: str) -> None:
    scan = scan_of(getattr(dp, method)(here / name), partition_size=200)
    assert scan.npartitions > 3
    assert scan.size.rows == pytest.approx(40, rel=0.1)
    assert scan.size.bytes == pytest.approx(DATA.estimated_size(), rel=0.1)
    narrow = scan_of(getattr(dp, method)(here / name).select("a"), partition_size=200)
    assert 1 < narrow.npartitions < scan.npartitions


def test_each_partition_has_its_share(here: Path) -> None:
    with dask.config.set({"dask-polars.partition-size": 80}):
        lf = dp.scan_csv(here / "quoted.csv")
        heights = [part.height for part in dask.compute(*lf.to_delayed())]
    assert len(heights) > 2
    assert sum(heights) == QUOTED.height
    assert sum(height > 0 for height in heights) > 2


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("comments.csv", {"comment_prefix": "#"}, "there may be quotes in comments"),
        ("zip/a.csv.gz", {}, "compressed files are read by one task each"),
    ],
)
def test_what_is_not_split_is_said(here: Path, name: str, options: dict[str, Any], reason: str) -> None:
    with dask.config.set({"dask-polars.partition-size": 50}):
        text = dp.scan_csv(here / name, **options).explain()
    assert f"not split: {reason}" in text


def test_quotes_are_not_counted_where_there_are_none(here: Path) -> None:
    assert scan_of(dp.scan_csv(here / "one.csv"), partition_size=200).starts is not None
    assert scan_of(dp.scan_csv(here / "one.csv", quote_char=None), partition_size=200).starts is None
    assert scan_of(dp.scan_ndjson(here / "one.ndjson"), partition_size=200).starts is None
    assert scan_of(dp.scan_csv(here / "one.csv")).starts is None


def test_a_head_reads_no_more_blocks_than_it_needs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dask_polars.io import readers

    read: list[int] = []
    original = readers._read
    monkeypatch.setattr(readers, "_read", lambda *args: read.append(args[2]) or original(*args))
    with dask.config.set({"dask-polars.partition-size": 100}):
        lf = dp.scan_csv(here / "one.csv")
        assert lf.npartitions > 6
        assert_frame_equal(lf.head(2).collect(), DATA.head(2))
    assert set(read) <= {0, 1, 2}


def test_a_file_that_does_not_fit_is_named(here: Path) -> None:
    with dask.config.set({"dask-polars.partition-size": 200}), pytest.raises(pl.exceptions.ComputeError) as caught:
        dp.scan_csv(here / "late.csv", infer_schema_length=5).collect()
    assert "late.csv" in "".join(caught.value.__notes__)


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["quoted", "ndjson", "no-header-quoted", "paths"])
def test_scan_on_a_cluster(client: Any, files: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    check(files, name, "bytes", through_engine=False)


def test_sources_in_python_are_read_by_one_task_and_say_so(tmp_path: Path) -> None:
    import pyarrow.dataset

    DATA.write_parquet(tmp_path / "a.parquet")
    dataset = pyarrow.dataset.dataset(tmp_path / "a.parquet")
    lf = dp.scan_pyarrow_dataset(dataset)
    assert lf.npartitions == 1
    assert "a source in Python is read by one task" in lf.explain()
    with dask.config.set({"scheduler": "sync"}):
        with pytest.raises(dp.FallbackError, match="a source in Python is read by one task"):
            lf.collect(engine=dp.DaskEngine(fallback="raise"))
        with pytest.warns(dp.FallbackWarning, match="a source in Python is read by one task"):
            assert_frame_equal(lf.collect(), DATA)
        with dask.config.set({"dask-polars.fallback": "silent"}):
            parts = dask.compute(*lf.repartition(npartitions=4).to_delayed())
    assert [part.height for part in parts] == [10, 10, 10, 10]


@pytest.mark.parametrize(
    "name", ["scan_csv", "scan_delta", "scan_iceberg", "scan_ipc", "scan_lines", "scan_ndjson", "scan_pyarrow_dataset"]
)
def test_signatures_are_those_of_polars(name: str) -> None:
    import inspect

    assert inspect.signature(getattr(dp, name)) == inspect.signature(getattr(pl, name))
    assert getattr(dp, name).__doc__ == getattr(pl, name).__doc__
