"""Plans as Dask expressions, so that Dask computes, persists and shares them with other collections."""

from __future__ import annotations

from typing import Any

from dask._expr import Expr
from dask._task_spec import Task, TaskRef

from dask_polars.graph.build import build_graph
from dask_polars.graph.worker import concat
from dask_polars.plan.stages import Stage


class PlanExpr(Expr):
    """
    The partitions of a stage.

    Parameters
    ----------
    stage : Stage
        The stage.
    shuffle_method : {"auto", "p2p", "tasks"}
        How rows are shuffled. ``"auto"`` becomes ``"p2p"`` when the expression is sent to a cluster, since it is there
        that its graph is made.
    """

    _parameters = ["stage", "shuffle_method"]
    _defaults = {"shuffle_method": "auto"}

    @property
    def npartitions(self) -> int:
        return self.operand("stage").npartitions

    @property
    def _name(self) -> str:
        return self.operand("stage").name

    def __dask_tokenize__(self) -> Any:
        return (type(self).__name__, self.operand("stage").token)

    @property
    def deterministic_token(self) -> str:
        return self.operand("stage").token

    def __dask_keys__(self) -> list[Any]:
        return [(self._name, index) for index in range(self.npartitions)]

    def __reduce__(self) -> tuple[Any, ...]:
        # Expressions are pickled to be sent to a scheduler of a cluster, and for nothing else.
        method = self.operand("shuffle_method")
        return (PlanExpr, (self.operand("stage"), "p2p" if method == "auto" else method))

    def _layer(self) -> dict[Any, Any]:
        graph, (keys,) = build_graph([self.operand("stage")], p2p_shuffle=self.operand("shuffle_method") == "p2p")
        for index, key in enumerate(keys):
            if key != (self._name, index):
                # Partitions of another graph, or passed on from another stage, under our name.
                graph[self._name, index] = Task((self._name, index), concat, TaskRef(key))
        return graph

    def finalize_compute(self) -> Expr:
        return WholeExpr(self)


class WholeExpr(Expr):
    """All partitions of an expression in one frame."""

    _parameters = ["partitions"]

    @property
    def npartitions(self) -> int:
        return 1

    @property
    def _name(self) -> str:
        return f"collect-{self.operand('partitions').deterministic_token}"

    def __dask_keys__(self) -> list[Any]:
        return [(self._name, 0)]

    def _layer(self) -> dict[Any, Any]:
        key = (self._name, 0)
        refs = [TaskRef(part) for part in self.operand("partitions").__dask_keys__()]
        return {key: Task(key, concat, *refs)}

    def finalize_compute(self) -> Expr:
        return self


class PartsExpr(Expr):
    """The partitions of several stages of one plan."""

    _parameters = ["stages", "shuffle_method"]
    _defaults = {"shuffle_method": "auto"}

    @property
    def _name(self) -> str:
        return "-".join(["plan", *(stage.token for stage in self.operand("stages"))])

    @property
    def npartitions(self) -> int:
        return sum(stage.npartitions for stage in self.operand("stages"))

    def __reduce__(self) -> tuple[Any, ...]:
        method = self.operand("shuffle_method")
        return (PartsExpr, (self.operand("stages"), "p2p" if method == "auto" else method))

    def __dask_keys__(self) -> list[Any]:
        return [(stage.name, index) for stage in self.operand("stages") for index in range(stage.npartitions)]

    def _layer(self) -> dict[Any, Any]:
        stages: list[Stage] = list(self.operand("stages"))
        graph, keys = build_graph(stages, p2p_shuffle=self.operand("shuffle_method") == "p2p")
        for stage, found in zip(stages, keys, strict=True):
            for index, key in enumerate(found):
                if key != (stage.name, index):
                    graph[stage.name, index] = Task((stage.name, index), concat, TaskRef(key))
        return graph


__all__ = ["PartsExpr", "PlanExpr", "WholeExpr"]
