"""The command ``dask-polars``: scripts of Polars on a cluster, what they would do there, and whether a cluster is fit for it."""

from __future__ import annotations

import contextlib
import itertools
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import polars as pl

FALLBACKS = click.Choice(["warn", "raise", "silent"])
_SCRIPT = {"ignore_unknown_options": True, "allow_interspersed_args": False}


class _ScriptCommand(click.Command):
    """A command with a script: its options may come behind the script, too, whose arguments are all others, and what follows --."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for option in self.params if isinstance(option, click.Option) for name in option.opts}
        options: list[str] = []
        others: list[str] = []
        items = iter(args)
        for item in items:
            if item == "--":
                others.extend(items)
            elif item.partition("=")[0] in own:
                options.extend([item] if "=" in item else [item, *itertools.islice(items, 1)])
            else:
                others.append(item)
        return super().parse_args(ctx, options + others)


def _on_cluster(command: Any) -> Any:
    """Add the options that say where queries run."""
    workers = click.option(
        "--workers", type=click.IntRange(1), help="Start this many worker processes on this machine, for this run."
    )
    return click.option("--scheduler", help="The address of a scheduler, as tcp://host:8786.")(workers(command))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dask-polars")
def cli() -> None:
    """Polars on a Dask cluster."""


@cli.command(cls=_ScriptCommand, context_settings=_SCRIPT)
@_on_cluster
@click.option("--fallback", type=FALLBACKS, help="What to do with an operation that is not distributed.")
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(
    script: Path, arguments: tuple[str, ...], scheduler: str | None, workers: int | None, fallback: str | None
) -> None:
    """
    Run a script of Polars, unchanged, with its queries on a cluster.

    Queries of lazy frames run there that the script collects or writes without naming an engine of its own. Without
    --scheduler and --workers the configured scheduler is used (DASK_SCHEDULER_ADDRESS), or a local cluster is started.
    All other arguments are those of the script, and so is all that follows a --.
    """
    from dask_polars.engine import DaskEngine

    with _as_program(script, arguments), connected(scheduler, workers) as client:
        _run_script(script, DaskEngine(client, fallback=fallback))


@cli.command(cls=_ScriptCommand, context_settings=_SCRIPT)
@_on_cluster
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def explain(script: Path, arguments: tuple[str, ...], scheduler: str | None, workers: int | None) -> None:
    """
    Print the distributed plan of each query that a script would run.

    No query runs. What the script gets in place of a result is a frame with the right columns and no rows, and what it
    would write is not written; the rest of the script runs, so plans that depend on results may be others. It stops
    where the script fails for want of rows. Without --scheduler plans are those for a machine with no cluster. All other
    arguments are those of the script, and so is all that follows a --.
    """
    from dask_polars.trial import ExplainingEngine

    with contextlib.ExitStack() as stack:
        stack.enter_context(_as_program(script, arguments))
        client = stack.enter_context(connected(scheduler, workers)) if scheduler or workers else None
        engine = ExplainingEngine(click.echo, client)
        try:
            _run_script(script, engine)
        except Exception as error:
            if not engine.count:
                raise
            click.echo(
                f"The script stopped, after {engine.count} queries whose results had no rows here, with "
                f"{type(error).__name__}: {error}",
                err=True,
            )
            sys.exit(1)
    if not engine.count:
        click.echo(f"{script} runs no lazy query that Polars would leave to its engine.", err=True)


@cli.command()
@_on_cluster
@click.option("--s3", metavar="URL", help="Also look whether client and workers can list this, as s3://bucket/path.")
def doctor(scheduler: str | None, workers: int | None, s3: str | None) -> None:
    """
    Look whether a cluster is fit for queries.

    It prints versions, threads, memory and spill directories of client, scheduler and workers, and ends with status 1 if
    there is a problem.
    """
    from dask_polars.doctor import examine

    with connected(scheduler, workers) as client:
        report = examine(client, s3)
    click.echo(report.text())
    sys.exit(1 if report.problems else 0)


@cli.command()
@_on_cluster
@click.option("--rows", type=click.IntRange(1), default=5_000_000, show_default=True, help="Rows of the larger table.")
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True, help="Runs of each query.")
@click.option(
    "--directory", type=click.Path(file_okay=False, path_type=Path), help="Where data is made; all must see it."
)
def bench(scheduler: str | None, workers: int | None, rows: int, repeat: int, directory: Path | None) -> None:
    """
    Time four queries on Polars here and on the cluster, on data that is made for it.

    Workers on other machines need a --directory that they see, too. This says what a cluster costs and gives for data of
    this size; the benchmarks of the project compare more, and more carefully.
    """
    from dask_polars.bench import compare

    with connected(scheduler, workers) as client:
        click.echo(compare(client, rows, repeat, directory))


@contextlib.contextmanager
def connected(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """
    Connect to a cluster, or start one for as long as it is needed.

    Parameters
    ----------
    scheduler : str, optional
        The address of a scheduler.
    workers : int, optional
        How many worker processes to start here.

    Yields
    ------
    distributed.Client

    Raises
    ------
    click.UsageError
        For both of them, or where nobody answers at the address.
    """
    import dask
    from distributed import Client, LocalCluster

    if scheduler and workers:
        raise click.UsageError("--scheduler names a cluster that is there, --workers starts one: give one of them")
    address = scheduler or (None if workers else dask.config.get("scheduler-address", None))
    with contextlib.ExitStack() as stack:
        if address is None:
            threads = 1 if workers else None
            place: Any = stack.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=threads, dashboard_address=":0")
            )
        else:
            place = address
        try:
            client = stack.enter_context(Client(place))
        except (OSError, TimeoutError, ValueError) as error:
            raise click.UsageError(f"no scheduler answers at {address}: {error}") from error
        yield client


@contextlib.contextmanager
def _as_program(script: Path, arguments: Sequence[str]) -> Iterator[None]:
    """Have the arguments and the path of modules that a script has; workers that are started take over the path."""
    before, path = sys.argv, list(sys.path)
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = before, path


def _run_script(script: Path, engine: Any) -> None:
    with pl.Config(engine_affinity=engine):
        runpy.run_path(str(script), run_name="__main__")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line otherwise.

    Returns
    -------
    int
        The status to end with; scripts and problems end it earlier, with ``SystemExit``.
    """
    cli.main(args=None if arguments is None else list(arguments), prog_name="dask-polars")
    return 0
