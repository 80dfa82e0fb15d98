"""Shards in files of the sender."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

from dask_polars.shuffle import handover
from dask_polars.shuffle.handover import hand_over, sees_files

# Shards of two workers: some are empty, some longer than a page or than what is written at a time.
SHARDS = [[b"a" * 100, b"", b"b" * 5_000], [b"", b"c" * 200_000, bytes(range(256)) * 3]]


def test_what_is_handed_over_is_read(tmp_path: Path) -> None:
    handed = hand_over(tmp_path / "from-0", SHARDS)
    for one, shards in zip(handed, SHARDS, strict=True):
        again = pickle.loads(pickle.dumps(one))
        assert [bytes(again.read(k)) for k in range(3)] == shards
    assert (tmp_path / "from-0").stat().st_size == sum(len(shard) for shards in SHARDS for shard in shards)


def test_what_was_read_outlives_the_file(tmp_path: Path) -> None:
    (_, second) = hand_over(tmp_path / "from-0", SHARDS)
    view = second.read(1)
    (tmp_path / "from-0").unlink()
    assert bytes(view) == SHARDS[1][1]
    with pytest.raises(FileNotFoundError):
        second.read(1)
    assert second.read(0) == b""  # of an output without rows nothing is read


def test_a_file_is_written_once(tmp_path: Path) -> None:
    hand_over(tmp_path / "from-0", SHARDS)
    with pytest.raises(FileExistsError):
        hand_over(tmp_path / "from-0", SHARDS)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What other workers answer, one after the other."""
    monkeypatch.setattr(handover, "_known", {})
    return []


async def _ask_real(address: str, function: Any, *args: Any) -> Any:
    return function(*args)


def test_who_sees_files_is_asked_once(tmp_path: Path, answers: list[Any]) -> None:
    asked: list[str] = []

    async def ask(address: str, function: Any, *args: Any) -> Any:
        asked.append(address)
        return await _ask_real(address, function, *args)

    for run in ("shuffle-1", "shuffle-2"):
        (tmp_path / run).mkdir()
        assert asyncio.run(sees_files(tmp_path / run, "tcp://x:1", ask))
    assert asked == ["tcp://x:1"]
    assert not list((tmp_path / "shuffle-1").iterdir())


def test_who_sees_another_file_or_none_does_not_see_it(tmp_path: Path, answers: list[Any]) -> None:
    async def another(*args: Any) -> bytes:
        return b"the same name on another disk"

    async def none(address: str, function: Any, path: str) -> Any:
        return function(path + "-elsewhere")

    assert not asyncio.run(sees_files(tmp_path, "tcp://x:1", another))
    assert not asyncio.run(sees_files(tmp_path, "tcp://x:2", none))


def test_a_worker_that_does_not_answer_is_asked_again(tmp_path: Path, answers: list[Any]) -> None:
    async def gone(*args: Any) -> bytes:
        raise OSError("connection lost")

    assert not asyncio.run(sees_files(tmp_path, "tcp://x:1", gone))
    assert asyncio.run(sees_files(tmp_path, "tcp://x:1", _ask_real))
