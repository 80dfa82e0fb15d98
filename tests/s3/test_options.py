"""`storage_options` in the words of fsspec and of Polars, the environment, profiles and credential providers."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import dask_polars as dp
from dask_polars.dsl.codec import decode
from dask_polars.io.options import polars_options
from dask_polars.io.storage import Storage
from tests.s3.conftest import KEY, SECRET, TOKEN, Bucket, collect

TIMEOUT = {"timeout": "300 seconds"}

TRANSLATIONS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "s3://b/k",
        {"key": "k", "secret": "s", "token": "t"},
        {"aws_access_key_id": "k", "aws_secret_access_key": "s", "aws_session_token": "t"},
    ),
    ("s3://b/k", {"anon": True, "default_block_size": 5, "requester_pays": False}, {"aws_skip_signature": "true"}),
    ("s3a://b/k", {"anon": False, "profile": "p", "use_ssl": True}, {"aws_profile": "p"}),
    (
        "s3://b/k",
        {"client_kwargs": {"endpoint_url": "http://h:1", "region_name": "r", "verify": False}},
        {
            "aws_endpoint_url": "http://h:1",
            "aws_region": "r",
            "allow_invalid_certificates": "true",
            "allow_http": "true",
        },
    ),
    (
        "s3://b/k",
        {
            "config_kwargs": {
                "retries": {"total_max_attempts": 4},
                "s3": {"addressing_style": "virtual"},
                "read_timeout": 5,
            }
        },
        {"max_retries": 3, "aws_virtual_hosted_style_request": "true", "timeout": "5 seconds"},
    ),
    (
        "s3://b/k",
        {"s3_additional_kwargs": {"ServerSideEncryption": "AES256"}},
        {"aws_server_side_encryption": "AES256"},
    ),
    (
        "s3://b/k",
        {"AWS_REGION": "r", "max_retries": 2, "aws_allow_http": True},
        {"AWS_REGION": "r", "max_retries": 2, "aws_allow_http": "true"},
    ),
    ("gs://b/k", {"token": "anon", "project": "p"}, {"google_skip_signature": "true"}),
    ("gs://b/k", {"token": {"type": "service_account"}}, {"google_service_account_key": '{"type": "service_account"}'}),
    ("gcs://b/k", {"token": "ya29.x"}, {"bearer_token": "ya29.x"}),
    (
        "az://c/k",
        {"account_name": "a", "account_key": "k"},
        {"azure_storage_account_name": "a", "azure_storage_account_key": "k"},
    ),
    (
        "abfs://c/k",
        {"account_name": "a", "sas_token": "k"},
        {"azure_storage_account_name": "a", "azure_storage_sas_token": "k"},
    ),
    (
        "az://c/k",
        {"connection_string": "AccountName=a;AccountKey=k==;EndpointSuffix=core.windows.net"},
        {"azure_storage_account_name": "a", "azure_storage_account_key": "k=="},
    ),
    (
        "az://c/k",
        {"connection_string": "AccountName=a;AccountKey=k==;EndpointSuffix=core.chinacloudapi.cn"},
        {
            "azure_storage_account_name": "a",
            "azure_storage_account_key": "k==",
            "azure_storage_endpoint": "https://a.blob.core.chinacloudapi.cn",
        },
    ),
    (
        "az://c/k",
        {"connection_string": "AccountName=a;AccountKey=k==;BlobEndpoint=http://127.0.0.1:10000/a;"},
        {
            "azure_storage_account_name": "a",
            "azure_storage_account_key": "k==",
            "azure_storage_endpoint": "http://127.0.0.1:10000/a",
            "allow_http": "true",
        },
    ),
    ("az://c/k", {"connection_string": "UseDevelopmentStorage=true"}, {"azure_storage_use_emulator": "true"}),
    (
        "az://c/k",
        {"account_name": "a", "account_host": "a.blob.core.usgovcloudapi.net"},
        {
            "azure_storage_account_name": "a",
            "azure_storage_endpoint": "https://a.blob.core.usgovcloudapi.net",
        },
    ),
]


@pytest.mark.parametrize(("path", "given", "expected"), TRANSLATIONS)
def test_names_of_fsspec(path: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    found = polars_options(given, path)
    assert found == {**TIMEOUT, **expected}
    pl.scan_parquet(path, storage_options=found, schema={"a": pl.Int64})  # Polars takes them


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("s3://b/k", {"sekret": SECRET}, "'sekret'"),
    ("s3://b/k", {"secret": {"a": SECRET}}, "'secret' must be text"),
    ("s3://b/k", {"aws_secret_access_key": 5}, "'aws_secret_access_key' must be text"),
    ("s3://b/k", {"client_kwargs": {"sekret": SECRET}}, "'sekret' in 'client_kwargs'"),
    ("s3://b/k", {"client_kwargs": SECRET}, "'client_kwargs' must be a dict"),
    ("s3://b/k", {"secret": SECRET, "aws_secret_access_key": "x"}, "twice"),
    ("s3://b/k", {"session": object()}, "'session'"),
    ("s3://b/k", {"max_retries": SECRET}, "'max_retries' must be a number"),
    ("gs://b/k", {"token": object()}, "credential_provider"),
    ("az://b/k", {"credential": object()}, "credential_provider"),
]


@pytest.mark.parametrize(("path", "given", "message"), WRONG)
def test_wrong_options_are_named_and_their_values_are_not(path: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        dp.scan_parquet(path, storage_options=given)
    assert SECRET not in str(caught.value)


def test_local_files_need_no_options(tmp_path: Path) -> None:
    pl.DataFrame({"v": [1]}).write_parquet(tmp_path / "x.parquet")
    assert dp.scan_parquet(tmp_path / "x.parquet", storage_options={"key": "k"}).collect(scheduler="sync").height == 1


@pytest.fixture
def filled(bucket: Bucket) -> Bucket:
    for part in range(3):
        bucket.write(f"t/{part}.parquet", pl.DataFrame({"v": [part]}))
    return bucket


def _check(filled: Bucket, **options: Any) -> None:
    """Read by planning, which lists with fsspec, and by Polars."""
    lf = dp.scan_parquet(f"{filled.url}/t/*.parquet", **options)
    assert collect(lf, 1, scheduler="sync")["v"].to_list() == [0, 1, 2]


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return monkeypatch


@pytest.mark.parametrize("endpoint", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"])
def test_environment(filled: Bucket, no_environment: pytest.MonkeyPatch, endpoint: str) -> None:
    no_environment.setenv("AWS_ACCESS_KEY_ID", KEY)
    no_environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    no_environment.setenv("AWS_REGION", "us-east-1")
    no_environment.setenv(endpoint, filled.endpoint)
    _check(filled)


def test_profile(filled: Bucket, no_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = f"[profile me]\nregion = us-east-1\nendpoint_url = {filled.endpoint}\n"
    (tmp_path / "config").write_text(config)
    (tmp_path / "credentials").write_text(f"[me]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    _check(filled, storage_options={"profile": "me"})
    no_environment.setenv("AWS_PROFILE", "me")
    _check(filled)


def test_anonymous(filled: Bucket, no_environment: pytest.MonkeyPatch) -> None:
    filled.client.put_bucket_acl(Bucket=filled.name, ACL="public-read")
    for part in range(3):
        filled.client.put_object_acl(Bucket=filled.name, Key=f"t/{part}.parquet", ACL="public-read")
    _check(filled, storage_options={"anon": True, "endpoint_url": filled.endpoint})
    no_environment.setenv("AWS_SKIP_SIGNATURE", "true")
    _check(filled, storage_options={"endpoint_url": filled.endpoint})


class Provider:
    """A credential provider of a user, that counts how often it is asked."""

    asked = 0

    def __call__(self) -> tuple[dict[str, str], int | None]:
        Provider.asked += 1
        credentials = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_session_token": TOKEN}
        return credentials, int(datetime.datetime.now().timestamp()) + 3600


def test_credential_provider(filled: Bucket, no_environment: pytest.MonkeyPatch) -> None:
    options = {"endpoint_url": filled.endpoint, "aws_region": "us-east-1"}
    Provider.asked = 0
    _check(filled, storage_options=options, credential_provider=Provider())
    assert 1 <= Provider.asked <= 20


@pytest.mark.cluster
def test_credential_provider_is_asked_on_workers(filled: Bucket, client: Any) -> None:
    options = {"endpoint_url": filled.endpoint, "aws_region": "us-east-1"}
    lf = dp.scan_parquet(f"{filled.url}/t/*.parquet", storage_options=options, credential_provider=Provider())
    assert collect(lf, 1)["v"].to_list() == [0, 1, 2]


def test_what_fsspec_is_told(no_environment: pytest.MonkeyPatch) -> None:
    given = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_region": "eu-west-1", "timeout": "2s"}
    lf = pl.scan_parquet("s3://b/k", schema={"a": pl.Int64}, storage_options={**given, "aws_request_payer": "true"})
    fs, root = Storage.of(decode(lf)).filesystem("s3://b/k")
    assert (fs.key, fs.secret, fs.anon, root) == (KEY, SECRET, False, "b/k")
    assert fs.client_kwargs == {"region_name": "eu-west-1"}
    assert fs.req_kw == {"RequestPayer": "requester"}
    assert fs.config_kwargs["read_timeout"] == 2.0


def test_equal_options_have_equal_names(bucket: Bucket) -> None:
    one, two, other = (
        Storage.of(decode(pl.scan_parquet("s3://b/k", schema={"a": pl.Int64}, storage_options=options)))
        for options in (bucket.polars, bucket.polars, {**bucket.polars, "aws_access_key_id": "x"})
    )
    assert one == two
    assert hash(one) == hash(two)
    assert one != other
    assert one.options is not None
    assert other.options is not None
    assert one.options.token != other.options.token


def test_what_is_used_of_polars_own() -> None:
    """Names that are not public, and that another release of Polars may not have."""
    from polars.io.cloud._utils import POLARS_STORAGE_CONFIG_KEYS, _first_scan_path, _get_path_scheme
    from polars.io.cloud.credential_provider._builder import AutoInit

    assert "max_retries" in POLARS_STORAGE_CONFIG_KEYS
    assert _first_scan_path(["s3://b/k", "s3://b/l"]) == "s3://b/k"
    assert _first_scan_path(pl.PartitionBy("s3://b/k", key="a")) == "s3://b/k"
    assert _get_path_scheme("s3://b/k") == "s3"
    options = Storage.of(decode(pl.scan_parquet("s3://b/k", schema={"a": pl.Int64}))).options
    assert options is not None
    assert not options.has_secrets
    builder = options.provider_builder()
    assert isinstance(builder.credential_provider_init, AutoInit)
    provider = builder.build_credential_provider()
    assert callable(provider._storage_update_options)
    assert callable(provider._can_use_as_provider)
    given = Storage.of(decode(pl.scan_parquet("s3://b/k", schema={"a": pl.Int64}, credential_provider=Provider())))
    assert given.options is not None
    assert given.options.has_secrets
