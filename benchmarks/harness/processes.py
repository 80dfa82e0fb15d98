"""Processes that are asked to do things, and that leave nothing behind."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class Died(RuntimeError):
    """The process has ended before it answered."""


class Child:
    """A process of Python with a line to it. It is the head of a group of processes, which ends with it.

    Parameters
    ----------
    module
        What it runs; it is given `--fd` with the number of its end of the line, and `arguments`.
    arguments
        Of the command line.
    log
        File that its output goes to.
    environment
        Variables that differ from those of this process.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "--fd", str(theirs.fileno()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**os.environ, **environment},
            )
            self.line = Connection(ours.detach())

    def ask(self, request: Any, timeout: float) -> Any:
        """Send a request and wait for the answer.

        Raises
        ------
        TimeoutError
            If there is none in `timeout` seconds.
        Died
            If the process has ended.
        """
        try:
            self.line.send(request)
            if not self.line.poll(timeout):
                raise TimeoutError(f"no answer in {timeout:g} seconds")
            return self.line.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError, pickle.UnpicklingError) as error:
            raise Died(f"ended with status {self._status()}") from error

    def _status(self) -> int | None:
        try:
            return self.process.wait(5)
        except subprocess.TimeoutExpired:
            return None

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return self.process.poll() is None

    def close(self, patience: float = 10.0) -> None:
        """Close the line, on which the process ends by itself; end it and what it has started if it does not."""
        self.line.close()
        deadline = time.monotonic() + patience
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.05)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def serve(fd: int, answer: Callable[[Any], Any]) -> None:
    """Answer what comes over the line, until it is closed: the other end of `Child`."""
    with Connection(fd) as line:
        while True:
            try:
                request = line.recv()
            except EOFError:
                return
            line.send(answer(request))


def be_killed_first() -> None:
    """Have Linux end this process and its children, and not others, when memory runs out."""
    file = Path("/proc/self/oom_score_adj")
    if file.exists():
        file.write_text("900")
