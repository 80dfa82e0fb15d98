"""Plans of whole queries."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import polars as pl

from dask_polars.cluster import current_cluster
from dask_polars.config import Options
from dask_polars.dsl.cloud import Template
from dask_polars.dsl.leaves import PIPE, decode_with_sources
from dask_polars.dsl.nodes import Node, walk
from dask_polars.dsl.schemas import schema_of
from dask_polars.errors import FallbackError, FallbackWarning, PlanDecodeError, PlanSendError, advise, level_of_user
from dask_polars.io.attempts import wait_for_attempts
from dask_polars.io.paths import listing_once
from dask_polars.io.table_files import FilesRequest
from dask_polars.plan.planner import Fallback, Planner
from dask_polars.plan.shared import shared_parts
from dask_polars.plan.sink import Output, refuse_same_targets
from dask_polars.plan.stages import MapStage, Size, Stage
from dask_polars.plan.steps import Question, open_questions


@dataclass(frozen=True, eq=False)
class Plan:
    """
    The distributed plan of one query, or of several that share their common parts.

    Parameters
    ----------
    roots
        For each query the stage that gives its result.
    options
        What it was planned with.
    fallbacks
        What is gathered to one partition, and why.
    outputs
        What its sinks write.
    questions
        What is to be known before it runs, where it can run in steps.
    again
        Makes the plan again, with stages that have run in place of those of these tokens.
    met
        Which of these it came across.
    """

    roots: tuple[Stage, ...]
    options: Options
    fallbacks: tuple[Fallback, ...]
    outputs: tuple[Output, ...] = ()
    questions: tuple[Question, ...] = ()
    again: Callable[[Mapping[str, Stage]], Plan] | None = None
    met: frozenset[str] = frozenset()

    def over(self, results: Callable[[Plan], Sequence[Stage]]) -> Plan:
        """
        Give the plan with other results.

        Parameters
        ----------
        results
            Makes the stages that give them from the plan, also where it is made again.

        Returns
        -------
        Plan
        """
        again = self.again

        def over_again(known: Mapping[str, Stage]) -> Plan:
            assert again is not None
            return again(known).over(results)

        return replace(self, roots=tuple(results(self)), again=None if again is None else over_again)

    def announce(self) -> None:
        """
        Say what is gathered to one partition, as the options want it, and refuse to write where something is already.

        Raises
        ------
        FallbackError
            If the options say ``fallback="raise"`` and there is any.
        FileExistsError
            If there is something where a sink is to write, and the options do not say ``overwrite``.
        ValueError
            If two sinks write to the same place.
        """
        refuse_same_targets([output.request.target.path for output in self.outputs])
        for output in self.outputs:
            output.check()
        if self.options.fallback == "silent":
            return
        for item in self.fallbacks:
            text = f"{item.operation} is gathered to one partition: {item.reason}"
            if self.options.fallback == "raise":
                raise FallbackError(text)
            warnings.warn(text, FallbackWarning, stacklevel=level_of_user())

    @contextmanager
    def running(self) -> Iterator[None]:
        """Remove what is left of sinks when a run is over, whatever it came to."""
        try:
            yield
        except Exception as error:
            advise(error, [item.operation for item in self.fallbacks])
            self.clean()  # so that no further task starts to write
            for output in self.outputs:
                wait_for_attempts(output.request.target.run)
            raise
        finally:
            self.clean()

    def clean(self) -> None:
        """Remove what is left of sinks; what cannot be removed is hidden, and said."""
        for output in self.outputs:
            try:
                output.clean()
            except Exception as error:
                text = f"{output.request.target.staging} could not be removed: {error}"
                warnings.warn(text, RuntimeWarning, stacklevel=level_of_user())


def plan_queries(
    queries: Sequence[pl.LazyFrame],
    options: Options,
    client: Any = None,
    tables: Mapping[str, FilesRequest] | None = None,
    known: Mapping[str, Stage] | None = None,
    shared: Mapping[str, tuple[str, ...]] | None = None,
) -> Plan:
    """
    Plan queries for a cluster.

    Parameters
    ----------
    queries
        Lazy frames of Polars.
    options
        What to plan with.
    client
        The client of the cluster that they will run on; otherwise the current one, if there is one.
    tables
        What sinks to Iceberg tables write, by the ids that are in their plans. What such a query gives are its files.
    known
        Stages that have run, by the tokens of the stages as they were planned.
    shared
        The parts that are read more than once, if they are known already (:mod:`dask_polars.plan.shared`).

    Returns
    -------
    Plan

    Raises
    ------
    polars.exceptions.PolarsError
        Where Polars finds a query to be wrong.
    """
    planner = Planner(options, current_cluster(client), tables=tables or {}, known=known or {}, shared=shared or {})
    with listing_once():
        decoded = [_decoded(planner, query) for query in queries]
        planner.reused = _reused(decoded)
        roots = tuple(map(partial(_lowered, planner), queries, decoded))
        shared = shared_parts(planner, roots) if shared is None else shared
        if shared and not planner.shared:
            planner = planner.sharing(shared)
            roots = tuple(map(partial(_lowered, planner), queries, decoded))
    questions = open_questions(roots, planner.questions)
    again = partial(_again, queries, options, client, tables, shared)
    return Plan(
        roots, options, tuple(planner.fallbacks), tuple(planner.outputs), questions, again, frozenset(planner.met)
    )


def _again(
    queries: Sequence[pl.LazyFrame],
    options: Options,
    client: Any,
    tables: Mapping[str, FilesRequest] | None,
    shared: Mapping[str, tuple[str, ...]],
    known: Mapping[str, Stage],
) -> Plan:
    return plan_queries(queries, options, client, tables, known, shared)


def _decoded(planner: Planner, query: pl.LazyFrame) -> Node | PlanDecodeError:
    """Read the plan of a query, where it can be read, and see that it is right."""
    try:
        root = decode_with_sources(query)
    except pl.exceptions.ComputeError as error:
        schema_of(query)
        if "serialization failed" not in str(error):
            raise
        raise PlanSendError(f"the query holds what cannot be sent to a worker: {error}") from error
    except PlanDecodeError as error:
        return error
    _check(planner, root, query)
    return root


def _reused(decoded: Sequence[Node | PlanDecodeError]) -> frozenset[str]:
    """Find what is read more than once: a plan that is written out twice is there once."""
    nodes = {node.digest: node for root in decoded if isinstance(root, Node) for node in walk(root)}
    readers = Counter(child.digest for node in nodes.values() for child in node.inputs)
    return frozenset(digest for digest, count in readers.items() if count > 1)


def _lowered(planner: Planner, query: pl.LazyFrame, decoded: Node | PlanDecodeError) -> Stage:
    if isinstance(decoded, Node):
        return planner.lower(decoded)
    schema = schema_of(query)
    planner.fallbacks.append(Fallback("the query", str(decoded)))
    return MapStage(
        operation="fallback",
        schema=schema,
        npartitions=1,
        size=Size.guess(1e6, schema),
        template=Template.of(query.serialize()),
        sources=(),
        fallback=str(decoded),
    )


def _check(planner: Planner, root: Node, query: pl.LazyFrame) -> None:
    """Have a wrong query fail here, as it would with Polars."""
    if any(node.kind == PIPE for node in walk(root)):
        schema_of(query)  # calls the functions of the user; the plan has copies of them
        return
    try:
        planner.schema(root)
    except OSError:
        raise  # whatever cannot be read would keep the user waiting once more
    except (Exception, pl.exceptions.PanicException):
        schema_of(query)  # Polars speaks of the whole
        raise
