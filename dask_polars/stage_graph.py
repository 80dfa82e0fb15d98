"""The stages of a plan as they are shown: numbered, and with what ran in earlier steps below what was planned on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dask_polars.plan.stages import CallStage, MapStage, Mode, Stage


@dataclass(frozen=True)
class StageGraph:
    """
    The stages of a plan, or those that have run.

    Parameters
    ----------
    roots
        The stages that give the results, and others on which nothing else stands.
    origins
        By the tokens of stages whose partitions were kept from an earlier step: what gave them.
    """

    roots: Sequence[Stage]
    origins: Mapping[str, Stage] = field(default_factory=dict)

    def origin(self, stage: Stage) -> Stage:
        """Give what a stage stands for: what gave its partitions, or itself."""
        return self.origins.get(stage.token, stage)

    def inputs(self, stage: Stage) -> Iterator[tuple[Stage, str]]:
        """
        List what a stage reads.

        Parameters
        ----------
        stage
            The stage.

        Yields
        ------
        tuple of Stage and str
            And how it gets there, where it is not partition by partition.
        """
        if isinstance(stage, (MapStage, CallStage)):
            for item in stage.sources:
                how = "broadcast" if item.mode is Mode.BROADCAST and stage.npartitions > 1 else ""
                yield self.origin(item.stage), how
                if item.scalars is not None:
                    yield self.origin(item.scalars), "broadcast, one row"
        else:
            for below in stage.inputs:
                yield self.origin(below), ""

    def walk(self) -> Iterator[Stage]:
        """Visit every stage once, inputs first; stages of equal content count as one."""
        seen: set[str] = set()

        def visit(stage: Stage) -> Iterator[Stage]:
            if stage.token in seen:
                return
            seen.add(stage.token)
            for item, _ in self.inputs(stage):
                yield from visit(item)
            yield stage

        for root in self.roots:
            yield from visit(self.origin(root))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The numbers of the stages, by their tokens: from the result down."""
        numbers: dict[str, int] = {}

        def visit(stage: Stage) -> None:
            if stage.token not in numbers:
                numbers[stage.token] = len(numbers) + 1
                for below, _ in self.inputs(stage):
                    visit(below)

        for root in self.roots:
            visit(self.origin(root))
        return numbers
