"""Move rows between partitions: through tasks on any scheduler, or peer to peer on a distributed cluster."""

from dask_polars.shuffle.frames import PARTITION_COLUMN, ShuffleError

__all__ = ["PARTITION_COLUMN", "ShuffleError"]
