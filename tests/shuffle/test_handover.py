"""Shards in files of the sender."""

from __future__ import annotations

import asyncio
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from dask_polars.shuffle import handover
from dask_polars.shuffle.handover import hand_over, known_to_see, read_handed, sees_files

# Shards of two workers: some are empty, some longer than a page or than what is written at a time.
SHARDS = [[b"a" * 100, b"", b"b" * 5_000], [b"", b"c" * 200_000, bytes(range(256)) * 3]]


def test_what_is_handed_over_is_read(tmp_path: Path) -> None:
    handed = hand_over(tmp_path / "from-0", SHARDS)
    for one, shards in zip(handed, SHARDS, strict=True):
        again = pickle.loads(pickle.dumps(one))
        assert [bytes(read_handed([again], k)) for k in range(3)] == shards
    both = [bytes(read_handed(handed, k)) for k in range(3)]
    assert both == [SHARDS[0][k] + SHARDS[1][k] for k in range(3)]
    assert (tmp_path / "from-0").stat().st_size == sum(len(shard) for shards in SHARDS for shard in shards)


def test_files_that_are_gone_or_cut_off(tmp_path: Path) -> None:
    (first, second) = hand_over(tmp_path / "from-0", SHARDS)
    os.truncate(tmp_path / "from-0", 100_000)
    assert bytes(read_handed([first], 2)) == SHARDS[0][2]
    with pytest.raises(OSError, match="ends after 100000 bytes"):
        read_handed([second], 1)
    (tmp_path / "from-0").unlink()
    with pytest.raises(FileNotFoundError):
        read_handed([second], 1)
    assert bytes(read_handed([second], 0)) == b""  # of an output without rows nothing is read


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
    assert known_to_see(tmp_path / "shuffle-1", "tcp://x:1") is None
    assert asyncio.run(sees_files(tmp_path / "shuffle-1", "tcp://x:1", ask))
    assert asked == ["tcp://x:1"]
    assert known_to_see(tmp_path / "shuffle-2", "tcp://x:1")
    assert not list((tmp_path / "shuffle-1").iterdir())


def test_who_sees_another_file_or_none_does_not_see_it(tmp_path: Path, answers: list[Any]) -> None:
    async def another(*args: Any) -> bytes:
        return b"the same name on another disk"

    async def none(address: str, function: Any, path: str) -> Any:
        return function(path + "-elsewhere")

    run = tmp_path / "shuffle-1"
    run.mkdir()
    for address, answer in (("tcp://x:1", another), ("tcp://x:2", none)):
        assert not asyncio.run(sees_files(run, address, answer))
        assert known_to_see(run, address) is False


def test_a_worker_that_does_not_answer_is_asked_again(tmp_path: Path, answers: list[Any]) -> None:
    async def gone(*args: Any) -> bytes:
        raise OSError("connection lost")

    async def too_late(address: str, function: Any, path: str) -> Any:
        os.unlink(path)  # as when the run is closed meanwhile
        return function(path)

    for answer in (gone, too_late):
        assert not asyncio.run(sees_files(tmp_path, "tcp://x:1", answer))
        assert known_to_see(tmp_path, "tcp://x:1") is None
    assert asyncio.run(sees_files(tmp_path, "tcp://x:1", _ask_real))
