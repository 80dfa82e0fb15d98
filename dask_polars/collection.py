"""``LazyFrame``: a Dask collection that speaks the Polars API."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import polars as pl
from polars.lazyframe.in_process import InProcessQuery
from polars.lazyframe.opt_flags import DEFAULT_QUERY_OPT_FLAGS, QueryOptFlags

from dask_polars.dask_collection import DaskCollection
from dask_polars.delegation import delegate
from dask_polars.diagram import error_html, explained, frame_html, show_plan
from dask_polars.dsl.schemas import schema_at_hand
from dask_polars.execution import choose_target, local_engine
from dask_polars.interop import Interop
from dask_polars.methods import LazyFrameMethods


@delegate(pl.LazyFrame)
class LazyFrame(LazyFrameMethods, Interop, DaskCollection):
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
        super().__init__(lf)

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
        progress: bool | Literal["auto"] | None = None,
        post_opt_callback: Any = None,
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
        progress: bool | Literal["auto"] | None = None,
        post_opt_callback: Any = None,
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
        Compute the whole as :meth:`collect` does, and say what the stages of the plan took.

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

            * ``step``: on a cluster a query may run in steps, each planned by what the ones before gave; 1 otherwise;
            * ``stage``, ``operation``: as in :meth:`explain` where there is one step, and always as in the diagram of
              ``show_graph(profile=profile)``; ``fused``: the stages that run as a part of it;
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
            What :meth:`profile` gave: the diagram is then that of what ran, in steps or not, with what the stages took.
        **options
            As :meth:`polars.LazyFrame.show_graph` takes them, for a plan of Polars.

        Returns
        -------
        str, optional
            With ``raw_output``.

        Raises
        ------
        ValueError
            For a file of another kind, and for what was made of a profile of a query that ran in steps.

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
            if name in ("_ldf", "_lgb"):  # a function of Polars was given a collection
                raise AttributeError(
                    "this is a dask_polars.LazyFrame, and not one of Polars: use the function of dask_polars, if there is one "
                    "(dp.collect_all, dp.concat), or give it lf.to_polars()",
                    name=name,
                )
            if name.startswith("_"):
                raise AttributeError(name)
            # A name space that was registered with Polars, or an attribute that Polars knows to be gone.
            found = vars(pl.LazyFrame).get(name)
            return getattr(self._lf, name) if found is None else found.__get__(self, type(self))

    def __bool__(self) -> bool:
        return bool(self._lf)  # raises, as Polars does
