"""
How object stores are reached: by Polars, which reads and writes, and by fsspec, which lists, in the same way.

A plan says it in Polars' words (:class:`~dask_polars.dsl.cloud.CloudOptions`); :class:`Storage` says the same to fsspec. What
neither says comes from the environment, profiles and the metadata of the machine, where the two do not look in the same
places: hence what Polars finds is said to fsspec too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import fsspec

from dask_polars.dsl.cloud import CloudOptions
from dask_polars.dsl.nodes import Node

# fsspec has names of its own for some of the schemes of Polars.
SCHEMES = {"s3a": "s3", "gcp": "gs", "gcs": "gs", "azure": "az", "adl": "az", "abfs": "az", "abfss": "az"}

# What reads them, where it is a package of its own.
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}

# botocore tries a request as often; s3fs does that again where a body broke off.
_ATTEMPTS = 5
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 30.0


@dataclass(frozen=True, repr=False)
class Storage:
    """
    How the files of a scan or a sink are reached.

    Parameters
    ----------
    options
        What the plan says; None for local files.
    """

    options: CloudOptions | None = None

    @classmethod
    def of(cls, node: Node) -> Storage:
        """
        Say how the files of a node are reached.

        Parameters
        ----------
        node
            A node of kind ``"Scan"`` or ``"Sink"``.

        Returns
        -------
        Storage
        """
        found: Any = node.fields
        if node.kind == "Sink":
            ((_, target),) = found["payload"].items()
            found = target["unified_sink_args"] if isinstance(target, Mapping) else {}
        else:
            found = found["unified_scan_args"]
        options = found.get("cloud_options")
        return cls(options if isinstance(options, CloudOptions) else None)

    def on(self, scan: Node) -> Node:
        """Give a scan of other files that are reached in the same way."""
        if self.options is None:
            return scan
        arguments = {**scan.fields["unified_scan_args"], "cloud_options": self.options}
        return scan.with_fields(unified_scan_args=arguments)

    def filesystem(self, path: str) -> tuple[Any, str]:
        """
        Give the file system of fsspec for a path, and the path in it.

        Parameters
        ----------
        path
            A path with a scheme, as ``"s3://bucket/key"``.

        Returns
        -------
        tuple of AbstractFileSystem and str

        Raises
        ------
        ImportError
            If the package of fsspec for the scheme is not installed.
        """
        scheme = path.split("://", 1)[0]
        kind = SCHEMES.get(scheme, scheme)
        try:
            found: tuple[Any, str] = fsspec.core.url_to_fs(
                canonical(path), use_listings_cache=False, **self._fsspec_options(kind, path)
            )
        except ImportError as error:
            if kind in _PACKAGES:
                where = f"{scheme}:// is listed and written through fsspec"
                error.add_note(f"dask_polars: {where}: pip install {_PACKAGES[kind]}, here and on the workers")
            raise
        if kind == "s3":
            found[0].retries = self._attempts
        if kind == "az":
            _try_soon(found[0], self._attempts)
        return found

    @property
    def _attempts(self) -> int:
        """How often botocore tries a request, and s3fs one whose body broke off: it is the product that counts."""
        said = None if self.options is None else self.options.attempts
        return _ATTEMPTS if said is None else max(1, min(said, _ATTEMPTS))

    def _fsspec_options(self, kind: str, path: str) -> dict[str, Any]:
        said: dict[str, Any] = dict(self.options.config) if self.options else {}
        if kind == "s3":
            return _for_s3fs(said, self.options, path, self._attempts)
        if kind == "gs":
            return _for_gcsfs(said, self.options)
        if kind == "az":
            return _for_adlfs(said, self.options, path)
        return {"client_kwargs": {"headers": dict(said["headers"])}} if "headers" in said else {}

    def __repr__(self) -> str:
        return f"Storage({self.options!r})"


def canonical(path: str) -> str:
    """Write a path with the scheme that fsspec knows: of what Polars reads it does not know ``azure://``, ``gcp://`` and others."""
    scheme, separator, rest = path.partition("://")
    return f"{SCHEMES.get(scheme, scheme)}{separator}{rest}"


def is_true(value: Any) -> bool:
    """Read a flag as object stores of Polars do."""
    return str(value).lower() in ("1", "true", "on", "yes", "y")


def seconds_of(text: str | None, default: float) -> float:
    """Read a duration as object stores of Polars write it, as ``"30s"``; the default where it is of another form."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|sec|secs|second|seconds|m|min|minutes?)\s*", text or "")
    if not found:
        return default
    unit = {"ms": 0.001, "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0}.get(found[2], 1.0)
    return float(found[1]) * unit


# ---------------------------------------------------------------- credential providers


@lru_cache(maxsize=64)
def _provider(options: CloudOptions) -> Any:
    """Build the credential provider once, since it keeps its credentials until they expire."""
    builder = options.provider_builder()
    return None if builder is None else builder.build_credential_provider()


def _provided(options: CloudOptions | None) -> tuple[dict[str, str], dict[str, str]]:
    """Ask the credential provider, as Polars does, for credentials and for other options."""
    provider = None if options is None else _provider(options)
    if provider is None:
        return {}, {}
    update: dict[str, str] = getattr(provider, "_storage_update_options", dict)()
    usable = getattr(provider, "_can_use_as_provider", lambda: True)()
    return (dict(provider()[0]) if usable else {}), dict(update)


# ---------------------------------------------------------------- S3

# Options of Polars, and the variables of the environment that it reads them from.
_AWS_VARIABLES = {
    "Region": ("AWS_REGION",),
    "DefaultRegion": ("AWS_DEFAULT_REGION",),
    "S3Endpoint": ("AWS_ENDPOINT_URL_S3",),
    "Endpoint": ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "SkipSignature": ("AWS_SKIP_SIGNATURE",),
    "RequestPayer": ("AWS_REQUEST_PAYER",),
    "VirtualHostedStyleRequest": ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST",),
    "AllowInvalidCertificates": ("AWS_ALLOW_INVALID_CERTIFICATES",),
    "ProxyUrl": ("AWS_PROXY_URL",),
}


def _for_s3fs(said: Mapping[str, Any], options: CloudOptions | None, path: str, attempts: int) -> dict[str, Any]:
    credentials, update = _provided(options)
    found = _from_environment(_AWS_VARIABLES)
    found.update({"Region": update["region"]} if "region" in update else {})
    found.update({"Endpoint": update["endpoint_url"]} if "endpoint_url" in update else {})
    found.update(said)
    out: dict[str, Any] = {}
    if is_true(found.get("SkipSignature", "")):
        out["anon"] = True
    else:
        out.update(
            _present(key=found.get("AccessKeyId"), secret=found.get("SecretAccessKey"), token=found.get("Token"))
        )
        names = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "aws_session_token": "token"}
        out.update({names[name]: value for name, value in credentials.items() if name in names})
    virtual = is_true(found.get("VirtualHostedStyleRequest", ""))
    endpoint = found.get("S3Endpoint") or found.get("Endpoint")
    if endpoint:
        out["endpoint_url"] = _without_bucket(endpoint, path) if virtual else endpoint
    if is_true(found.get("RequestPayer", "")):
        out["requester_pays"] = True
    client = _present(region_name=found.get("Region") or found.get("DefaultRegion"))
    if is_true(found.get("AllowInvalidCertificates", "")):
        client["verify"] = False
    seconds = seconds_of(found.get("Timeout"), _READ_SECONDS)
    config: dict[str, Any] = {
        "retries": {"mode": "standard", "total_max_attempts": attempts},
        "connect_timeout": min(seconds, _CONNECT_SECONDS),
        "read_timeout": min(seconds, _READ_SECONDS),
        "s3": {"addressing_style": "virtual" if virtual else "path"},
    }
    if found.get("ProxyUrl"):
        config["proxies"] = {"http": found["ProxyUrl"], "https": found["ProxyUrl"]}
    return {**out, "client_kwargs": client, "config_kwargs": config}


def _without_bucket(endpoint: str, path: str) -> str:
    """Take the bucket off the endpoint, where Polars wants it and others put it themselves."""
    parts = urlsplit(endpoint)
    bucket = path.split("://", 1)[1].split("/", 1)[0]
    return urlunsplit(parts._replace(netloc=parts.netloc.removeprefix(f"{bucket}.")))


def _from_environment(variables: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    found = {
        name: next((os.environ[item] for item in names if os.environ.get(item)), None)
        for name, names in variables.items()
    }
    return _present(**found)


def _present(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


# ---------------------------------------------------------------- Google, Azure


# Where Polars looks too, besides what gcsfs finds itself.
_GOOGLE_VARIABLES = {
    "ServiceAccount": ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"),
    "ServiceAccountKey": ("GOOGLE_SERVICE_ACCOUNT_KEY",),
    "BaseUrl": ("GOOGLE_BASE_URL",),
    "SkipSignature": ("GOOGLE_SKIP_SIGNATURE",),
}


def _for_gcsfs(said: Mapping[str, Any], options: CloudOptions | None) -> dict[str, Any]:
    found: dict[str, Any] = {**_from_environment(_GOOGLE_VARIABLES), **said}
    path = found.get("ServiceAccount") or found.get("ApplicationCredentials")
    account = _google_account(found.get("ServiceAccountKey"), path)
    out = _present(endpoint_url=found.get("BaseUrl") or account.get("gcs_base_url"))
    # An account for an emulator says so: there is nothing to sign with.
    if is_true(found.get("SkipSignature", "")) or account.get("disable_oauth"):
        return {**out, "token": "anon"}
    if "ServiceAccountKey" in found:
        return {**out, "token": account}
    if path:
        return {**out, "token": path}
    credentials, _ = _provided(options)
    token = found.get("BearerToken") or credentials.get("bearer_token")
    if token:
        from google.oauth2.credentials import Credentials

        out["token"] = Credentials(token=token)
    return out


def _google_account(text: str | None, path: str | None) -> dict[str, Any]:
    """Read what is known of an account; gcsfs would send the name of a file that is not there to Google, as a token."""
    if text is None and path is None:
        return {}
    try:
        if text is None:
            with open(str(path), encoding="utf-8") as opened:
                text = opened.read()
        found = json.loads(text)
    except ValueError:  # it holds the text, which nobody must see
        found = None
    if not isinstance(found, dict):
        raise ValueError("the service account of Google is not the JSON of an account")
    return found


# Where Polars looks too. Secrets of the environment come last, as they do there.
_AZURE_VARIABLES = {
    "AccountName": ("AZURE_STORAGE_ACCOUNT_NAME",),
    "Endpoint": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "UseEmulator": ("AZURE_STORAGE_USE_EMULATOR",),
    "SkipSignature": ("AZURE_SKIP_SIGNATURE",),
}
_AZURE_SECRETS = {
    "AccessKey": ("AZURE_STORAGE_ACCOUNT_KEY",),
    "SasKey": ("AZURE_STORAGE_SAS_TOKEN",),
}

# The emulator has one account, whose key everybody knows.
_EMULATED = "devstoreaccount1"
_EMULATED_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_EMULATOR = "http://127.0.0.1:10000"


def _for_adlfs(said: Mapping[str, Any], options: CloudOptions | None, path: str) -> dict[str, Any]:
    found: dict[str, Any] = {**_from_environment(_AZURE_VARIABLES), **said}
    account = _account(path) or found.get("AccountName")
    if is_true(found.get("UseEmulator", "")):
        account = account or _EMULATED
        found["Endpoint"] = f"{os.environ.get('AZURITE_BLOB_STORAGE_URL', _EMULATOR).rstrip('/')}/{account}"
        if not {"AccessKey", "SasKey"} & set(found):
            found["AccessKey"] = _EMULATED_KEY
    endpoint = found.get("Endpoint")
    out = _present(account_name=account)
    if is_true(found.get("SkipSignature", "")):
        return {**out, "anon": True, **_connection(account, endpoint, {})}
    if {"AccessKey", "SasKey"} & set(found):
        return {**out, **_connection(account, endpoint, found)}
    _refuse_another_account(account)
    if endpoint:
        out["account_host"] = endpoint.split("://", 1)[-1].rstrip("/")
    if "ClientSecret" in found:
        return {
            **out,
            **_present(
                client_id=found.get("ClientId"), client_secret=found["ClientSecret"], tenant_id=found.get("AuthorityId")
            ),
        }
    credentials, _ = _provided(options)
    token = found.get("Token") or credentials.get("bearer_token")
    if token is not None:
        return {**out, "credential": _AzureToken(token)}
    if endpoint and (secrets := _from_environment(_AZURE_SECRETS)):
        return {**_present(account_name=account), **_connection(account, endpoint, secrets)}
    identity = _present(client_id=found.get("ClientId"), tenant_id=found.get("AuthorityId"))
    return {**out, **identity, "anon": False}


def _account(path: str) -> str | None:
    """Find the account in a path, as in ``abfss://container@account.dfs.core.windows.net/key``."""
    _, at, host = path.split("://", 1)[1].split("/", 1)[0].partition("@")
    return host.split(".", 1)[0] if at and "." in host else None


def _refuse_another_account(account: str | None) -> None:
    """Raise where adlfs would list another account than Polars reads: this variable, which Polars does not know, comes first there."""
    name = "AZURE_STORAGE_CONNECTION_STRING"
    found = re.search(r"AccountName=([^;]+)", os.environ.get(name, ""), re.IGNORECASE)
    if found and account and found[1] != account:
        raise ValueError(
            f"{name} in the environment is of another account than {account}: unset it, here and on the workers"
        )


def _connection(account: str | None, endpoint: str | None, secrets: Mapping[str, Any]) -> dict[str, Any]:
    """
    Say to adlfs where the account is, and the key or the signature for it.

    Only a connection string has all endpoints: those of other arguments are of ``https`` and without a path. And it keeps adlfs from
    taking another one from the environment.
    """
    if not endpoint and account is None:
        return _present(account_key=secrets.get("AccessKey"), sas_token=secrets.get("SasKey"))
    parts = {
        "BlobEndpoint": endpoint or f"https://{account}.blob.core.windows.net",
        **({"AccountName": account, "AccountKey": secrets["AccessKey"]} if "AccessKey" in secrets and account else {}),
    }
    if "AccountKey" not in parts and "SasKey" in secrets:
        parts["SharedAccessSignature"] = secrets["SasKey"].removeprefix("?")
    return {"connection_string": ";".join(f"{name}={value}" for name, value in parts.items())}


def _try_soon(fs: Any, attempts: int) -> None:
    """Try requests that failed again after seconds: by itself Azure's client, which adlfs gives no options to, waits for 80."""
    policy = getattr(getattr(getattr(fs, "service_client", None), "_config", None), "retry_policy", None)
    if policy is not None:
        policy.initial_backoff, policy.increment_base, policy.total_retries = 0.5, 2, attempts - 1


class _AzureToken:
    """A token that is known already, as adlfs takes it."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get_token(self, *scopes: str, **kwargs: Any) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, 2**31)

    async def close(self) -> None:
        """There is nothing to close."""


__all__ = ["SCHEMES", "Storage", "canonical", "is_true"]
