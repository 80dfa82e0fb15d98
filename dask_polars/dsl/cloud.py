"""
What a plan says of an object store, credentials among it, kept from being shown.

A scan and a sink hold their ``storage_options`` as plain values. Taken apart, a plan holds them as :class:`CloudOptions`:
its ``repr`` shows nothing of them, and hashes of plans, which are in the names of tasks, say nothing of them to others.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
import secrets
from collections.abc import Mapping
from typing import Any

import msgpack

from dask_polars.dsl.nodes import Node

# With it hashes of credentials are of no use to whoever sees the name of a task, even where a password is easy to guess.
_KEY = secrets.token_bytes(32)

# What may be in a hash that others can try to find the origin of.
_PUBLIC = {
    "AllowHttp",
    "Bucket",
    "ConnectTimeout",
    "DefaultRegion",
    "Endpoint",
    "Region",
    "S3Endpoint",
    "SkipSignature",
    "Timeout",
    "VirtualHostedStyleRequest",
}
# What a request may take, its body included. Polars by itself waits forever for a store that does not answer.
TIMEOUT = "300 seconds"
_FIELD = "cloud_options"


class CloudOptions:
    """
    The options of an object store, as a plan says them.

    Parameters
    ----------
    value
        The field of the plan: ``config``, ``credential_provider``, ``retry_config``, …

    Attributes
    ----------
    token
        A hash. Where there are credentials, nobody can find out from it what they are, and it differs from process to
        process; it is pickled with the options.
    """

    __slots__ = ("token", "value")

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.value = value
        packed = msgpack.packb(value)
        if self.has_secrets:
            self.token = hmac.new(_KEY, packed, hashlib.sha256).hexdigest()[:40]
        else:
            self.token = hashlib.sha1(packed, usedforsecurity=False).hexdigest()

    @property
    def cloud(self) -> str:
        """The kind of object store: ``"Aws"``, ``"Gcp"``, ``"Azure"``, ``"Http"``, or ``""``."""
        return next(iter(self.value["config"] or {}), "")

    @property
    def config(self) -> list[tuple[str, Any]]:
        """Names and values of options, by the names that plans have for them."""
        found = (self.value["config"] or {}).get(self.cloud, [])
        return [(_name(name), value) for name, value in found] if isinstance(found, list) else list(found.items())

    @property
    def attempts(self) -> int | None:
        """How often a request is tried, where the user has said so."""
        retries = (self.value.get("retry_config") or {}).get("max_retries")
        return None if retries is None else int(retries) + 1

    @property
    def has_secrets(self) -> bool:
        """Whether there is what others must not know, or could be."""
        return any(name not in _PUBLIC for name, _ in self.config) or not self._finds_credentials_itself

    @property
    def _finds_credentials_itself(self) -> bool:
        from polars.io.cloud.credential_provider._builder import AutoInit

        builder = self.provider_builder()
        return builder is None or isinstance(builder.credential_provider_init, AutoInit)

    def provider_builder(self) -> Any:
        """Give what builds the credential provider, with ``build_credential_provider()``; None where there is none."""
        found = self.value["credential_provider"]
        if found is None:
            return None
        # Three bytes (how it was pickled, two of the version of Python) stand before the pickle.
        return pickle.loads(bytes(found["Builder"])[3:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CloudOptions) and (self.token, self.value) == (other.token, other.value)

    def __hash__(self) -> int:
        return hash(self.token)

    def __repr__(self) -> str:
        return f"<options of {self.cloud or 'no'} object store>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpickle, (self.value, self.token))


def _name(name: Any) -> str:
    """Give the name of an option; those of the HTTP client stand in a map of their own."""
    return name if isinstance(name, str) else next(iter(name.values()))


def _with_timeout(options: CloudOptions) -> CloudOptions:
    if options.cloud not in ("Aws", "Gcp", "Azure") or "Timeout" in dict(options.config):
        return options
    said = [*options.value["config"][options.cloud], [{"Client": "Timeout"}, TIMEOUT]]
    return CloudOptions({**options.value, "config": {options.cloud: said}})


def _unpickle(value: Mapping[str, Any], token: str) -> CloudOptions:
    out = object.__new__(CloudOptions)
    out.value, out.token = value, token
    return out


class Template(bytes):
    """
    A serialized plan, whose ``repr`` (that of a task is in the logs of a worker) does not show what is in it.

    Parameters
    ----------
    data
        The plan.
    token
        A hash of it, in which credentials are hashed as in :class:`CloudOptions`.
    """

    token: str

    def __new__(cls, data: bytes, token: str) -> Template:
        out = super().__new__(cls, data)
        out.token = token
        return out

    @classmethod
    def of(cls, data: bytes) -> Template:
        """Take a plan that cannot be taken apart: its hash is one of this process."""
        return cls(data, hmac.new(_KEY, data, hashlib.sha256).hexdigest()[:40])

    def __repr__(self) -> str:
        return f"<plan of {len(self)} bytes>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Template, (bytes(self), self.token))

    __str__ = __repr__


def hide(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Put the options of object stores in the fields of a node into :class:`CloudOptions`, with a timeout where none is."""
    out = {}
    for name, value in fields.items():
        if name == _FIELD and isinstance(value, dict):
            out[name] = _with_timeout(CloudOptions(value)) if _says_anything(value) else value
        elif name in _HOLDERS and isinstance(value, dict):
            out[name] = hide(value)
        else:
            out[name] = value
    return out


# The fields on the way to the options: of a scan, and of a sink to one file or to several.
_HOLDERS = ("unified_scan_args", "payload", "File", "Partitioned", "unified_sink_args")


def _says_anything(value: Mapping[str, Any]) -> bool:
    return value["config"] is not None or value["credential_provider"] is not None


def show(value: Any) -> Any:
    """Give what stands in a plan for :class:`CloudOptions`: for ``msgpack``, which asks for what it does not know."""
    if isinstance(value, CloudOptions):
        return value.value
    raise TypeError(f"a plan holds a {type(value).__name__}, which cannot be sent")


def without_options(scan: Node) -> tuple[Node, CloudOptions | None]:
    """Take the options of an object store out of a scan."""
    arguments = scan.fields["unified_scan_args"]
    found = arguments[_FIELD]
    if not isinstance(found, CloudOptions):
        return scan, None
    return scan.with_fields(unified_scan_args={**arguments, _FIELD: None}), found
