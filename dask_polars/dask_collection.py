"""A plan as a collection of Dask: what Dask asks of one, and its partitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import polars as pl
from dask.base import DaskMethodsMixin
from dask.threaded import get as threaded_get
from dask.tokenize import tokenize
from dask.utils import parse_bytes

from dask_polars.config import Options
from dask_polars.delegation import unwrap
from dask_polars.dsl.leaves import source_lazyframe
from dask_polars.execution import choose_target, warn_of_versions
from dask_polars.graph.build import build_graph
from dask_polars.graph.expr import PlanExpr
from dask_polars.graph.foreign import with_dependencies
from dask_polars.graph.names import partition_keys
from dask_polars.graph.worker import concat
from dask_polars.io.sources import DerivedSource, GraphSource, MapPartitions, Repartition
from dask_polars.partitions import Call, Partitions
from dask_polars.plan import Plan, plan_queries
from dask_polars.plan.stages import Size

Schema = Mapping[str, Any]


class DaskCollection(DaskMethodsMixin):
    """
    The part of :class:`dask_polars.LazyFrame` that knows no methods of Polars.

    Parameters
    ----------
    lf : polars.LazyFrame
        The query.
    """

    def __init__(self, lf: pl.LazyFrame) -> None:
        self._lf: pl.LazyFrame = lf
        self._plans: dict[Options, Plan] = {}
        self._options: Options | None = None

    def _planned_with(self, options: Options, plan: Plan | None = None) -> Self:
        """Give the same collection with options that are not those that are configured, and maybe with its plan."""
        out = type(self)(self._lf)
        out._options = options
        if plan is not None:
            out._plans[options] = plan
        return out

    def _plan(self) -> Plan:
        options = self._options or Options.current()
        if options not in self._plans:
            self._plans[options] = plan_queries([self._lf], options)
        return self._plans[options]

    @property
    def expr(self) -> PlanExpr:
        """The query as an expression of Dask."""
        plan = self._plan()
        plan.announce()
        warn_of_versions()
        return PlanExpr(plan.roots[0], plan.options.shuffle_method)

    @property
    def npartitions(self) -> int:
        """The number of partitions of the result."""
        return self._plan().roots[0].npartitions

    def __dask_graph__(self) -> dict[Any, Any]:
        return self.expr.__dask_graph__()

    def __dask_keys__(self) -> list[Any]:
        root = self._plan().roots[0]
        return partition_keys(root)

    def __dask_tokenize__(self) -> Any:
        return ("dask_polars.LazyFrame", self._plan().roots[0].token)

    __dask_scheduler__ = staticmethod(threaded_get)

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _finalize, ()

    def __dask_postpersist__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        root = self._plan().roots[0]
        keys = tuple(partition_keys(root))
        return _rebuild, (type(self), keys, tuple(root.schema.items()), root.size)

    def compute(self, **kwargs: Any) -> pl.DataFrame:
        """
        Compute the whole, with Dask: the graph is made before anything runs, while ``collect`` may run in steps.

        Parameters
        ----------
        **kwargs
            As :func:`dask.compute` takes them: ``scheduler``, and options of the scheduler.

        Returns
        -------
        polars.DataFrame
        """
        self._lf.collect_schema()  # a wrong query fails as it would with Polars
        choose_target(scheduler=kwargs.get("scheduler"))  # and so does a cluster that cannot run it
        frame = self._afresh()
        with frame._plan().running():
            (result,) = _dask_compute(frame, **kwargs)
        return result

    def persist(self, **kwargs: Any) -> Self:
        """
        Compute the partitions, and keep them where they are computed.

        It returns at once on a cluster, so the graph is made before anything runs. :meth:`DaskEngine.execute` waits, may run in
        steps, and gives a collection, too.

        Parameters
        ----------
        **kwargs
            As :func:`dask.persist` takes them.

        Returns
        -------
        LazyFrame
        """
        choose_target(scheduler=kwargs.get("scheduler"))  # fails where the cluster cannot run it
        kept: Self = DaskMethodsMixin.persist(self._afresh(), **kwargs)
        return kept

    def _afresh(self) -> Self:
        """Give the collection itself; of a sink a new plan, since it is to write again, though it has written before."""
        if not self._plan().outputs:
            return self
        out = type(self)(self._lf)
        out._options = self._options
        return out

    @property
    def partitions(self) -> Partitions[Self]:
        """
        Pick partitions: ``lf.partitions[0]``, ``lf.partitions[2:5]``.

        Examples
        --------
        >>> import dask_polars as dp, polars as pl
        >>> lf = dp.from_polars(pl.DataFrame({"v": [1, 2, 3, 4]}), npartitions=2)
        >>> lf.partitions[1].collect()["v"].to_list()
        [3, 4]
        """
        return Partitions(self)

    def map_partitions(
        self,
        function: Callable[..., pl.DataFrame | pl.LazyFrame],
        *args: Any,
        schema: Schema | None = None,
        **kwargs: Any,
    ) -> Self:
        """
        Call a function with each partition.

        Parameters
        ----------
        function
            Called with a :class:`polars.DataFrame` and the further arguments; gives a frame.
        *args, **kwargs
            Further arguments.
        schema : mapping, optional
            Names and types of the columns that the function gives. If it is not given, the function is called with a
            frame without rows to find out.

        Returns
        -------
        LazyFrame

        Raises
        ------
        TypeError
            If the function gives no frame.
        polars.exceptions.SchemaError
            If it gives other columns than the schema says; this and what the function raises come when the query runs,
            and when the function is called to find out the schema.

        Examples
        --------
        >>> import dask_polars as dp, polars as pl
        >>> lf = dp.from_polars(pl.DataFrame({"v": [1, 2, 3, 4]}), npartitions=2)
        >>> lf.map_partitions(lambda part: part.select(pl.len())).collect()["len"].to_list()
        [2, 2]
        """
        args, kwargs = unwrap(args), unwrap(kwargs)
        if schema is None:
            empty = pl.DataFrame(schema=self._lf.collect_schema())
            schema = Call(function, args, kwargs, None)(empty).lazy().collect_schema()
        columns = tuple(pl.Schema(schema).items())
        derive = MapPartitions(Call(function, args, kwargs, columns), columns, tokenize(function, args, kwargs))
        return self._derived(derive, columns, ("map_partitions", derive.token, tuple(map(str, columns))))

    def repartition(self, *, npartitions: int | None = None, partition_size: int | str | None = None) -> Self:
        """
        Put the same rows, in the same order, into another number of partitions.

        Parameters
        ----------
        npartitions : int, optional
            How many.
        partition_size : int or str, optional
            Bytes of a partition in memory, as ``"100 MiB"``; how many partitions that makes is decided by what is known
            of the size when the query is planned.

        Returns
        -------
        LazyFrame

        Raises
        ------
        ValueError
            If not exactly one of the two is given, or it is not positive.

        Examples
        --------
        >>> import dask_polars as dp, polars as pl
        >>> dp.from_polars(pl.DataFrame({"v": [1, 2, 3, 4]}), npartitions=2).repartition(npartitions=4).npartitions
        4
        """
        if (npartitions is None) == (partition_size is None):
            raise ValueError("repartition needs either npartitions or partition_size")
        size = None if partition_size is None else parse_bytes(partition_size)
        if (npartitions if size is None else size) < 1:  # type: ignore[operator]
            raise ValueError("npartitions and partition_size must be positive")
        derive = Repartition(npartitions, size)
        return self._derived(derive, tuple(self._lf.collect_schema().items()), ("repartition", npartitions, size))

    def to_delayed(self) -> list[Any]:
        """
        Give each partition as a delayed value.

        Returns
        -------
        list of dask.delayed.Delayed
        """
        from dask.delayed import Delayed
        from dask.highlevelgraph import HighLevelGraph

        plan = self._plan()
        plan.announce()
        p2p = choose_target().client is not None and plan.options.shuffle_method != "tasks"
        graph, (keys,) = build_graph(plan.roots, p2p_shuffle=p2p)
        name = plan.roots[0].name
        layered = HighLevelGraph.from_collections(f"delayed-{name}", graph, dependencies=())
        return [Delayed(key, layered, layer=f"delayed-{name}") for key in keys]

    def _derived(self, derive: Any, columns: tuple[tuple[str, Any], ...], identity: tuple[Any, ...]) -> Self:
        return type(self)(source_lazyframe(DerivedSource(self._lf, columns, derive, identity)))


def _dask_compute(*collections: Any, **kwargs: Any) -> tuple[Any, ...]:
    import dask

    return dask.compute(*collections, traverse=False, **kwargs)


def _finalize(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return concat(*parts)  # type: ignore[return-value]


def _rebuild(
    graph: Mapping[Any, Any],
    kind: type[DaskCollection],
    keys: tuple[Any, ...],
    columns: tuple[tuple[str, pl.DataType], ...],
    size: Size,
    *,
    rename: Mapping[str, str] | None = None,
) -> DaskCollection:
    if rename:
        keys = tuple((rename.get(name, name), index) for name, index in keys)
    return kind(source_lazyframe(GraphSource(keys, with_dependencies(graph, keys), columns, size)))
