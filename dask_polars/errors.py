"""Exceptions and warnings of dask_polars."""

from __future__ import annotations

import polars as pl


class FallbackWarning(UserWarning):
    """A part of a query is gathered to one partition, because it is not distributed (yet)."""


class FallbackError(NotImplementedError):
    """Raised in place of a :class:`FallbackWarning` where ``fallback="raise"``."""


class PlanDecodeError(NotImplementedError):
    """A plan holds something that cannot be taken apart; it can still be run whole."""


class PlanSendError(pl.exceptions.ComputeError):
    """A query holds what cannot be sent to another process, as an open file; it can only be run where it is."""
