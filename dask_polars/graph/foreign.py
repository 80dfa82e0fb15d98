"""Graphs of other collections: their tasks become part of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from dask._task_spec import GraphNode, TaskRef, convert_legacy_graph
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

Key = Any


def delayed_graph(values: Sequence[Any]) -> tuple[Mapping[Key, Any], list[TaskRef]]:
    """
    Give the tasks of delayed values.

    Parameters
    ----------
    values
        Delayed values, and futures of distributed.

    Returns
    -------
    tuple
        The graph, and for each value a reference to its task.

    Raises
    ------
    TypeError
        For anything else.
    """
    references = []
    futures: dict[Key, Any] = {}
    graphs: dict[int, Any] = {}  # often it is the same for all of them
    for value in values:
        if isinstance(value, Delayed):
            graphs[id(value.dask)] = value.dask
        elif hasattr(value, "key") and hasattr(value, "client"):
            futures[value.key] = value
        else:
            raise TypeError(f"from_delayed takes delayed values and futures, not a {type(value).__name__}")
        references.append(TaskRef(value.key))
    graph = HighLevelGraph.merge(*graphs.values()).to_dict() if graphs else {}
    return {**convert_legacy_graph(graph), **futures}, references


def with_dependencies(graph: Mapping[Key, Any], wanted: Iterable[Key]) -> dict[Key, Any]:
    """
    Give some tasks of a graph, and those that they depend on.

    Parameters
    ----------
    graph
        The graph; keys that are not in it are taken to be known elsewhere.
    wanted
        Keys of tasks.

    Returns
    -------
    dict
    """
    found: dict[Key, Any] = {}
    stack = list(wanted)
    while stack:
        key = stack.pop()
        if key in graph and key not in found:
            node = found[key] = graph[key]
            stack.extend(node.dependencies if isinstance(node, GraphNode) else ())
    return found


class ExpressionGraph(Mapping[Key, Any]):
    """
    The tasks of an expression of Dask, made when they are first asked for: on a cluster that is on the scheduler.

    Parameters
    ----------
    expr
        The expression, optimized.
    """

    def __init__(self, expr: Any) -> None:
        self.expr = expr

    @cached_property
    def _tasks(self) -> Mapping[Key, Any]:
        return convert_legacy_graph(self.expr.__dask_graph__())

    def __getitem__(self, key: Key) -> Any:
        return self._tasks[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return (ExpressionGraph, (self.expr,))


__all__ = ["ExpressionGraph", "delayed_graph", "with_dependencies"]
