"""Plans as Dask expressions, so that Dask computes, persists and shares them with other collections."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from dask._expr import Expr, _ExprSequence
from dask._task_spec import Task, TaskRef

from dask_polars.graph.build import build_graph
from dask_polars.graph.names import Names, partition_keys
from dask_polars.graph.worker import concat
from dask_polars.plan.sink import refuse_same_targets, targets_of
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

    def __str__(self) -> str:
        return f"PlanExpr({self.operand('stage').operation}, {self.npartitions} partitions)"

    def _tree_repr_lines(self, indent: int = 0, recursive: bool = True) -> list[str]:
        return [" " * indent + str(self)]  # as a part of the expressions of dask.dataframe

    @property
    def npartitions(self) -> int:
        return self.operand("stage").npartitions

    @property
    def _name(self) -> str:
        return self._keys[0][0]

    def __dask_tokenize__(self) -> Any:
        return (type(self).__name__, self.operand("stage").token)

    @property
    def deterministic_token(self) -> str:
        return self.operand("stage").token

    def __dask_keys__(self) -> list[Any]:
        return list(self._keys)

    @cached_property
    def _keys(self) -> list[Any]:
        return partition_keys(self.operand("stage"))

    def __reduce__(self) -> tuple[Any, ...]:
        # Expressions are pickled to be sent to a scheduler of a cluster, and for nothing else.
        method = self.operand("shuffle_method")
        return (PlanExpr, (self.operand("stage"), "p2p" if method == "auto" else method))

    def _layer(self) -> dict[Any, Any]:
        graph, (keys,) = build_graph([self.operand("stage")], p2p_shuffle=self.operand("shuffle_method") == "p2p")
        for own, key in zip(self._keys, keys, strict=True):
            if key != own:
                # Partitions of another graph, or passed on from another stage, under our name.
                graph[own] = Task(own, concat, TaskRef(key))
        return graph

    def _simplify_up(self, parent: Expr, dependents: Any) -> None:
        _check_together(parent)

    def finalize_compute(self) -> Expr:
        return WholeExpr(self)


def _check_together(parent: Expr) -> None:
    """Refuse to compute collections together that are sinks to the same place: only here all of them are known."""
    if not isinstance(parent, _ExprSequence):
        return
    plans = [item.operand("partitions") if isinstance(item, WholeExpr) else item for item in parent.operands]
    targets = targets_of([item.operand("stage") for item in plans if isinstance(item, PlanExpr)])
    refuse_same_targets([target.path for target in targets])


class WholeExpr(Expr):
    """All partitions of an expression in one frame."""

    _parameters = ["partitions"]

    @property
    def npartitions(self) -> int:
        return 1

    @property
    def _name(self) -> str:
        return f"collect-{self.operand('partitions')._name}"

    def __dask_keys__(self) -> list[Any]:
        return [(self._name, 0)]

    def _layer(self) -> dict[Any, Any]:
        key = (self._name, 0)
        refs = [TaskRef(part) for part in self.operand("partitions").__dask_keys__()]
        return {key: Task(key, concat, *refs)}

    def _simplify_up(self, parent: Expr, dependents: Any) -> None:
        _check_together(parent)

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
        stages = self.operand("stages")
        names = Names(stages)
        return [key for stage in stages for key in names.keys(stage)]

    def _layer(self) -> dict[Any, Any]:
        stages: list[Stage] = list(self.operand("stages"))
        graph, keys = build_graph(stages, p2p_shuffle=self.operand("shuffle_method") == "p2p")
        for own, key in zip(self.__dask_keys__(), [key for found in keys for key in found], strict=True):
            if key != own:
                graph[own] = Task(own, concat, TaskRef(key))
        return graph


__all__ = ["PartsExpr", "PlanExpr", "WholeExpr"]
