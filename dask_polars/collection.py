"""``LazyFrame``: a Dask collection that speaks the Polars API."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import polars as pl
from dask.base import DaskMethodsMixin
from dask.threaded import get as threaded_get
from dask.tokenize import tokenize
from dask.utils import parse_bytes
from polars.lazyframe.in_process import InProcessQuery
from polars.lazyframe.opt_flags import DEFAULT_QUERY_OPT_FLAGS, QueryOptFlags

from dask_polars.config import Options
from dask_polars.delegation import delegate, unwrap
from dask_polars.diagram import error_html, explained, frame_html, show_plan
from dask_polars.dsl.leaves import source_lazyframe
from dask_polars.dsl.schemas import schema_at_hand
from dask_polars.execution import choose_target, local_engine
from dask_polars.graph.build import build_graph
from dask_polars.graph.expr import PlanExpr
from dask_polars.graph.foreign import with_dependencies
from dask_polars.graph.names import partition_keys
from dask_polars.graph.worker import concat
from dask_polars.interop import Interop
from dask_polars.io.sources import DerivedSource, GraphSource, MapPartitions, PickPartitions, Repartition
from dask_polars.methods import LazyFrameMethods
from dask_polars.plan import Plan, plan_queries
from dask_polars.plan.stages import Size

Schema = Mapping[str, Any]


@delegate(pl.LazyFrame)
class LazyFrame(LazyFrameMethods, Interop, DaskMethodsMixin):
    """
    A lazy frame of Polars whose partitions are computed by Dask.

    It has every method of :class:`polars.LazyFrame`, with its arguments, and takes the same expressions. Where Polars
    takes another frame, it takes a collection, a lazy frame or a frame of Polars. It is a Dask collection too:
    :func:`dask.compute`, :func:`dask.persist` and :func:`dask.visualize` know what to do with it.

    Parameters
    ----------
    lf : polars.LazyFrame or polars.DataFrame
        The query.

    See Also
    --------
    dask_polars.scan_parquet, dask_polars.from_polars

    Examples
    --------
    >>> import dask_polars as dp, polars as pl
    >>> lf = dp.from_polars(pl.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]}), npartitions=2)
    >>> lf.group_by("k").agg(pl.col("v").sum()).sort("k").collect().rows()
    [('a', 4), ('b', 2)]
    """

    def __init__(self, lf: pl.LazyFrame | pl.DataFrame | LazyFrame | Any = None, *args: Any, **kwargs: Any) -> None:
        if isinstance(lf, LazyFrame):
            lf = lf._lf
        elif not isinstance(lf, pl.LazyFrame):
            lf = lf.lazy() if isinstance(lf, pl.DataFrame) else pl.LazyFrame(lf, *args, **kwargs)
        self._lf: pl.LazyFrame = lf
        self._plans: dict[Options, Plan] = {}
        self._options: Options | None = None

    # ------------------------------------------------------------ Polars

    def lazy(self) -> LazyFrame:
        """
        Give the collection itself.

        Returns
        -------
        LazyFrame
        """
        return self

    def to_polars(self) -> pl.LazyFrame:
        """
        Give the query as a lazy frame of Polars.

        Returns
        -------
        polars.LazyFrame
        """
        return self._lf

    @overload
    def collect(
        self,
        *,
        engine: Any = ...,
        background: Literal[False] = False,
        optimizations: QueryOptFlags = ...,
        scheduler: Any = None,
        fallback: str | None = None,
        overwrite: bool | None = None,
        **_kwargs: Any,
    ) -> pl.DataFrame: ...

    @overload
    def collect(
        self,
        *,
        engine: Any = ...,
        background: Literal[True],
        optimizations: QueryOptFlags = ...,
        scheduler: Any = None,
        fallback: str | None = None,
        overwrite: bool | None = None,
        **_kwargs: Any,
    ) -> InProcessQuery: ...

    def collect(
        self,
        *,
        engine: Any = "auto",
        background: bool = False,
        optimizations: QueryOptFlags = DEFAULT_QUERY_OPT_FLAGS,
        scheduler: Any = None,
        fallback: str | None = None,
        overwrite: bool | None = None,
        progress: bool | Literal["auto"] | None = None,
        **_kwargs: Any,
    ) -> Any:
        """
        Compute the whole.

        Where there is a Dask client, or a scheduler was chosen, the query runs there in partitions. Otherwise Polars
        runs it in this process, as a whole.

        Parameters
        ----------
        engine
            An engine of Polars to run the query with in this process, or a :class:`dask_polars.DaskEngine`.
        background : bool
            As with Polars: give a handle of the running query.
        optimizations
            As with Polars, where it runs the query in this process; fragments are always optimized.
        scheduler : str, callable or distributed.Client, optional
            The scheduler of Dask to use: ``"threads"``, ``"sync"``, …
        fallback : {"warn", "raise", "silent"}, optional
            What to do with a part of the query that is not distributed; configured by ``dask-polars.fallback``.
        overwrite : bool, optional
            Whether a sink replaces what is there; configured by ``dask-polars.overwrite``.
        progress : bool or "auto", optional
            Whether to show a bar for each stage; configured by ``dask-polars.progress``. By default in terminals and
            notebooks, for what takes longer than two seconds. Not where Polars runs the query by itself.

        Returns
        -------
        polars.DataFrame, or polars.InProcessQuery

        Raises
        ------
        polars.exceptions.PolarsError
            Where Polars finds the query to be wrong.
        dask_polars.FallbackError
            With ``fallback="raise"``, where a part of the query is not distributed.
        ValueError
            For both an engine and a scheduler, a fallback, overwrite or progress.

        Examples
        --------
        >>> import dask_polars as dp, polars as pl
        >>> lf = dp.from_polars(pl.DataFrame({"v": [1, 2, 3, 4]}), npartitions=2)
        >>> lf.select(pl.col("v").sum()).collect(scheduler="sync").item()
        10
        """
        if engine != "auto":
            if any(given is not None for given in (scheduler, fallback, overwrite, progress)):
                raise ValueError("collect takes an engine, or a scheduler, a fallback, overwrite and progress")
            given: dict[str, Any] = {"engine": engine, "background": background, "optimizations": optimizations}
            return self._lf.collect(**given, **_kwargs)
        for name in _kwargs:
            if name != "post_opt_callback":
                raise TypeError(f"collect() got an unexpected keyword argument {name!r}")
        from dask_polars.engine import DaskEngine

        target = choose_target(scheduler=scheduler)
        return DaskEngine(fallback=fallback, overwrite=overwrite, progress=progress)._run(
            self._lf, target, optimizations, background, **_kwargs
        )

    def profile(self, *, scheduler: Any = None, engine: Any = None) -> tuple[pl.DataFrame, pl.DataFrame]:
        """
        Compute the whole, and say what the stages of the plan took.

        Parameters
        ----------
        scheduler : str, callable or distributed.Client, optional
            The scheduler of Dask to use. Without one, and without a client, the plan runs in threads.
        engine : DaskEngine, optional
            The engine to use.

        Returns
        -------
        tuple of polars.DataFrame
            The result, and a row for each stage that runs by itself, sources first:

            * ``stage``, ``operation``: as in :meth:`explain`; ``fused``: the stages that run as a part of it;
            * ``partitions``; ``tasks``: what was measured; 0 where the results were there already. A shuffle has one for
              each partition that goes in, and for each that comes out;
            * ``rows_in``: null where it reads files whose rows are not known beforehand; ``rows_out``,
              ``rows_estimated``, ``bytes_out``, ``bytes_estimated``: what its partitions hold, and what was thought;
            * ``files``; ``bytes_read`` from local files, as the system counts them (0 where it does not);
              ``bytes_shuffled``; ``bytes_spilled`` by the workers while it ran;
            * ``wall`` of all tasks together, ``wall_max`` of the longest; ``cpu`` of the process, spread equally over
              the tasks that ran at the same time;
            * ``skew``: rows of the largest partition by those of the median; ``skew_wall``: the same of times.

        Raises
        ------
        ValueError
            For both an engine and a scheduler.

        Examples
        --------
        >>> import dask_polars as dp, polars as pl
        >>> lf = dp.from_polars(pl.DataFrame({"v": [1, 2, 3, 4]}), npartitions=2)
        >>> result, profile = lf.filter(pl.col("v") > 1).profile(scheduler="sync")
        >>> profile.select("operation", "tasks", "rows_in", "rows_out").rows()
        [('filter', 2, 4, 3)]
        """
        from dask_polars.engine import DaskEngine

        if engine is not None:
            if scheduler is not None:
                raise ValueError("profile takes an engine or a scheduler")
            return engine.profile(self._lf)
        return DaskEngine()._profile(self._lf, choose_target(scheduler=scheduler))

    @functools.wraps(pl.LazyFrame.show)
    def show(self, limit: int | None = 5, **options: Any) -> None:
        if limit is None:
            return self._lf.show(None)  # raises
        self.head(limit).collect().show(limit, **options)

    @functools.wraps(pl.LazyFrame.sink_delta, assigned=("__doc__",))
    def sink_delta(self, target: Any, *, engine: Any = "auto", **options: Any) -> Any:
        from dask_polars.engine import DaskEngine

        chosen = DaskEngine() if engine == "auto" else engine
        if isinstance(chosen, DaskEngine):
            return chosen.sink_delta(self._lf, target, **options)
        return self._lf.sink_delta(target, engine=chosen, **options)

    def explain(
        self,
        *,
        format: str = "plain",
        optimized: bool = True,
        engine: Any = "dask",
        optimizations: QueryOptFlags = DEFAULT_QUERY_OPT_FLAGS,
    ) -> str:
        """
        Say how the query will run. Nothing is computed.

        Parameters
        ----------
        format : {"plain", "tree", "html", "mermaid"}
            How to write it: as text with what Polars runs in each stage, as a tree of the stages, as a part of a page
            with a diagram, or as a flowchart of Mermaid. For a plan of Polars, as Polars takes it.
        optimized, optimizations
            As :meth:`polars.LazyFrame.explain` takes them, for a plan of Polars.
        engine
            ``"dask"`` for the distributed plan, ``"polars"`` for the plan of Polars, or an engine of Polars.

        Returns
        -------
        str
            Stages, exchanges and fragments, from the result down to the sources.

        Raises
        ------
        polars.exceptions.PolarsError
            Where Polars finds the query to be wrong.
        ValueError
            For a format that there is not.

        Examples
        --------
        >>> import dask_polars as dp, polars as pl
        >>> lf = dp.from_polars(pl.DataFrame({"v": [1, 2, 3, 4]}), npartitions=2)
        >>> print(lf.filter(pl.col("v") > 1).explain())
        [1] filter  2 partitions, ~1 rows, ~10 B
            | FILTER col("v") > 1
            | FROM
            |   DF ["v"]; PROJECT */1 COLUMNS
          [2] FRAME in memory  2 partitions, 4 rows, ~32 B
        """
        if engine == "dask":
            return explained(self._plan(), format)
        given: dict[str, Any] = {"format": format, "optimized": optimized, "optimizations": optimizations}
        return self._lf.explain(engine=local_engine() if engine in ("polars", "auto") else engine, **given)

    def show_graph(
        self,
        *,
        engine: Any = "dask",
        show: bool = True,
        output_path: str | Path | None = None,
        raw_output: bool = False,
        profile: pl.DataFrame | None = None,
        **options: Any,
    ) -> str | None:
        """
        Show the stages of the distributed plan as a diagram. Nothing is computed.

        In a notebook it is shown in the output of the cell, elsewhere in a browser; where there is none, it is printed
        as a tree.

        Parameters
        ----------
        engine
            ``"dask"`` for the distributed plan, ``"polars"`` for the plan of Polars, or an engine of Polars.
        show : bool
            Whether to show it.
        output_path : str or Path, optional
            A file to write it to: ``.svg``, ``.html``, or ``.mmd`` for Mermaid.
        raw_output : bool
            Give the text of Mermaid (for a plan of Polars, of Graphviz), and do nothing else.
        profile : polars.DataFrame, optional
            What the stages took, from :meth:`profile` of the same query, to be written into the boxes.
        **options
            As :meth:`polars.LazyFrame.show_graph` takes them, for a plan of Polars.

        Returns
        -------
        str, optional
            With ``raw_output``.

        Raises
        ------
        ValueError
            For a file of another kind.

        Examples
        --------
        >>> import dask_polars as dp, polars as pl
        >>> lf = dp.from_polars(pl.DataFrame({"v": [1, 2, 3, 4]}), npartitions=2)
        >>> print(lf.select("v").show_graph(raw_output=True).splitlines()[1])
            s1["[1] select<br/>2 partitions, ~4 rows, ~32 B"]:::work
        """
        how: dict[str, Any] = {"show": show, "output_path": output_path, "raw_output": raw_output}
        if engine == "dask":
            return show_plan(self._plan(), profile, **how)
        theirs = local_engine() if engine in ("polars", "auto") else engine
        return self._lf.show_graph(engine=theirs, **how, **options)

    # ------------------------------------------------------------ Dask

    def _planned_with(self, options: Options) -> LazyFrame:
        """Give the same collection with options that are not those that are configured."""
        out = LazyFrame(self._lf)
        out._options = options
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
        return _rebuild, (keys, tuple(root.schema.items()), root.size)

    def compute(self, **kwargs: Any) -> pl.DataFrame:
        """
        Compute the whole, with Dask.

        Parameters
        ----------
        **kwargs
            As :func:`dask.compute` takes them: ``scheduler``, and options of the scheduler.

        Returns
        -------
        polars.DataFrame
        """
        self._lf.collect_schema()  # a wrong query fails as it would with Polars
        frame = self._afresh()
        with frame._plan().running():
            (result,) = _dask_compute(frame, **kwargs)
        return result

    def persist(self, **kwargs: Any) -> LazyFrame:
        """
        Compute the partitions, and keep them where they are computed.

        Parameters
        ----------
        **kwargs
            As :func:`dask.persist` takes them.

        Returns
        -------
        LazyFrame
        """
        kept: LazyFrame = super(LazyFrame, self._afresh()).persist(**kwargs)
        return kept

    def _afresh(self) -> LazyFrame:
        """Give the collection itself; of a sink a new plan, since it is to write again, though it has written before."""
        if not self._plan().outputs:
            return self
        out = LazyFrame(self._lf)
        out._options = self._options
        return out

    @property
    def partitions(self) -> Partitions:
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
    ) -> LazyFrame:
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
            schema = _Call(function, args, kwargs, None)(empty).lazy().collect_schema()
        columns = tuple(pl.Schema(schema).items())
        derive = MapPartitions(_Call(function, args, kwargs, columns), columns, tokenize(function, args, kwargs))
        return self._derived(derive, columns, ("map_partitions", derive.token, tuple(map(str, columns))))

    def repartition(self, *, npartitions: int | None = None, partition_size: int | str | None = None) -> LazyFrame:
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

    def _derived(self, derive: Any, columns: tuple[tuple[str, Any], ...], identity: tuple[Any, ...]) -> LazyFrame:
        return LazyFrame(source_lazyframe(DerivedSource(self._lf, columns, derive, identity)))

    # ------------------------------------------------------------ Python

    def __repr__(self) -> str:
        # Whoever prints a collection waits for no object store, and gets no error of a query that is wrong.
        known = [plan.roots[0].schema for plan in self._plans.values()]
        schema = known[0] if known else schema_at_hand(self._lf)
        if schema is None:
            return "<dask_polars.LazyFrame (schema not resolved)>"
        columns = ", ".join(f"{name}: {dtype}" for name, dtype in schema.items())
        return f"<dask_polars.LazyFrame [{columns}]>"

    def _repr_html_(self) -> str:
        """Show schema, partitions, size and the diagram of the plan in a notebook; nothing is computed."""
        try:
            return frame_html(self._plan(), self._lf.collect_schema())
        except Exception as error:  # a wrong query has no plan: what is wrong is shown in its place
            return error_html(error)

    def __reduce__(self) -> tuple[Any, ...]:
        return (LazyFrame, (self._lf,))

    def __getitem__(self, item: Any) -> LazyFrame:
        return LazyFrame(self._lf[item])

    def __contains__(self, name: str) -> bool:
        return name in self._lf

    def __copy__(self) -> LazyFrame:
        return LazyFrame(self._lf)

    def __deepcopy__(self, memo: Any = None) -> LazyFrame:
        return LazyFrame(self._lf)

    if not TYPE_CHECKING:  # else any name would do

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            # A name space that was registered with Polars, or an attribute that Polars knows to be gone.
            found = vars(pl.LazyFrame).get(name)
            return getattr(self._lf, name) if found is None else found.__get__(self, type(self))

    def __bool__(self) -> bool:
        return bool(self._lf)  # raises, as Polars does


class Partitions:
    """The partitions of a collection, to pick from."""

    def __init__(self, frame: LazyFrame) -> None:
        self.frame = frame

    def __len__(self) -> int:
        return self.frame.npartitions

    def __iter__(self) -> Iterator[LazyFrame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, item: int | slice | Sequence[int]) -> LazyFrame:
        everything = range(len(self))
        if isinstance(item, slice):
            numbers = tuple(everything[item])
        else:
            numbers = tuple(everything[index] for index in (item if isinstance(item, Sequence) else [item]))
        if not numbers:
            raise IndexError("no partition is picked")
        columns = tuple(self.frame._lf.collect_schema().items())
        return self.frame._derived(PickPartitions(numbers), columns, ("partitions", numbers))


class _Call:
    """A function of the user's, with its arguments, and the columns that it has to give."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        columns: tuple[tuple[str, Any], ...] | None,
    ) -> None:
        self.function, self.args, self.kwargs, self.columns = function, args, kwargs, columns

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame | pl.LazyFrame:
        out = self.function(frame, *self.args, **self.kwargs)
        if not isinstance(out, (pl.DataFrame, pl.LazyFrame)):
            raise TypeError(f"the function of map_partitions must give a frame, not a {type(out).__name__}")
        given = tuple(out.lazy().collect_schema().items())
        if self.columns is not None and given != self.columns:
            said, found = dict(self.columns), dict(given)
            raise pl.exceptions.SchemaError(f"the function of map_partitions gave {found}, its schema says {said}")
        return out


def _dask_compute(*collections: Any, **kwargs: Any) -> tuple[Any, ...]:
    import dask

    return dask.compute(*collections, traverse=False, **kwargs)


def _finalize(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return concat(*parts)  # type: ignore[return-value]


def _rebuild(
    graph: Mapping[Any, Any],
    keys: tuple[Any, ...],
    columns: tuple[tuple[str, pl.DataType], ...],
    size: Size,
    *,
    rename: Mapping[str, str] | None = None,
) -> LazyFrame:
    if rename:
        keys = tuple((rename.get(name, name), index) for name, index in keys)
    return LazyFrame(source_lazyframe(GraphSource(keys, with_dependencies(graph, keys), columns, size)))


def concat_frames(items: Iterable[LazyFrame | pl.LazyFrame | pl.DataFrame], **kwargs: Any) -> LazyFrame:
    """
    Put frames below or beside each other.

    Parameters
    ----------
    items
        Collections, lazy frames or frames.
    **kwargs
        As :func:`polars.concat` takes them: ``how``, ``rechunk``, ``parallel``, …

    Returns
    -------
    LazyFrame

    Examples
    --------
    >>> import dask_polars as dp, polars as pl
    >>> one = dp.from_polars(pl.DataFrame({"v": [1]}))
    >>> dp.concat([one, one]).collect()["v"].to_list()
    [1, 1]
    """
    frames = [unwrap(item.lazy() if isinstance(item, pl.DataFrame) else item) for item in items]
    return LazyFrame(pl.concat(frames, **kwargs))
