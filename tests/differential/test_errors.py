"""A wrong query raises what Polars raises, at the same moment; a fallback says what it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from tests.differential.catalogue import data_set
from tests.helpers import Query, Tables, assert_same, run_plain

c = pl.col

# Errors of building, or of resolving the schema: nothing has run yet, the message is that of Polars.
SCHEMA: dict[str, Query] = {
    "filter_wrong_column": lambda t: t.a.filter(c("nope") > 1),
    "select_wrong_column": lambda t: t.a.select("id", "nope"),
    "with_columns_wrong_column": lambda t: t.a.with_columns(z=c("nope") + 1),
    "group_by_wrong_key": lambda t: t.a.group_by("nope").agg(pl.len()),
    "group_by_wrong_aggregate": lambda t: t.a.group_by("g").agg(c("nope").sum()),
    "sort_wrong_column": lambda t: t.a.sort("nope"),
    "unique_wrong_column": lambda t: t.a.unique("nope"),
    "join_wrong_left": lambda t: t.a.join(t.b, left_on="nope", right_on="g"),
    "join_wrong_right": lambda t: t.a.join(t.b, left_on="g", right_on="nope"),
    "drop_wrong_column": lambda t: t.a.drop("nope"),
    "rename_wrong_column": lambda t: t.a.rename({"nope": "n"}),
    "explode_wrong_column": lambda t: t.a.explode("nope"),
    "explode_not_a_list": lambda t: t.a.explode("s"),
    "unnest_not_a_struct": lambda t: t.a.unnest("s"),
    "unnest_duplicate": lambda t: t.a.select("st", p=c("id")).unnest("st"),
    "wrong_struct_field": lambda t: t.a.select(c("st").struct.field("nope")),
    "select_duplicate": lambda t: t.a.select("id", c("x").alias("id")),
    "with_columns_duplicate": lambda t: t.a.with_columns(c("x").alias("z"), c("y").alias("z")),
    "group_by_duplicate": lambda t: t.a.group_by("g").agg(c("x").alias("g")),
    "rename_duplicate": lambda t: t.a.rename({"id": "x"}),
    "join_duplicate_suffix": lambda t: t.a.rename({"y": "x_right"}).join(t.b, on="g"),
    "filter_not_boolean": lambda t: t.a.filter(c("s")),
    "filter_number": lambda t: t.a.filter(c("id")),
    "string_plus_number": lambda t: t.a.select(c("s") - c("id")),
    "string_compared_with_number": lambda t: t.a.filter(c("s") > c("id")),
    "sum_of_strings": lambda t: t.a.select(c("s").sum()),
    "mean_of_lists": lambda t: t.a.group_by("g").agg(c("lst").sum()),
    "str_of_number": lambda t: t.a.select(c("id").str.to_uppercase()),
    "dt_of_string": lambda t: t.a.select(c("s").dt.year()),
    "list_of_string": lambda t: t.a.select(c("s").list.len()),
    "join_key_types": lambda t: t.a.join(t.b, left_on="g", right_on="k"),
    "join_key_counts": lambda t: t.a.join(t.b, left_on=["g", "h"], right_on=["g"]),
    "join_without_keys": lambda t: t.a.join(t.b),
    "join_unknown_how": lambda t: t.a.join(t.b, on="g", how="sideways"),
    "join_cross_with_keys": lambda t: t.a.join(t.b, on="g", how="cross"),
    "concat_widths": lambda t: t.concat([t.a.select("id", "g"), t.a.select("id")]),
    "concat_names": lambda t: t.concat([t.a.select("id"), t.a.select("k")]),
    "concat_types": lambda t: t.concat([t.a.select("id"), t.a.select(id="g")]),
    "concat_nothing": lambda t: t.concat([]),
    "concat_horizontal_duplicate": lambda t: t.concat([t.c, t.c], how="horizontal"),
    "row_index_duplicate": lambda t: t.a.with_row_index("id"),
    "unknown_method": lambda t: t.a.no_such_method(),
    "unknown_argument": lambda t: t.a.head(n=3, m=4),
    "slice_negative_length": lambda t: t.a.slice(0, -1),
    "top_k_negative": lambda t: t.a.top_k(-1, by="id"),
    "sort_flags": lambda t: t.a.sort("g", "h", descending=[True, False, True]),
    "unique_unknown_keep": lambda t: t.a.unique(keep="some"),
    "unpivot_wrong_column": lambda t: t.a.unpivot("nope"),
    "cast_unknown_column": lambda t: t.a.cast({"nope": pl.Int64}),
    "match_to_schema": lambda t: t.a.match_to_schema({"id": pl.Int64}),
    "agg_not_an_expression": lambda t: t.a.group_by("g").agg(3.5, object()),
    "sql_syntax": lambda t: t.a.sql("SELEKT 1"),
    "sql_wrong_column": lambda t: t.a.sql("SELECT nope FROM self"),
    "after_good_steps": lambda t: t.a.filter(c("x") > 0).group_by("g").agg(c("y").sum()).sort("x"),
    "behind_a_join": lambda t: t.a.join(t.c, on="g").group_by("label").agg(c("weight").sum()).select("weight", "nope"),
}

# Errors that depend on the values. Their messages count the bad values of what was run: only the class is compared.
RUN_TIME: dict[str, Query] = {
    "strict_cast": lambda t: t.a.select(c("s").cast(pl.Int64)),
    "strict_cast_narrow": lambda t: t.a.select(c("i64").cast(pl.Int8)),
    "strict_cast_in_filter": lambda t: t.a.filter(c("s").cast(pl.Float64) > 1),
    "strict_cast_in_aggregate": lambda t: t.a.select(c("s").cast(pl.Int64).sum()),
    "strict_cast_in_group": lambda t: t.a.group_by("g").agg(c("s").cast(pl.Int64).sum()),
    "strict_cast_in_key": lambda t: t.a.group_by(c("s").cast(pl.Int64)).agg(pl.len()),
    "strict_cast_before_sort": lambda t: t.a.with_columns(c("s").cast(pl.Int64)).sort("s"),
    "strict_cast_before_join": lambda t: t.a.select("id", k2=c("s").cast(pl.Int64)).join(
        t.b, left_on="k2", right_on="k"
    ),
    "strict_cast_last_partition": lambda t: t.a.select(
        pl.when(c("id") == 22).then(pl.lit("x")).otherwise(pl.lit("1")).cast(pl.Int64)
    ),
    "strict_cast_enum": lambda t: t.a.select(c("g").cast(pl.Enum(["a"]))),
    "covariance_of_decimals": lambda t: t.a.group_by("g").agg(pl.cov("dec", "id")),
    "correlation_of_booleans": lambda t: t.a.select(pl.corr("b", "b")),
    "bad_date": lambda t: t.a.select(c("s").str.to_date("%Y-%m-%d")),
    "replace_strict_missing": lambda t: t.a.select(c("g").replace_strict({"a": 1})),
    "list_get_out_of_bounds": lambda t: t.a.select(c("lst").list.get(5)),
    "explode_lengths": lambda t: t.a.select("lst", "lss").explode("lst", "lss"),
    "item_of_many": lambda t: t.a.select(c("id").item()),
    "gather_out_of_bounds": lambda t: t.a.select("id").gather([1000]),
    "lengths_differ": lambda t: t.a.select(c("id").head(2), c("g").head(3)),
    "with_columns_length": lambda t: t.a.with_columns(z=c("id").filter(c("id") < 3)),
    "map_batches_raises": lambda t: t.a.select("id").map_batches(fail),
    "map_batches_schema": lambda t: t.a.select("id").map_batches(lambda df: df.with_columns(z=1)),
    "map_elements_raises": lambda t: t.a.select(c("id").map_elements(fail, return_dtype=pl.Int64)),
    "validate_1_1": lambda t: t.a.select("h").join(t.b.select("h"), on="h", validate="1:1"),
    "validate_1_m": lambda t: t.a.select("h").join(t.b.select("h"), on="h", validate="1:m"),
    "validate_m_1_left": lambda t: t.a.select("h").join(t.b.select("h"), on="h", how="left", validate="m:1"),
    "validate_1_1_full": lambda t: t.a.select("h").join(t.b.select("h"), on="h", how="full", validate="1:1"),
    "concat_horizontal_heights": lambda t: t.concat([t.a.select("id"), t.c.select("g")], how="horizontal"),
}

# What looks like an error but is an answer.
FINE: dict[str, Query] = {
    "integer_division_by_zero": lambda t: t.a.select(c("i64") // 0, m=c("i64") % 0),
    "float_division_by_zero": lambda t: t.a.select(c("y") / 0),
    "mean_of_nothing": lambda t: t.a.filter(c("id") < 0).select(c("x").mean(), s=c("x").std()),
    "strict_cast_of_no_rows": lambda t: t.a.filter(c("id") < 0).select(c("s").cast(pl.Int64)),
    "strict_cast_after_filter": lambda t: t.a.filter(c("s") == "12").select(c("s").cast(pl.Int64)),
    "cast_not_strict": lambda t: t.a.select(c("s").cast(pl.Int64, strict=False)),
    "min_of_strings": lambda t: t.a.select(c("s").min()),
}

CUTS: dict[str, dict[str, Any]] = {
    "p1": {"npartitions": 1},
    "p4": {"npartitions": 4},
    "engine": {"front_door": "engine"},
}


def fail(_: Any) -> Any:
    raise ValueError("a mistake of the user")


@pytest.mark.parametrize("name", [*SCHEMA, *RUN_TIME])
def test_polars_raises(name: str) -> None:
    """The cases are wrong on plain Polars too."""
    assert run_plain({**SCHEMA, **RUN_TIME}[name], data_set("small")).error is not None


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", SCHEMA)
def test_schema_errors(name: str, cut: str) -> None:
    assert_same(SCHEMA[name], data_set("small"), name=name, **CUTS[cut])


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", RUN_TIME)
def test_run_time_errors(name: str, cut: str) -> None:
    assert_same(RUN_TIME[name], data_set("small"), name=name, check_message=False, **CUTS[cut])


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", FINE)
def test_not_errors(name: str, cut: str) -> None:
    assert_same(FINE[name], data_set("small"), name=name, order="promised", **CUTS[cut])


@pytest.mark.cluster
@pytest.mark.parametrize("name", [*SCHEMA][::4])
def test_schema_errors_on_cluster(name: str, client: Any) -> None:
    assert_same(SCHEMA[name], data_set("small"), name=name, client=client)


@pytest.mark.cluster
@pytest.mark.parametrize("front_door", ["collection", "engine"])
@pytest.mark.parametrize("name", [*RUN_TIME][::2])
def test_run_time_errors_on_cluster(name: str, front_door: Any, client: Any) -> None:
    assert_same(RUN_TIME[name], data_set("small"), name=name, check_message=False, front_door=front_door, client=client)


# Schema errors come from the frame, before anything runs


@pytest.fixture
def frame() -> Any:
    import dask_polars as dp

    return dp.from_polars(data_set("small")["a"], npartitions=3)


@pytest.mark.parametrize("name", SCHEMA)
def test_collect_schema_raises_too(name: str) -> None:
    """What `collect_schema` refuses in Polars it refuses here, with the same words."""
    assert_same(lambda t: with_schema(SCHEMA[name](t)), data_set("small"), name=name)


def with_schema(lazy: Any) -> Any:
    lazy.collect_schema()
    return lazy


def test_a_message_names_the_column(frame: Any) -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="nope"):
        frame.select("nope").collect(scheduler="sync")


# Paths


@pytest.mark.parametrize("path", ["missing.parquet", "missing/*.parquet", "missing_directory/"])
def test_a_bad_path(path: str, tmp_path: Any) -> None:
    import dask_polars as dp

    source = str(tmp_path / path)
    expected = raised_by(lambda: pl.scan_parquet(source).collect())
    actual = raised_by(lambda: dp.scan_parquet(source).collect(scheduler="sync"))
    assert type(actual) is type(expected)


def test_not_a_parquet_file(tmp_path: Any) -> None:
    import dask_polars as dp

    source = tmp_path / "text.parquet"
    source.write_text("this is not parquet, but it is long enough to look at")
    expected = raised_by(lambda: pl.scan_parquet(source).collect())
    actual = raised_by(lambda: dp.scan_parquet(source).collect(scheduler="sync"))
    assert type(actual) is type(expected)


def test_files_whose_schemas_differ(tmp_path: Any) -> None:
    import dask_polars as dp

    pl.DataFrame({"a": [1, 2]}).write_parquet(tmp_path / "0.parquet")
    pl.DataFrame({"a": ["x"]}).write_parquet(tmp_path / "1.parquet")
    source = str(tmp_path / "*.parquet")
    expected = raised_by(lambda: pl.scan_parquet(source).collect())
    actual = raised_by(lambda: dp.scan_parquet(source).collect(scheduler="sync"))
    assert type(actual) is type(expected)


def raised_by(run: Callable[[], Any]) -> BaseException:
    with pytest.raises(Exception) as caught:
        run()
    return caught.value


# Fallback


# A function of the user that sees all rows at once: there is no way to run it in parts.
NOT_DISTRIBUTED: dict[str, Callable[[Any], Any]] = {
    "frame": lambda lf: lf.select("id").map_batches(lambda df: df.reverse()),
    "expression": lambda lf: lf.select(c("y").map_batches(lambda s: s - s.min(), return_dtype=pl.Float64)),
}


@pytest.mark.parametrize("name", NOT_DISTRIBUTED)
def test_fallback_raise(name: str, frame: Any) -> None:
    """The error names the operation and the reason."""
    import dask

    from dask_polars import FallbackError

    query = NOT_DISTRIBUTED[name](frame)
    with dask.config.set({"dask-polars.fallback": "raise"}), pytest.raises(FallbackError) as caught:
        query.collect(scheduler="sync")
    assert len(str(caught.value).split()) > 4, "an operation and a reason are more than four words"


@pytest.mark.parametrize("name", NOT_DISTRIBUTED)
def test_fallback_warn(name: str, frame: Any) -> None:
    import dask

    from dask_polars import FallbackWarning

    query = NOT_DISTRIBUTED[name](frame)
    with dask.config.set({"dask-polars.fallback": "warn"}), pytest.warns(FallbackWarning):
        query.collect(scheduler="sync")


@pytest.mark.parametrize("name", NOT_DISTRIBUTED)
def test_fallback_silent(name: str, frame: Any) -> None:
    import dask

    from dask_polars import FallbackWarning

    query = NOT_DISTRIBUTED[name](frame)
    with dask.config.set({"dask-polars.fallback": "silent"}), warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        query.collect(scheduler="sync")


def test_fallback_of_the_engine() -> None:
    import dask

    import dask_polars as dp

    lazy = data_set("small")["a"].lazy().select("id").map_batches(lambda df: df.reverse())
    engine = dp.DaskEngine(None, fallback="raise", max_rows_per_partition=3)
    with dask.config.set(scheduler="sync"), pytest.raises(dp.FallbackError):
        lazy.collect(engine=engine)


def test_no_warning_without_fallback(frame: Any) -> None:
    import dask

    from dask_polars import FallbackWarning

    with dask.config.set({"dask-polars.fallback": "warn"}), warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        frame.group_by("g").agg(c("y").sum()).sort("g").collect(scheduler="sync")


def test_tables_know_their_names() -> None:
    with pytest.raises(AttributeError):
        _ = Tables({}, pl.concat).nope
