"""From stages to Dask tasks, and what runs on a worker."""
