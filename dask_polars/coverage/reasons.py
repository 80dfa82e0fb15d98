"""
Why methods are gathered to one partition: what people should know, where the plan only says what it stumbled upon.

A method that is gathered and not here fails a test, and so does one that is here and not gathered any more.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FALLBACKS"]

_METHODS: Mapping[str, str] = {
    "LazyFrame.inspect LazyFrame.map_batches": "a Python function is promised the whole frame; "
    "`map_partitions` calls one with each partition",
    "Expr.map_batches Expr.inspect": "a Python function is promised the whole column; with `is_elementwise=True` "
    "`map_batches` calls it with each partition",
    "Expr.approx_n_unique": "the sketch cannot be had in parts, and the estimate must be that of Polars; of the rows only the "
    "distinct ones are gathered, and `n_unique` is distributed",
    "Expr.approx_quantile": "the sketch cannot be had in parts, and the estimate must be that of Polars; `quantile` is distributed",
    "Expr.shuffle": "without a seed rows are drawn anew each time that a task runs, of the whole column; with a seed a `select` "
    "of it is distributed, and so is `sample`",
    "Expr.cumulative_eval": "each row gets any expression over all rows before it, which has no parts; "
    "`cum_sum` and its like are distributed",
    "Expr.reshape": "values of several partitions may be in one list, and whether they go into lists evenly is known of all "
    "of them only",
    "Expr.search_sorted": "a binary search, whose answer over values that are not sorted, which Polars does not check, is "
    "that of the steps it takes over all of them; where they are sorted, `(a < value).sum()` is distributed",
}
FALLBACKS: Mapping[str, str] = {name: why for names, why in _METHODS.items() for name in names.split()}
