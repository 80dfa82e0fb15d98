"""``python -m dask_polars``: the same as the command ``dask-polars``."""

import sys

from dask_polars.cli import main

if __name__ == "__main__":
    sys.exit(main())
