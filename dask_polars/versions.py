"""Whether all the processes of a cluster can understand each other: the versions of what they have installed."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version

SUPPORTED_POLARS = (">=2.1", "<2.2")

# Package (as pip knows it) -> how many parts of its version must agree; None for all of them.
COMPARED: dict[str, int | None] = {
    "python": 2,
    "polars": None,
    "dask-polars": None,
    "dask": None,
    "distributed": None,
    "msgpack": 1,
}
# Importable, but not installed: there is no version to compare.
SOURCE_TREE = "source tree"
MISSING = "missing"

Report = Mapping[str, str]

# The function goes by value, as code of this version of Python: it must run where neither polars nor dask_polars is installed. `__main__` is what makes
# cloudpickle send a function by value; looking at metadata imports nothing, so that the event loop of a worker is not held up.
_PROBE_SOURCE = """
def dask_polars_probe(packages):
    import sys
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    found = {"python": "%d.%d.%d" % sys.version_info[:3]}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            known = find_spec(name.replace("-", "_")) is not None
            found[name] = "source tree" if known else "missing"
    return found
"""


class UnsupportedPolarsError(ImportError):
    """The installed Polars is not one that dask_polars was checked against."""


class VersionMismatchError(RuntimeError):
    """The processes of a cluster have different versions installed."""


def _make_probe(source: str = _PROBE_SOURCE, name: str = "dask_polars_probe") -> Callable:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(source, space)
    return space[name]


_probe = _make_probe()
_packages = [name for name in COMPARED if name != "python"]
# By client, the scheduler and the workers that were found to agree. Clients are forgotten when they are gone.
_checked: weakref.WeakKeyDictionary[Any, tuple[str, frozenset[str]]] = weakref.WeakKeyDictionary()


def _own_version() -> str:
    try:
        return version("dask-polars")
    except PackageNotFoundError:
        return f"({SOURCE_TREE})"


def check_local(installed: str | None = None) -> None:
    """
    Check that the installed Polars is supported.

    Parameters
    ----------
    installed : str, optional
        A version to look at in place of the installed one.

    Raises
    ------
    UnsupportedPolarsError
        If it is not.
    """
    found = version("polars") if installed is None else installed
    wanted = ",".join(SUPPORTED_POLARS)
    if Version(found) in SpecifierSet(wanted, prereleases=True):
        return
    newer = Version(found) >= Version(SUPPORTED_POLARS[1].lstrip("<"))
    supported = "not supported yet" if newer else "no longer supported"
    raise UnsupportedPolarsError(f"polars {found} is {supported} by dask_polars {_own_version()}, use polars{wanted}")


def check_cluster(client: Any) -> None:
    """
    Check that the scheduler and all workers of a client have the versions that the client has, and warn where there are no workers.

    Workers that were looked at before are not asked again, so that it can be called before every query: it then costs one
    question to the scheduler, of about a millisecond.

    Parameters
    ----------
    client : distributed.Client
        Nothing is checked for an asynchronous one, which must not be waited for; see :func:`check_cluster_async`.

    Raises
    ------
    VersionMismatchError
        With a table of who has what.

    Notes
    -----
    The scheduler counts as well: a graph arrives there as an expression, which the scheduler unpickles and turns into tasks
    (``Scheduler.update_graph``), and so does the specification of a shuffle. It needs polars and dask_polars.
    """
    if client.asynchronous:
        return
    scheduler, workers = _identity(client), frozenset(client.nthreads())
    _warn_without(workers)
    new = _unchecked(client, scheduler, workers)
    if new is None:
        return
    reports = client.run(_probe, _packages, workers=sorted(new), on_error="return") if new else {}
    own = client.run_on_scheduler(_probe, _packages)
    _conclude(client, scheduler, workers, own, reports)


async def check_cluster_async(client: Any) -> None:
    """Do what :func:`check_cluster` does, for an asynchronous client."""
    scheduler, workers = _identity(client), frozenset(await client.nthreads())
    _warn_without(workers)
    new = _unchecked(client, scheduler, workers)
    if new is None:
        return
    reports = await client.run(_probe, _packages, workers=sorted(new), on_error="return") if new else {}
    own = await client.run_on_scheduler(_probe, _packages)
    _conclude(client, scheduler, workers, own, reports)


def _warn_without(workers: frozenset[str]) -> None:
    """Say what is waited for, where a query would be silent until the first worker comes."""
    if not workers:
        from dask_polars.errors import level_of_user  # imports polars, whose version has to be looked at first

        warnings.warn(
            "the cluster has no workers: what is sent to it waits until one has come",
            RuntimeWarning,
            stacklevel=level_of_user(),
        )


def _identity(client: Any) -> str:
    # The address alone would take a scheduler that was started again for the one before.
    info = client.scheduler_info(n_workers=0)
    return f"{info.get('id')} {info.get('address')}"


def _unchecked(client: Any, scheduler: str, workers: frozenset[str]) -> frozenset[str] | None:
    """The workers to look at, or None if there is nothing to do."""
    known = _checked.get(client)
    if known is None or known[0] != scheduler:
        return workers
    return workers - known[1] or None


def _conclude(client: Any, scheduler: str, workers: frozenset[str], own: Report, reports: Mapping[str, Any]) -> None:
    # A worker that went away in the meantime, or is about to, answers with an exception: it is asked the next time.
    answered = {address: report for address, report in reports.items() if isinstance(report, Mapping)}
    problem = compare(_probe(_packages), own, answered)
    if problem:
        raise VersionMismatchError(problem)
    known = _checked.get(client)
    before = known[1] if known is not None and known[0] == scheduler else frozenset()
    _checked[client] = (scheduler, (before & workers) | frozenset(answered))


def compare(client: Report, scheduler: Report, workers: Mapping[str, Report]) -> str | None:
    """
    Say where versions differ from those of the client.

    Parameters
    ----------
    client, scheduler : mapping of str to str
        Package to version.
    workers : mapping of str to mapping
        The same by the address of a worker.

    Returns
    -------
    str or None
        A message with a table, or None if there is no difference that matters.
    """
    everyone = {"client": client, "scheduler": scheduler, **workers}
    differing = [
        package for package in COMPARED if any(not _agree(package, client, report) for report in everyone.values())
    ]
    if not differing:
        return None
    table = _table(differing, client, scheduler, workers)
    advice = [_advice(package, client, scheduler, workers) for package in differing]
    what = ["The processes of this cluster have different versions:", "", *table, "", *advice]
    return "\n".join(
        [*what, "Then start what was changed again: a process goes on with the packages that it has begun with."]
    )


def _agree(package: str, left: Report, right: Report) -> bool:
    one, other = left.get(package, MISSING), right.get(package, MISSING)
    if one == other:
        return one != MISSING
    if MISSING in (one, other):
        return False
    if SOURCE_TREE in (one, other):
        return True
    parts = COMPARED[package]
    return one.split(".")[:parts] == other.split(".")[:parts]


def _table(differing: list[str], client: Report, scheduler: Report, workers: Mapping[str, Report]) -> list[str]:
    rows = [["who", *differing]]
    rows += [
        [who, *(report.get(package, MISSING) for package in differing)]
        for who, report in (("client", client), ("scheduler", scheduler))
    ]
    # A cluster has many workers and few images: workers that have the same take one line.
    alike: dict[tuple[str, ...], list[str]] = {}
    for address, report in sorted(workers.items()):
        alike.setdefault(tuple(report.get(package, MISSING) for package in differing), []).append(address)
    for found, addresses in alike.items():
        more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        rows.append([f"worker {addresses[0]}{more}", *found])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _advice(package: str, client: Report, scheduler: Report, workers: Mapping[str, Report]) -> str:
    places = [] if _agree(package, client, scheduler) else ["the scheduler"]
    if not all(_agree(package, client, report) for report in workers.values()):
        places.append("the workers")
    where, wanted = " and ".join(places), client.get(package, MISSING)
    if package == "python":
        return f"Use Python {'.'.join(wanted.split('.')[:2])} on {where}."
    if wanted == MISSING:
        return f"Install {package} on the client, too."
    if wanted == SOURCE_TREE:
        return f"Install this source tree of {package} on {where}."
    return f"Run on {where}: pip install {package}=={wanted}"
