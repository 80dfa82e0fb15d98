"""What the scheduler logs of each shuffle that goes well, which it does as a warning."""

from __future__ import annotations

import logging

_LOGGER = "distributed.shuffle._scheduler_plugin"
_ROUTINE = ("Shuffle %s initialized by task", "Shuffle %s deactivated due to")
_ID_LENGTH = 20  # of the hashes in the names of our tasks; other shuffles have all 32 letters of `dask.tokenize`


class _LeaveOut(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        routine = isinstance(record.msg, str) and record.msg.startswith(_ROUTINE)
        return not (routine and isinstance(record.args, tuple) and len(str(record.args[0])) == _ID_LENGTH)


_FILTER = _LeaveOut()


def leave_out_routine() -> None:
    """
    Have a scheduler of this process not warn of shuffles of ours that begin and end.

    A cluster on this machine logs to the terminal or the notebook of its user, who takes a warning for something that is wrong. What is
    wrong (a shuffle that starts again) is still said, and so is what is said of the shuffles of others.
    """
    logging.getLogger(_LOGGER).addFilter(_FILTER)  # once, however often it is called
