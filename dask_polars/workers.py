"""
How worker processes are set up: their threads, and what Dask knows of Polars in them.

Polars has one pool of threads per process, whatever number of tasks runs there at a time, and reads its size from
``POLARS_MAX_THREADS`` when it starts. So the pool of a worker should be as large as the number of its Dask threads, which is its
share of the machine. The variable must be there before the process is: a worker that is spawned imports the user's main module
first, and with it Polars. Only the nanny can do that, so that is where it is done (:func:`install_preloads`); where there is
no nanny of ours, there is a warning (:func:`ensure_worker_threads`).
"""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import dask.config
from dask.system import CPU_COUNT
from distributed import Nanny, Worker

from dask_polars import backend
from dask_polars.shuffle.log import leave_out_routine
from dask_polars.versions import _make_probe

VARIABLE = "POLARS_MAX_THREADS"

# The text of a module and not its name: the configuration also reaches machines where dask_polars is not installed (SSHCluster
# sends it), whose workers must start all the same. A worker logs the text when it starts, and SSHCluster takes a blank line in what
# a worker logs for its end: so there is none in the text, and it does not end with a new line.
PRELOAD = """\
try:
    from dask_polars.workers import dask_setup
except ImportError:
    pass"""

# What spawning workers has left in our own environment is not what the user has set.
_values_set_by_us: set[str] = set()

_PROBE_SOURCE = """
def dask_polars_threads(dask_worker):
    import os
    import socket
    import sys

    polars = sys.modules.get("polars")
    # Asking starts the pool, which then has its size for good; the variable says as much without that.
    given = os.environ.get("POLARS_MAX_THREADS")
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    try:
        from dask.system import CPU_COUNT

        cores = min(cores, CPU_COUNT)
    except ImportError:
        pass
    if polars is not None:
        threads = polars.thread_pool_size()
    else:
        threads = int(given) if given else cores
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "nthreads": dask_worker.state.nthreads,
        "polars": threads,
        "cores": cores,
    }
"""
_probe = _make_probe(_PROBE_SOURCE, "dask_polars_threads")

_PLUGIN_SOURCE = """
from importlib.metadata import version
from logging import getLogger

from distributed import WorkerPlugin

class DaskPolarsBackend(WorkerPlugin):
    name = "dask-polars-backend"
    idempotent = True

    def __init__(self, polars):
        self.polars = polars  # the version of the client

    async def setup(self, worker):
        try:
            from dask_polars.backend import enable_wire

            found = version("polars")
        except ImportError as error:
            await self.warn(worker, str(error))
            return
        if found != self.polars:
            await self.warn(worker, "it has polars " + found + ", and the client " + self.polars)
        enable_wire()

    async def warn(self, worker, reason):
        text = "dask_polars: a worker has joined the cluster that cannot run its queries: " + reason
        getLogger("distributed.worker").warning(text)
        # Without the address, so that clients show it once for many workers that are alike. It is waited for, since the worker may
        # be gone when it has read its first tasks.
        text += ". `dask-polars doctor` tells who has what"
        await worker.scheduler.log_event(topic="warn", msg=text)
"""

Report = Mapping[str, Any]


class OversubscriptionWarning(UserWarning):
    """The workers of a machine have more Polars threads than the machine has cores."""


def backend_plugin() -> Any:
    """
    Make the plugin that makes Polars frames known to Dask on every worker, also on those that join later.

    Returns
    -------
    distributed.WorkerPlugin
        Its class goes by value, as code of this version of Python: a worker that cannot read its plugins stays on the list of the scheduler, is given
        tasks and never runs them. So one that lacks dask_polars, or has another Polars, starts all the same, and the clients
        warn of it (:func:`dask_polars.versions.check_cluster` refuses those that are there before a query).
    """
    return _make_probe(_PLUGIN_SOURCE, "DaskPolarsBackend")(version("polars"))


def dask_setup(server: Any) -> None:
    """
    Set a worker or its nanny up; the entry point of a Dask preload.

    Parameters
    ----------
    server : distributed.Nanny or distributed.Worker
        A nanny starts its worker with as many Polars threads as it has Dask threads, unless ``POLARS_MAX_THREADS`` is set.
        In a worker, Dask is told about Polars frames.
    """
    if isinstance(server, Nanny):
        _limit_threads(server)
    elif isinstance(server, Worker):
        backend.enable_wire()


def _limit_threads(nanny: Nanny) -> None:
    if VARIABLE in nanny.env or _set_by_user():
        return
    value = str(min(nanny.nthreads, CPU_COUNT))
    # `pre_spawn_env` is in place before the process starts, but is shared by the nannies of a process;
    # `env` is the worker's own, and comes too late if the user's main module imports polars.
    nanny.pre_spawn_env[VARIABLE] = value
    nanny.env[VARIABLE] = value
    _values_set_by_us.add(value)


def _set_by_user() -> bool:
    value = os.environ.get(VARIABLE)
    return value is not None and value not in _values_set_by_us


def install_preloads() -> None:
    """
    Have the workers that are started from this process from now on set up by :func:`dask_setup`.

    It adds to ``distributed.nanny.preload`` and ``distributed.worker.preload`` of the configuration, once.
    """
    for server in ("nanny", "worker"):
        key = f"distributed.{server}.preload"
        # Arguments that the user has given belong to the user's preloads, one by one.
        if dask.config.get(f"{key}-argv", None):
            continue
        present = dask.config.get(key, None) or []
        present = [present] if isinstance(present, str) else list(present)
        if PRELOAD not in present:
            dask.config.set({key: [*present, PRELOAD]})


# --------------------------------------------------------------------------------------------------------------------
# workers that are there already

_lock = threading.Lock()
_prepared: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def prepare_workers(client: Any) -> None:
    """
    Set the workers of a client up: Dask is told about Polars frames there, and their threads are looked at.

    Something is done once for every scheduler that a client is connected to; workers that join later are taken care of.

    Parameters
    ----------
    client : distributed.Client
        Nothing is done for an asynchronous one, which must not be waited for; see :func:`prepare_workers_async`.
    """
    if client.asynchronous or not _is_first_use(client):
        return
    leave_out_routine()
    try:
        client.register_plugin(backend_plugin())
    except BaseException:
        _prepared.pop(client, None)
        raise
    backend.enable_wire()
    ensure_worker_threads(client)


async def prepare_workers_async(client: Any) -> None:
    """Do what :func:`prepare_workers` does, for an asynchronous client."""
    if not _is_first_use(client):
        return
    leave_out_routine()
    try:
        await client.register_plugin(backend_plugin())
    except BaseException:
        _prepared.pop(client, None)
        raise
    backend.enable_wire()
    _warn((await client.run(_probe, on_error="return")).values())


def _is_first_use(client: Any) -> bool:
    # The address of the connection is known without a question to the scheduler.
    address = str(getattr(client.scheduler, "address", ""))
    with _lock:
        if _prepared.get(client) == address:
            return False
        _prepared[client] = address
        return True


def ensure_worker_threads(client: Any) -> None:
    """
    Warn if the workers of a machine have more Polars threads than it has cores.

    Workers are not changed: the size of a pool cannot be, and to start workers again would lose what they hold.

    Parameters
    ----------
    client : distributed.Client
        Nothing is done for an asynchronous one.

    Warns
    -----
    OversubscriptionWarning
        With what to set.
    """
    if not client.asynchronous:
        _warn(client.run(_probe, on_error="return").values())


def _warn(reports: Iterable[Any]) -> None:
    problem = describe_threads([report for report in reports if isinstance(report, Mapping)])
    if problem:
        warnings.warn(problem, OversubscriptionWarning, stacklevel=3)


def describe_threads(reports: Iterable[Report]) -> str | None:
    """
    Say which machines have too many Polars threads.

    Parameters
    ----------
    reports : iterable of mapping
        ``host``, ``pid``, ``nthreads``, ``polars`` and ``cores`` of every worker.

    Returns
    -------
    str or None
        A message for the user, or None if all is well.
    """
    hosts: dict[str, dict[int, Report]] = {}
    for report in reports:
        # Workers of one process share a pool.
        hosts.setdefault(report["host"], {})[report["pid"]] = report
    crowded = {}
    for host, processes in hosts.items():
        # One process alone is as it would be without Dask.
        total, cores = sum(r["polars"] for r in processes.values()), max(r["cores"] for r in processes.values())
        if len(processes) > 1 and total > cores:
            crowded[host] = (total, cores, len(processes), max(r["nthreads"] for r in processes.values()))
    if not crowded:
        return None
    worst, (threads, cores, count, nthreads) = max(crowded.items(), key=lambda item: item[1][0] / item[1][1])
    others = f" (and {len(crowded) - 1} more machines like it)" if len(crowded) > 1 else ""
    share = max(1, min(nthreads, cores // count))
    return (
        f"{worst}{others} has {cores} cores, but its {count} worker processes have {threads} Polars threads, which slows all "
        f"of them down. Set the environment variable {VARIABLE}={share} where the workers are started (before `dask worker`). "
        "A LocalCluster that is created after `import dask_polars` does this by itself."
    )
