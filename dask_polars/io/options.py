"""
``storage_options`` as users of ``dask.dataframe`` write them, in the words of Polars.

dask.dataframe takes the arguments of fsspec's file systems (``key``, ``secret``, ``client_kwargs``, …), Polars the names of
the Rust crate *object_store* (``aws_access_key_id``, …). Both are taken here, and may be mixed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import polars as pl

from dask_polars.dsl.cloud import TIMEOUT, CloudOptions
from dask_polars.dsl.codec import decode
from dask_polars.io.storage import SCHEMES, is_true

Options = dict[str, Any]

# Arguments of fsspec that say how its own reader works, which is not used.
_OF_ITS_READER = {
    "asynchronous",
    "cache_regions",
    "cache_timeout",
    "check_connection",
    "consistency",
    "default_block_size",
    "default_cache_type",
    "default_fill_cache",
    "fixed_upload_size",
    "listings_expiry_time",
    "local_expiry_check",
    "loop",
    "max_concurrency",
    "max_paths",
    "skip_instance_cache",
    "use_listings_cache",
    "version_aware",
}


def polars_options(storage_options: Mapping[str, Any] | None, source: Any, *, others: bool = False) -> Options | None:
    """
    Give ``storage_options`` in the words of Polars.

    Parameters
    ----------
    storage_options : dict, optional
        Options by the names of Polars, of s3fs, gcsfs or adlfs.
    source : str, path, list of them, or polars.PartitionBy
        What is read or written: its scheme says which object store it is.
    others : bool
        Whether names that neither knows are kept as they are: they are those of another library.

    Returns
    -------
    dict, or None
        What Polars takes. None where nothing was given for local files. A request to an object store times out, which it
        does not by default of Polars, so that a query ends.

    Raises
    ------
    ValueError
        If there is no such option, or it cannot be said to Polars. The message never shows a value.

    Examples
    --------
    >>> from dask_polars.io.options import polars_options
    >>> polars_options({"key": "me", "client_kwargs": {"endpoint_url": "http://localhost:9000"}}, "s3://bucket/key")
    {'aws_access_key_id': 'me', 'aws_endpoint_url': 'http://localhost:9000', 'allow_http': 'true', 'timeout': '300 seconds'}
    """
    scheme = _scheme(source)
    kind = SCHEMES.get(scheme, scheme)
    if kind not in _TRANSLATED:
        return None if storage_options is None else dict(storage_options)
    out: Options = {}
    for name, value in (storage_options or {}).items():
        if value is None or name in _OF_ITS_READER:
            continue
        if name in _TRANSLATED[kind]:
            _merge(out, _TRANSLATED[kind][name](name, value), name)
        elif _is_known(kind, name):
            _merge(out, {name: _checked(name, value)}, name)
        elif others:
            _merge(out, {name: value}, name)
        else:
            raise ValueError(f"there is no option {name!r} for paths of {scheme}://, of Polars or of fsspec")
    endpoints = [value for name, value in out.items() if "endpoint" in name.lower()]
    if any(str(value).startswith("http://") for value in endpoints) and not _says(out, "allow_http"):
        out["allow_http"] = "true"
    if not any(name.lower().removeprefix("aws_") == "timeout" for name in out):
        out["timeout"] = TIMEOUT
    return out


def translated(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """
    Put the ``storage_options`` of a call of ``scan_…`` or ``sink_…`` into the words of Polars.

    Parameters
    ----------
    args
        Positional arguments of the call, the first of which is the path.
    kwargs
        The others.

    Returns
    -------
    dict
        What to use in place of ``kwargs``.
    """
    source = args[0] if args else next((kwargs[name] for name in ("source", "path", "target") if name in kwargs), None)
    options = polars_options(kwargs.get("storage_options"), source)
    return kwargs if options is None else {**kwargs, "storage_options": options}


def translated_for_delta(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """
    Put the ``storage_options`` of a call of ``scan_delta`` into words of Polars that delta-rs knows too.

    Parameters
    ----------
    args
        Positional arguments of the call, the first of which is the table.
    kwargs
        The others.

    Returns
    -------
    dict
        What to use in place of ``kwargs``. Names that delta-rs alone knows stay.
    """
    given, source = kwargs.get("storage_options"), args[0] if args else kwargs.get("source")
    if given is None:
        return kwargs  # a table that is there already has its own, and so has its catalog
    where = getattr(source, "table_uri", source)
    return {**kwargs, "storage_options": polars_options(given, where, others=True)}


def translated_for_iceberg(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """
    Put the ``storage_options`` of a call of ``scan_iceberg`` into the words of pyiceberg, which Polars takes there.

    Parameters
    ----------
    args
        Positional arguments of the call, the first of which is the table.
    kwargs
        The others.

    Returns
    -------
    dict
        What to use in place of ``kwargs``. What is said in words of pyiceberg already, with dots, stays.
    """
    given, source = kwargs.get("storage_options"), args[0] if args else kwargs.get("source")
    if given is None:
        return kwargs
    metadata = getattr(source, "metadata_location", source)
    own = {name: value for name, value in given.items() if "." in name or "-" in name}
    rest = polars_options({name: value for name, value in given.items() if name not in own}, metadata) or {}
    out = dict(own)
    for name, value in rest.items():
        if name == "timeout" and "timeout" not in given:
            continue  # ours, for a scan: decoding it adds one where there is none
        _merge(out, {_ICEBERG.get(name, name): _seconds_of(name, value)}, name)
    return {**kwargs, "storage_options": out}


# What pyiceberg calls them; Polars makes its own words of these again.
_ICEBERG = {
    "aws_access_key_id": "s3.access-key-id",
    "aws_secret_access_key": "s3.secret-access-key",
    "aws_session_token": "s3.session-token",
    "aws_region": "s3.region",
    "aws_endpoint_url": "s3.endpoint",
    "aws_virtual_hosted_style_request": "s3.force-virtual-addressing",
    "connect_timeout": "s3.connect-timeout",
    "timeout": "s3.request-timeout",
    "proxy_url": "s3.proxy-uri",
    "azure_storage_account_name": "adls.account-name",
    "azure_storage_account_key": "adls.account-key",
    "azure_storage_sas_token": "adls.sas-token",
    "azure_client_id": "adls.client-id",
    "azure_client_secret": "adls.client-secret",
    "azure_tenant_id": "adls.tenant-id",
    "bearer_token": "gcs.oauth2.token",
}


def _seconds_of(name: str, value: Any) -> Any:
    return str(value).removesuffix(" seconds") if name.endswith("timeout") else value


def _scheme(source: Any) -> str:
    from polars.io.cloud._utils import _first_scan_path, _get_path_scheme

    path = _first_scan_path(source)
    return "" if path is None else _get_path_scheme(path) or ""


def _says(options: Options, suffix: str) -> bool:
    return any(name.lower().endswith(suffix) for name in options)


def _merge(out: Options, found: Options, name: str) -> None:
    for key, value in found.items():
        if out.get(key, value) != value:
            raise ValueError(f"storage_options says {key!r} twice, the second time as {name!r}")
        out[key] = value


# What Polars itself takes as numbers, and what it takes without writing it into the plan.
_NUMBERS = ("max_retries", "retry_", "rate_", "file_cache_ttl")
_BESIDE = {"s3": {"profile", "aws_profile"}, "gs": {"token", "bearer_token"}, "az": set()}


@lru_cache(maxsize=1024)
def _is_known(kind: str, name: str) -> bool:
    """Ask Polars whether it knows an option: what it does not know it leaves out of the plan."""
    from polars.io.cloud._utils import POLARS_STORAGE_CONFIG_KEYS

    if name in POLARS_STORAGE_CONFIG_KEYS or name.lower() in _BESIDE[kind]:
        return True
    scan = pl.scan_parquet(f"{kind}://b/k", schema={}, storage_options={name: "x"}, credential_provider=None)
    found = decode(scan).fields["unified_scan_args"]["cloud_options"]
    return isinstance(found, CloudOptions) and any(value == "x" for _, value in found.config)


def _checked(name: str, value: Any) -> Any:
    """Check the type of a value, since Polars shows a wrong one in its message."""
    if name.startswith(_NUMBERS):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"the option {name!r} must be a number, not a {type(value).__name__}")
        return value
    if isinstance(value, bool):
        return _flag(value)
    if not isinstance(value, str):
        raise ValueError(f"the option {name!r} must be text, not a {type(value).__name__}")
    return value


# ---------------------------------------------------------------- the words of fsspec

Translation = Callable[[str, Any], Options]


def _flag(value: Any) -> str:
    return "true" if value else "false"


def _called(ours: str) -> Translation:
    return lambda name, value: {ours: _checked(name, value)}


def _when_true(ours: str) -> Translation:
    return lambda name, value: {ours: "true"} if value else {}


def _inner(what: Mapping[str, Translation]) -> Translation:
    """Translate a map in a map, as ``client_kwargs``."""

    def translate(name: str, value: Any) -> Options:
        if not isinstance(value, Mapping):
            raise ValueError(f"the option {name!r} must be a dict, not a {type(value).__name__}")
        out: Options = {}
        for key, item in value.items():
            if key not in what:
                raise ValueError(f"the option {key!r} in {name!r} has no counterpart in Polars")
            if item is not None:
                _merge(out, what[key](key, item), key)
        return out

    return translate


def _nothing(name: str, value: Any) -> Options:
    return {}


def _verify(name: str, value: Any) -> Options:
    if isinstance(value, bool):
        return {} if value else {"allow_invalid_certificates": "true"}
    raise ValueError(f"the option {name!r} with a file has no counterpart in Polars; set SSL_CERT_FILE")


def _use_ssl(name: str, value: Any) -> Options:
    return {} if value else {"allow_http": "true"}


def _seconds(ours: str) -> Translation:
    return lambda name, value: {ours: f"{float(value):g} seconds"}


def _addressing(name: str, value: Any) -> Options:
    return {} if value == "auto" else {"aws_virtual_hosted_style_request": _flag(value == "virtual")}


def _attempts(less: int) -> Translation:
    return lambda name, value: {"max_retries": max(int(value) - less, 0)}


def _signature(name: str, value: Any) -> Options:
    unsigned = type(value).__name__ == "UNSIGNED" or "UNSIGNED" in repr(value)
    return {"aws_skip_signature": "true"} if unsigned else {}


def _proxies(name: str, value: Any) -> Options:
    found = value.get("https") or value.get("http")
    return {"proxy_url": found} if found else {}


_CLIENT_KWARGS: Mapping[str, Translation] = {
    "endpoint_url": _called("aws_endpoint_url"),
    "region_name": _called("aws_region"),
    "aws_access_key_id": _called("aws_access_key_id"),
    "aws_secret_access_key": _called("aws_secret_access_key"),
    "aws_session_token": _called("aws_session_token"),
    "use_ssl": _use_ssl,
    "verify": _verify,
}
_CONFIG_KWARGS: Mapping[str, Translation] = {
    "s3": _inner({"addressing_style": _addressing, "payload_signing_enabled": _nothing}),
    "retries": _inner({"max_attempts": _attempts(0), "total_max_attempts": _attempts(1), "mode": _nothing}),
    "connect_timeout": _seconds("connect_timeout"),
    "read_timeout": _seconds("timeout"),
    "signature_version": _signature,
    "region_name": _called("aws_region"),
    "proxies": _proxies,
    "max_pool_connections": _nothing,
}
_S3_KWARGS: Mapping[str, Translation] = {
    "ServerSideEncryption": _called("aws_server_side_encryption"),
    "SSEKMSKeyId": _called("aws_sse_kms_key_id"),
}
_S3FS: Mapping[str, Translation] = {
    "key": _called("aws_access_key_id"),
    "username": _called("aws_access_key_id"),
    "secret": _called("aws_secret_access_key"),
    "password": _called("aws_secret_access_key"),
    "token": _called("aws_session_token"),
    "anon": _when_true("aws_skip_signature"),
    "endpoint_url": _called("aws_endpoint_url"),
    "profile": _called("aws_profile"),
    "requester_pays": _when_true("aws_request_payer"),
    "use_ssl": _use_ssl,
    "client_kwargs": _inner(_CLIENT_KWARGS),
    "config_kwargs": _inner(_CONFIG_KWARGS),
    "s3_additional_kwargs": _inner(_S3_KWARGS),
}


def _gcs_token(name: str, value: Any) -> Options:
    if isinstance(value, Mapping):
        return {"google_service_account_key": json.dumps(dict(value))}
    if not isinstance(value, str):
        raise ValueError(f"the option {name!r} must be text or a dict; pass other credentials as credential_provider")
    if value == "anon":
        return {"google_skip_signature": "true"}
    if value in ("google_default", "cloud"):
        return {}  # that is where Polars looks too
    if value in ("cache", "browser"):
        raise ValueError(f"the option {name!r} cannot ask in a browser; pass credentials as credential_provider")
    return {"google_service_account": value} if os.path.exists(value) else {"bearer_token": value}


_GCSFS: Mapping[str, Translation] = {
    "token": _gcs_token,
    "project": _nothing,
    "access": _nothing,
    "endpoint_url": _called("google_base_url"),
}


def _connection_string(name: str, value: Any) -> Options:
    given = dict(item.split("=", 1) for item in str(value).split(";") if "=" in item)
    parts = {key.strip().lower(): item for key, item in given.items()}
    if is_true(parts.get("usedevelopmentstorage", "")):
        return {"azure_storage_use_emulator": "true"}
    names = {
        "accountname": "azure_storage_account_name",
        "accountkey": "azure_storage_account_key",
        "sharedaccesssignature": "azure_storage_sas_token",
        "blobendpoint": "azure_storage_endpoint",
    }
    out = {names[key]: item for key, item in parts.items() if key in names}
    suffix = parts.get("endpointsuffix", _AZURE_SUFFIX)
    if "accountname" in parts and "blobendpoint" not in parts and suffix != _AZURE_SUFFIX:
        protocol = parts.get("defaultendpointsprotocol", "https")
        out["azure_storage_endpoint"] = f"{protocol}://{parts['accountname']}.blob.{suffix}"
    return out


_AZURE_SUFFIX = "core.windows.net"


def _account_host(name: str, value: Any) -> Options:
    return {"azure_storage_endpoint": f"https://{_checked(name, value)}"}


def _credential(name: str, value: Any) -> Options:
    if isinstance(value, str):
        return {"azure_storage_account_key": value}
    hint = "credential_provider=polars.CredentialProviderAzure(credential=…)"
    raise ValueError(f"the option {name!r} cannot be sent; pass {hint} instead")


_ADLFS: Mapping[str, Translation] = {
    "account_name": _called("azure_storage_account_name"),
    "account_key": _called("azure_storage_account_key"),
    "sas_token": _called("azure_storage_sas_token"),
    "client_id": _called("azure_client_id"),
    "client_secret": _called("azure_client_secret"),
    "tenant_id": _called("azure_tenant_id"),
    "account_host": _account_host,
    "connection_string": _connection_string,
    "credential": _credential,
    "anon": _when_true("azure_skip_signature"),
    "request_session": _nothing,
    "location_mode": _nothing,
}
_TRANSLATED: Mapping[str, Mapping[str, Translation]] = {"s3": _S3FS, "gs": _GCSFS, "az": _ADLFS}
