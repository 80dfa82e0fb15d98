"""Whether a cluster is fit for queries: ``dask-polars doctor``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dask.utils import format_bytes

from dask_polars import versions, workers

# By value, as text: it must run where neither polars nor dask_polars is installed.
_PLACE_SOURCE = """
def dask_polars_place(dask_worker):
    import shutil

    manager = dask_worker.memory_manager
    directory = dask_worker.local_directory
    spills = manager.memory_spill_fraction or manager.memory_target_fraction
    return {
        "memory": manager.memory_limit or 0,
        "directory": directory,
        "free": shutil.disk_usage(directory).free,
        "spills": bool(manager.memory_limit and spills),
    }
"""
_LISTING_SOURCE = """
def dask_polars_listing(url):
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
        found = system.ls(path)
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)
    return len(found)
"""
_place = versions._make_probe(_PLACE_SOURCE, "dask_polars_place")
_listing = versions._make_probe(_LISTING_SOURCE, "dask_polars_listing")


@dataclass(frozen=True)
class Report:
    """
    What was found.

    Parameters
    ----------
    tables
        Tables, as rows of cells; the first row is the head.
    problems
        What has to be mended before queries run.
    remarks
        What is worth to know.
    """

    tables: tuple[tuple[tuple[str, ...], ...], ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def text(self) -> str:
        """
        Write the report.

        Returns
        -------
        str
        """
        blocks = ["\n".join(aligned(table)) for table in self.tables]
        blocks += [f"Problem: {text}" for text in self.problems] + [f"Remark: {text}" for text in self.remarks]
        number = len(self.problems) or "No"
        return "\n\n".join([*blocks, f"{number} problem{'' if number == 1 else 's'}."])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """
    Write a table in columns.

    Parameters
    ----------
    rows : sequence of sequence of str
        The first one is the head.

    Returns
    -------
    list of str
        Lines.

    Examples
    --------
    >>> from dask_polars.doctor import aligned
    >>> print("\\n".join(aligned([("who", "polars"), ("client", "2.1.0")])))
    who     polars
    ------  ------
    client  2.1.0
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def examine(client: Any, url: str | None = None) -> Report:
    """
    Look at a cluster.

    Parameters
    ----------
    client : distributed.Client
        A client of it.
    url : str, optional
        What client and workers should be able to list, as ``"s3://bucket/path"``.

    Returns
    -------
    Report
    """
    packages = [name for name in versions.COMPARED if name != "python"]
    shown = [*packages, "pyarrow", "fsspec", "s3fs"]
    own, scheduler = versions._probe(shown), client.run_on_scheduler(versions._probe, shown)
    found = client.run(versions._probe, shown, on_error="return")
    answers = {address: item for address, item in found.items() if isinstance(item, Mapping)}
    problems = [
        f"worker {address} does not answer: {item!r}" for address, item in found.items() if address not in answers
    ]
    if not found:
        problems.append("the cluster has no workers: start some, or wait until they have come")
    everyone = {"client": own, "scheduler": scheduler, **answers}
    table = [("who", "python", *shown)]
    table += [
        (who, *(item.get(name, versions.MISSING) for name in ("python", *shown))) for who, item in everyone.items()
    ]
    mismatch = versions.compare(own, scheduler, answers)
    problems += [mismatch] if mismatch else []
    machines, worker_problems, remarks = _machines(client)
    reached = _reached(client, url) if url else []
    tables = [tuple(table), *([tuple(machines)] if len(machines) > 1 else [])]
    return Report(tuple(tables), (*problems, *worker_problems, *reached), tuple(remarks))


def _machines(client: Any) -> tuple[list[tuple[str, ...]], list[str], list[str]]:
    threads = client.run(workers._probe, on_error="return")
    places = client.run(_place, on_error="return")
    table: list[tuple[str, ...]] = [
        ("worker", "machine", "threads", "Polars threads", "cores", "memory", "spills to", "free there")
    ]
    remarks = []
    for address, item in threads.items():
        place = places.get(address)
        if not isinstance(item, Mapping) or not isinstance(place, Mapping):
            continue
        memory = format_bytes(place["memory"]) if place["memory"] else "no limit"
        counts = [str(item[name]) for name in ("nthreads", "polars", "cores")]
        directory = place["directory"] if place["spills"] else "nowhere"
        table.append((address, item["host"], *counts, memory, directory, format_bytes(place["free"])))
        if not place["spills"]:
            remarks.append(f"worker {address} does not spill to disk: queries larger than its memory will fail there")
        elif place["free"] < place["memory"]:
            remarks.append(
                f"worker {address} has less room in {place['directory']} than memory: set temporary-directory in the "
                "configuration of Dask, or --local-directory, to a larger disk"
            )
    crowded = workers.describe_threads([item for item in threads.values() if isinstance(item, Mapping)])
    return table, [crowded] if crowded else [], remarks


def _reached(client: Any, url: str) -> list[str]:
    """Say who cannot list a URL, and why."""
    found = {"the client": _listing(url)}
    found |= {f"worker {address}": item for address, item in client.run(_listing, url, on_error="return").items()}
    return [f"{who} cannot list {url}: {item}" for who, item in found.items() if not isinstance(item, int)]
