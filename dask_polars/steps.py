"""Queries that run in steps on a cluster: what a decision depends on runs first, and what is above is planned again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dask_polars.futures import abandon, aside
from dask_polars.graph.expr import PartsExpr
from dask_polars.graph.names import Names
from dask_polars.plan import Plan, Planner
from dask_polars.plan.stages import KeyStage, walk_stages
from dask_polars.plan.steps import first_of, kept_stage, sizes_of
from dask_polars.profile import Journal
from dask_polars.progress import watched

# Each step decides about the joins and groups that are next from below; few queries have more of them above each other.
MOST_STEPS = 20


@contextmanager
def settled(plan: Plan, target: Any, journal: Journal | None = None) -> Iterator[Plan]:
    """
    Run what the decisions of a plan depend on, and decide anew.

    Parameters
    ----------
    plan
        A plan, maybe with questions.
    target : Target
        Where it runs. Only on a cluster anything is run first.
    journal
        Where to write down what was run, if somebody wants to know.

    Yields
    ------
    Plan
        What is left to run. What it reads of that which has run stays on the cluster until the block ends.
    """
    steps = _Steps(target, journal)
    try:
        yield steps.taken(plan)
    finally:
        abandon(steps.futures.values())


@dataclass
class _Steps:
    """
    The steps of a query.

    Parameters
    ----------
    target : Target
        Where they run.
    journal
        Where they are written down.
    known
        The stages that have run, by the tokens of these stages as they were planned.
    futures
        What holds their partitions, as far as it is still read.
    """

    target: Any
    journal: Journal | None = None
    known: dict[str, KeyStage] = field(default_factory=dict)
    futures: dict[Any, Any] = field(default_factory=dict)

    def taken(self, plan: Plan) -> Plan:
        """Take all steps but the last one, which is the plan that is returned."""
        first = plan
        for _ in range(MOST_STEPS):
            if self.target.client is None or plan.again is None or not plan.questions:
                break
            found = self._run(plan)
            self.known.update(found)
            plan = plan.again(self.known)
            read = [stage for stage in walk_stages(plan.roots) if isinstance(stage, KeyStage)]
            if not plan.met & set(found):
                break  # a query that is another one each time it is planned
            if not self._keep({key for stage in read for key in stage.keys}):
                return first
        return plan

    def _run(self, plan: Plan) -> dict[str, KeyStage]:
        """Run what the first questions are about, and say how much there is of it."""
        stages = first_of(plan.questions)
        planner = Planner(plan.options)
        roots = (*stages, *(sizes_of(planner, stage) for stage in stages))
        names = Names(roots)
        keys = [names.keys(stage) for stage in roots]
        wanted = [key for found in keys for key in found]
        profile = self.journal is not None
        with plan.running(), watched(self.target, plan, stages, profile=profile) as (there, run):
            futures = there.get(PartsExpr(roots, plan.options.shuffle_method), wanted, sync=False)
            self.futures.update(zip(wanted, futures, strict=True))
            with aside():
                sizes = self.target.client.gather([self.futures[key] for (key,) in keys[len(stages) :]])
        kept = {
            stage.token: kept_stage(stage, size, {key: self.futures[key] for key in own}, own)
            for stage, size, own in zip(stages, sizes, keys[: len(stages)], strict=True)
        }
        if self.journal is not None:
            self.journal.note(run, kept)
        return kept

    def _keep(self, wanted: set[Any]) -> bool:
        """Let go of what nothing reads any more; say whether all that is wanted was not let go of earlier."""
        let_go = {key for stage in self.known.values() for key in stage.keys} - set(self.futures)
        for key in set(self.futures) - wanted:
            abandon([self.futures.pop(key)])
        return not (wanted & let_go)
