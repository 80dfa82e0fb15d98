"""What fsspec is told of Azure and Google Cloud Storage, so that it lists what Polars reads: no server is needed."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from dask_polars.dsl.codec import decode
from dask_polars.io import copies
from dask_polars.io.copies import copy_objects
from dask_polars.io.options import polars_options
from dask_polars.io.storage import Storage, canonical

EMULATOR = "http://127.0.0.1:10000/devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def _told(path: str, **given: Any) -> dict[str, Any]:
    """Give what fsspec is told, where a user says this."""
    options = polars_options(given, path)
    scan = pl.scan_parquet(path, storage_options=options, schema={"a": pl.Int64}, credential_provider=None)
    storage = Storage.of(decode(scan))
    return storage._fsspec_options("gs" if path.startswith("gs") else "az", path)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith(("AZURE_", "AZURITE_", "GOOGLE_")):
            monkeypatch.delenv(name)


AZURE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "az://c/k",
        {"account_name": "a", "account_key": "k=="},
        {
            "account_name": "a",
            "connection_string": "BlobEndpoint=https://a.blob.core.windows.net;AccountName=a;AccountKey=k==",
        },
    ),
    (
        "abfs://c/k",
        {"account_name": "a", "account_key": "k==", "endpoint": "http://h:1/a"},
        {"account_name": "a", "connection_string": "BlobEndpoint=http://h:1/a;AccountName=a;AccountKey=k=="},
    ),
    (
        "az://c/k",
        {"account_name": "a", "sas_token": "?sv=1&sig=x", "endpoint": "https://h/a"},
        {"account_name": "a", "connection_string": "BlobEndpoint=https://h/a;SharedAccessSignature=sv=1&sig=x"},
    ),
    (
        "abfss://c@b.dfs.core.windows.net/k",
        {"account_name": "a", "account_key": "k=="},  # Polars believes the path
        {
            "account_name": "b",
            "connection_string": "BlobEndpoint=https://b.blob.core.windows.net;AccountName=b;AccountKey=k==",
        },
    ),
    (
        "az://c/k",
        {"use_emulator": True},
        {
            "account_name": "devstoreaccount1",
            "connection_string": f"BlobEndpoint={EMULATOR};AccountName=devstoreaccount1;AccountKey={KEY}",
        },
    ),
    (
        "az://c/k",
        {"account_name": "a", "anon": True, "endpoint": "http://h:1/a"},
        {"account_name": "a", "anon": True, "connection_string": "BlobEndpoint=http://h:1/a"},
    ),
    (
        "az://c/k",
        {"account_name": "a", "client_id": "i", "client_secret": "s", "tenant_id": "t", "endpoint": "https://h/"},
        {"account_name": "a", "account_host": "h", "client_id": "i", "client_secret": "s", "tenant_id": "t"},
    ),
    ("az://c/k", {"account_name": "a"}, {"account_name": "a", "anon": False}),
]


@pytest.mark.parametrize(("path", "given", "expected"), AZURE)
def test_azure(path: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _told(path, **given) == expected


def test_azure_token() -> None:
    told = _told("az://c/k", account_name="a", bearer_token="t", endpoint="https://h")
    assert told.pop("credential") is not None
    assert told == {"account_name": "a", "account_host": "h"}


def test_azure_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", "http://127.0.0.1:5")
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    emulated = "BlobEndpoint=http://127.0.0.1:5/devstoreaccount1;AccountName=devstoreaccount1;AccountKey="
    assert _told("az://c/k")["connection_string"].startswith(emulated)
    monkeypatch.delenv("AZURE_STORAGE_USE_EMULATOR")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://h:1/a")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "a")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "k==")
    assert _told("az://c/k")["connection_string"] == "BlobEndpoint=http://h:1/a;AccountName=a;AccountKey=k=="


def test_another_account_in_the_environment_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=other;AccountKey=s3cret")
    for secret in ({"account_key": "k=="}, {"sas_token": "sig=x"}, {"anon": True}):
        assert "a.blob.core.windows.net" in _told("az://c/k", account_name="a", **secret)["connection_string"]
    with pytest.raises(ValueError, match="another account than a") as caught:
        _told("az://c/k", account_name="a")
    assert "s3cret" not in str(caught.value)
    assert _told("az://c/k", account_name="other") == {"account_name": "other", "anon": False}


def test_google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulated = {"gcs_base_url": "http://h:1", "disable_oauth": True, "client_email": "", "private_key": ""}
    expected = {"endpoint_url": "http://h:1", "token": "anon"}
    assert _told("gs://b/k", google_service_account_key=json.dumps(emulated)) == expected
    (tmp_path / "account.json").write_text(json.dumps(emulated))
    assert _told("gs://b/k", google_service_account=str(tmp_path / "account.json")) == expected
    assert _told("gs://b/k", google_base_url="http://h:1", google_skip_signature="true") == expected
    with pytest.raises(FileNotFoundError, match=r"no-such\.json"):
        _told("gs://b/k", google_service_account="/no-such.json")
    for wrong in ('["s3cret"]', '{"private_key": s3cret'):
        with pytest.raises(ValueError, match="is not the JSON of an account") as caught:
            _told("gs://b/k", google_service_account_key=wrong)
        assert caught.value.__context__ is None
    account = {"type": "service_account", "client_email": "e", "private_key": "p"}
    assert _told("gs://b/k", google_service_account_key=json.dumps(account)) == {"token": account}
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
    assert _told("gs://b/k") == expected


def test_schemes() -> None:
    assert canonical("azure://c/a://b") == "az://c/a://b"
    assert canonical("gcp://b/k") == "gs://b/k"
    assert canonical("s3://b/k") == "s3://b/k"
    assert canonical("/data/k") == "/data/k"


class _Azure:
    """As adlfs, whose copies are begun and not waited for."""

    def __init__(self, *states: str) -> None:
        self.states: list[str] = list(states)
        self.loop = asyncio.new_event_loop()
        self.service_client = self
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def copy(self, sources: list[str], finals: list[str]) -> None:
        assert len(sources) == len(finals)

    def split_path(self, path: str) -> tuple[str, str, None]:
        container, key = path.split("/", 1)
        return container, key, None

    @asynccontextmanager
    async def get_blob_client(self, container: str, key: str) -> Any:
        yield self

    async def get_blob_properties(self) -> Any:
        return SimpleNamespace(copy=SimpleNamespace(status=self.states.pop(0), status_description="why"))


def test_copies_of_azure_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_PAUSE", 0.0)
    fs = _Azure("pending", "pending", "success")
    copy_objects(fs, ["c/a"], ["c/b"])
    assert fs.states == []
    with pytest.raises(OSError, match="c/b: failed \\(why\\)"):
        copy_objects(_Azure("pending", "failed"), ["c/a"], ["c/b"])
