"""
Queries in SQL, as plans.

Polars keeps the text of a query in its plan, and parses it when the query runs. `CREATE TABLE … AS` makes it parse at
once: the table that it makes is the plan of the query.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import polars as pl

from dask_polars.dsl.leaves import SchemaDict, decode_with_sources, in_place_of
from dask_polars.dsl.nodes import Node

SQL = "SQL"  # the kind of node that a query in SQL decodes to
_RESULT = "__dp_result"


def resolve_sql(node: Node, schemas: Sequence[SchemaDict]) -> Node | None:
    """
    Write a query in SQL as a plan.

    Parameters
    ----------
    node
        A node of kind ``"SQL"``.
    schemas
        The schemas of its inputs, which are the tables of the query.

    Returns
    -------
    Node or None
        The plan over the same inputs. None for what is no query, or reads tables of a catalog.
    """
    if node.fields["catalog_tables"]:
        return None
    tables, fill = in_place_of(node.inputs, schemas)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pl.exceptions.PolarsWarning)  # that it is unstable was said before
        context = pl.SQLContext(dict(zip(node.fields["relations"], tables, strict=True)), eager=False)
        query = node.fields["query"].rstrip().rstrip(";")
        try:
            context.execute(f'CREATE TABLE "{_RESULT}" AS {query}')
            made = decode_with_sources(context.execute(f'SELECT * FROM "{_RESULT}"'))
        except pl.exceptions.PolarsError:
            return None  # a statement that is no query
    return fill(made.input) if made.kind == SQL else None
