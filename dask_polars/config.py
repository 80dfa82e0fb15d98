"""Configuration: the name space ``dask-polars`` of ``dask.config``, and what one query runs with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import dask.config
import yaml
from dask.utils import parse_bytes

from dask_polars.errors import level_of_user

NAMESPACE = "dask-polars"

FallbackMode = Literal["warn", "raise", "silent"]
ShuffleMethod = Literal["auto", "p2p", "tasks"]
Progress = Literal["auto", True, False]


@cache
def defaults() -> dict[str, Any]:
    """Read ``dask_polars.yaml``."""
    return yaml.safe_load(Path(__file__).with_name("dask_polars.yaml").read_text())


def load_defaults() -> None:
    """Make the defaults of ``dask_polars.yaml`` known to ``dask.config``."""
    dask.config.update_defaults(defaults())


@dataclass(frozen=True)
class Options:
    """
    What one query is planned with.

    Parameters
    ----------
    fallback : {"warn", "raise", "silent"}
        What to do with a part of a query that is not distributed.
    partition_size : int
        Bytes in memory that a partition should have.
    max_rows_per_partition : int, optional
        Rows that a partition of a source has at most.
    broadcast_limit : int
        Bytes up to which a side of a join is sent to every partition of the other side.
    shuffle_method : {"auto", "p2p", "tasks"}
        How rows are shuffled.
    split_every : int
        How many partial results are combined at once.
    count_keys_above : int, optional
        Bytes from which on the keys of a side of a join are counted before it is shuffled, so that those with most of the
        rows are split; None for never.
    adaptive : bool
        Whether a query on a cluster may run in steps, to decide again what was decided on a guess.
    overwrite : bool
        Whether sinks replace what is there.
    progress : {"auto", True, False}
        Whether to show how far stages are.
    """

    fallback: FallbackMode
    partition_size: int
    max_rows_per_partition: int | None
    broadcast_limit: int
    shuffle_method: ShuffleMethod
    split_every: int
    count_keys_above: int | None
    adaptive: bool
    overwrite: bool
    progress: Progress = "auto"

    @classmethod
    def current(cls, **overrides: Any) -> Options:
        """
        Read the options from ``dask.config``.

        Parameters
        ----------
        **overrides
            Options to use in place of what is configured, where not None.

        Returns
        -------
        Options

        Raises
        ------
        ValueError
            For a value that an option cannot have.

        Warns
        -----
        UserWarning
            Of what is configured and is no option: Dask takes any name.

        Examples
        --------
        >>> from dask_polars.config import Options
        >>> Options.current(partition_size="1 MiB").partition_size
        1048576
        """
        found = {}
        for item in fields(cls):
            given = overrides.get(item.name)
            name = item.name.replace("_", "-")
            # `dask.config.set` as a context forgets, on leaving, defaults that became known in it.
            default = defaults()[NAMESPACE][name]
            found[item.name] = dask.config.get(f"{NAMESPACE}.{name}", default) if given is None else given
        _warn_of_others()
        return cls(**found)._checked()

    def _checked(self) -> Options:
        for name, allowed in (("fallback", FallbackMode), ("shuffle_method", ShuffleMethod)):
            value, choices = getattr(self, name), get_args(allowed)
            if value not in choices:
                raise ValueError(f"{name.replace('_', '-')} must be one of {', '.join(choices)}, not {value!r}")
        for name in ("overwrite", "adaptive"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if self.progress != "auto" and not isinstance(self.progress, bool):
            raise ValueError(f"progress must be auto, true or false, not {self.progress!r}")
        rows, above = self.max_rows_per_partition, self.count_keys_above
        return replace(
            self,
            partition_size=_at_least("partition-size", self.partition_size, 1, parse_bytes),
            broadcast_limit=_at_least("broadcast-limit", self.broadcast_limit, 0, parse_bytes),
            max_rows_per_partition=None if rows is None else _at_least("max-rows-per-partition", rows, 1, int),
            count_keys_above=None if above is None else _at_least("count-keys-above", above, 0, parse_bytes),
            split_every=_at_least("split-every", self.split_every, 2, int),
        )


def _warn_of_others() -> None:
    given = dask.config.get(NAMESPACE, None) or {}
    known = list(defaults()[NAMESPACE])
    for name in sorted({str(name).replace("_", "-") for name in given}.difference(known)):
        alike = get_close_matches(name, known, 1)
        meant = f": did you mean {alike[0]}?" if alike else ""
        warnings.warn(f"{NAMESPACE}.{name} is no option of dask_polars{meant}", stacklevel=level_of_user())


def _at_least(name: str, value: Any, least: int, read: Callable[[Any], int]) -> int:
    try:
        number = read(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a number, not {value!r}: {error}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
    return number
