"""
Copies within an object store that appear together, as far as it can do that.

S3 has no renames, but an upload in parts becomes an object only when it is completed, and its parts may be copies. So the
server copies first, which takes as long as the files are large and shows nothing; to complete the uploads is one short request for
each. Other stores copy when it is their turn to appear. Azure may answer before it has copied: :func:`copy_objects` waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fsspec.asyn import sync

_AT_A_TIME = 32  # requests; a store answers many at a time
_PAUSE = 0.2  # seconds
_PART = 256 * 2**20  # bytes; S3 takes parts of 5 MiB to 5 GiB


@dataclass(frozen=True)
class Copy:
    """
    A file, and where it is to appear.

    Parameters
    ----------
    source, final
        Paths as the file system writes them.
    bytes
        Its size.
    """

    source: str
    final: str
    bytes: int


@dataclass
class Copies:
    """
    Copies that are made in two steps: what takes long, and what is seen.

    Parameters
    ----------
    fs
        A file system of fsspec.
    copies
        What is copied.
    """

    fs: Any
    copies: Sequence[Copy]
    _uploads: dict[Copy, dict[str, Any]] = field(default_factory=dict)

    @property
    def _in_parts(self) -> bool:
        # One object appears at once in any case.
        return hasattr(self.fs, "call_s3") and len(self.copies) > 1

    def prepare(self) -> None:
        """Copy what can be copied without being seen; what was prepared before an error is given up."""
        if not self._in_parts:
            return
        try:
            _each(self._upload, self.copies)
        except BaseException:
            self.abort()
            raise

    def appear(self) -> None:
        """Have all files appear. After an error some of them may have; the others will not."""
        try:
            if self._in_parts:
                _each(self._complete, self.copies)
            elif self.copies:
                copy_objects(self.fs, [copy.source for copy in self.copies], [copy.final for copy in self.copies])
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Give up what was prepared and has not appeared: the store would keep, and charge for, its parts."""
        _each(self._abort, list(self._uploads))

    def _upload(self, copy: Copy) -> None:
        place = self._place(copy)
        upload = self.fs.call_s3("create_multipart_upload", **place)["UploadId"]
        self._uploads[copy] = {**place, "UploadId": upload}
        parts = []
        for number, first in enumerate(range(0, max(copy.bytes, 1), _PART), start=1):
            where = {**self._uploads[copy], "PartNumber": number}
            parts.append({"PartNumber": number, "ETag": self._part(copy, first, where)})
        self._uploads[copy]["MultipartUpload"] = {"Parts": parts}

    def _part(self, copy: Copy, first: int, where: dict[str, Any]) -> str:
        if not copy.bytes:  # nothing cannot be copied as a part
            empty: str = self.fs.call_s3("upload_part", **where, Body=b"")["ETag"]
            return empty
        last = min(first + _PART, copy.bytes) - 1
        bucket, key, _ = self.fs.split_path(copy.source)
        source = {"CopySource": {"Bucket": bucket, "Key": key}, "CopySourceRange": f"bytes={first}-{last}"}
        tag: str = self.fs.call_s3("upload_part_copy", **where, **source)["CopyPartResult"]["ETag"]
        return tag

    def _complete(self, copy: Copy) -> None:
        try:
            self.fs.call_s3("complete_multipart_upload", **self._uploads[copy])
        except FileNotFoundError:
            # There is no such upload: the request was answered before, and the answer lost. Nobody else knows of the upload.
            if self.fs.info(copy.final, refresh=True)["size"] != copy.bytes:
                raise
        del self._uploads[copy]

    def _abort(self, copy: Copy) -> None:
        # What cannot be given up is seen by nobody; the error that led here says why.
        with suppress(Exception):
            upload = self._uploads[copy]["UploadId"]
            self.fs.call_s3("abort_multipart_upload", **self._place(copy), UploadId=upload)
            del self._uploads[copy]

    def _place(self, copy: Copy) -> dict[str, str]:
        bucket, key, _ = self.fs.split_path(copy.final)
        return {"Bucket": bucket, "Key": key}


def copy_objects(fs: Any, sources: Sequence[str], finals: Sequence[str]) -> None:
    """
    Have the server copy objects, and wait until it has.

    Parameters
    ----------
    fs
        A file system of fsspec.
    sources, finals
        Paths as the file system writes them.

    Raises
    ------
    OSError
        If the server began a copy and gave it up.
    """
    fs.copy(list(sources), list(finals))
    if hasattr(fs, "service_client"):  # adlfs asks for copies, and does not wait for them
        sync(fs.loop, _all_copied, fs, finals)


async def _all_copied(fs: Any, names: Sequence[str]) -> None:
    free = asyncio.Semaphore(_AT_A_TIME)

    async def wait(name: str) -> None:
        container, key, _ = fs.split_path(name)
        async with free, fs.service_client.get_blob_client(container, key) as blob:
            while (state := (await blob.get_blob_properties()).copy).status == "pending":
                await asyncio.sleep(_PAUSE)
        if state.status not in (None, "success"):
            raise OSError(f"Azure did not copy to {name}: {state.status} ({state.status_description})")

    await asyncio.gather(*map(wait, names))


def _each(function: Callable[[Copy], None], copies: Sequence[Copy]) -> None:
    """Call a function with each of them, many at a time; after the first error with no more."""
    with ThreadPoolExecutor(_AT_A_TIME, "dask-polars-copies") as pool:
        try:
            for _ in pool.map(function, copies):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
