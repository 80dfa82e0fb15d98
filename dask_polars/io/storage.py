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
                path, use_listings_cache=False, **self._fsspec_options(kind, path)
            )
        except ImportError as error:
            if kind in _PACKAGES:
                where = f"{scheme}:// is listed and written through fsspec"
                error.add_note(f"dask_polars: {where}: pip install {_PACKAGES[kind]}, here and on the workers")
            raise
        if SCHEMES.get(scheme, scheme) == "s3":
            found[0].retries = self._attempts
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
            return _for_adlfs(said, self.options)
        return {"client_kwargs": {"headers": dict(said["headers"])}} if "headers" in said else {}

    def __repr__(self) -> str:
        return f"Storage({self.options!r})"


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


def _for_gcsfs(said: Mapping[str, Any], options: CloudOptions | None) -> dict[str, Any]:
    out = _present(endpoint_url=said.get("BaseUrl"))
    if is_true(said.get("SkipSignature", "")):
        return {**out, "token": "anon"}
    if "ServiceAccountKey" in said:
        return {**out, "token": json.loads(said["ServiceAccountKey"])}
    path = said.get("ServiceAccount") or said.get("ApplicationCredentials")
    if path:
        return {**out, "token": path}
    credentials, _ = _provided(options)
    token = said.get("BearerToken") or credentials.get("bearer_token")
    if token:
        from google.oauth2.credentials import Credentials

        out["token"] = Credentials(token=token)
    return out


_ADLFS_NAMES = {
    "AccountName": "account_name",
    "AccessKey": "account_key",
    "SasKey": "sas_token",
    "ClientId": "client_id",
    "ClientSecret": "client_secret",
    "AuthorityId": "tenant_id",
}


def _for_adlfs(said: Mapping[str, Any], options: CloudOptions | None) -> dict[str, Any]:
    out = {ours: said[name] for name, ours in _ADLFS_NAMES.items() if name in said}
    if is_true(said.get("SkipSignature", "")):
        return {**out, "anon": True}
    secret = {"account_key", "sas_token", "client_secret"} & set(out)
    if secret:
        return out
    credentials, _ = _provided(options)
    token = said.get("Token") or credentials.get("bearer_token")
    return {**out, "anon": False} if token is None else {**out, "credential": _AzureToken(token)}


class _AzureToken:
    """A token that is known already, as adlfs takes it."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get_token(self, *scopes: str, **kwargs: Any) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, 2**31)

    async def close(self) -> None:
        """There is nothing to close."""


__all__ = ["SCHEMES", "Storage", "is_true"]
