"""
merge_sorted: a sort of both inputs below each other, which leaves rows with equal keys in order, the left ones first.

Each partition of the outcome is a range of the keys. That the inputs are sorted saves nothing in the shuffle, and where they
are not sorted the outcome is sorted all the same; Polars then gives rows in an order that means nothing.
"""

from __future__ import annotations

from dask_polars.dsl.expressions import column
from dask_polars.dsl.schemas import sort_node, union_node
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.stages import Stage


@lowers("MergeSorted")
def lower_merge_sorted(planner: Planner, region: Region) -> Stage:
    """Lower a merge_sorted."""
    core = region.core
    left, right = (planner.schema(node) for node in core.inputs)
    if list(left.items()) != list(right.items()):
        return gather_and_run(planner, region, "merge_sorted", "inputs of different schemas")
    if all(planner.lower(node).npartitions == 1 for node in planner.push_down(region.build, core.inputs)):
        return gather_and_run(planner, region, "merge_sorted", "", "merge-sorted")
    keys = core.fields["key"]
    both = union_node(core.inputs)
    return planner.lower(region.over(sort_node([column(key) for key in keys], both, nulls_last=[True] * len(keys))))
