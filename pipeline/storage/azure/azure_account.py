"""Azure's addresses and accounts: from a URL and the environment to a connection.

    abfs://CONTAINER/PREFIX                                    the account of the environment
    abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX       az:// and abfss:// alike

AZURE_STORAGE_CONNECTION_STRING is read here. The other variables (AZURE_STORAGE_ACCOUNT_NAME,
AZURE_STORAGE_ACCOUNT_KEY, AZURE_CLIENT_ID ...) and the machine's own identity are read by object_store, with which
delta-rs opens the archive's table, too.
"""

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import obstore.store

from pipeline.storage.base import StorageError
from pipeline.storage.keys import leads_out
from pipeline.storage.retry import ATTEMPTS, FIRST_WAIT, LONGEST_WAIT

EMULATOR = "devstoreaccount1"
"""The account that Azurite always has."""
CHECK_ATTEMPTS = 3
"""Attempts per request of the checks before a job, which should take seconds."""
_VARIABLE = "AZURE_STORAGE_CONNECTION_STRING"
_ACCOUNT = re.compile(r"([a-z0-9]{3,24})(\.(dfs|blob)\.core\.windows\.net)?")
_CONTAINER = re.compile(r"\$?[a-z0-9-]+")
_MOST_CONNECTIONS = 8
_OPEN: dict[tuple[Any, ...], Any] = {}
_USED_IN: set[int] = set()


@dataclass(frozen=True, slots=True)
class Place:
    """What a URL names.

    Attributes:
        container: its name.
        account: as the URL has it; empty where the environment names it.
        prefix: parts of the path, without empty ones.
    """

    container: str
    account: str
    prefix: tuple[str, ...]


def place_of(url: str) -> Place:
    """The parts of a URL.

    Raises:
        StorageError: when it has no container, names a host that is not Azure's, or leads out of the container.
    """
    server, _, path = url.split("://", 1)[1].partition("/")  # a `?` or `#` behind it is part of a key
    container, at, host = server.partition("@")
    if not _CONTAINER.fullmatch(container.lower()):
        raise StorageError(f"{url!r} names no container: write abfs://CONTAINER/PREFIX")
    found = _ACCOUNT.fullmatch(host.lower())
    if at and found is None:  # credentials are sent there
        raise StorageError(
            f"{url}: {host} is no account of Azure: write abfs://{container}@ACCOUNT.dfs.core.windows.net/PREFIX "
            f"(for another cloud's endpoint, set {_VARIABLE})"
        )
    if problem := leads_out(path.lstrip("/")):
        raise StorageError(f"{url} cannot be opened: {problem}")
    return Place(container.lower(), found[1] if found else "", tuple(part for part in path.split("/") if part))


def account_of(place: Place) -> str:
    """The account that a place is in; empty where neither the URL nor the environment names it."""
    if place.account:
        return place.account
    return _stated().get("account_name") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") or _emulator()


def connection(place: Place, attempts: int = ATTEMPTS) -> Any:
    """The store of obstore for a container, the same one for the same environment and process.

    Args:
        place: its address.
        attempts: at each request.

    Raises:
        StorageError: when no account is named, or the connection string cannot be read.
    """
    account = account_of(place)
    variables = tuple(sorted(item for item in os.environ.items() if item[0].startswith(("AZURE_", "AZURITE_"))))
    key = (os.getpid(), account, place.container, attempts, variables)
    found = _OPEN.get(key)
    if found is None:
        if not account:
            raise StorageError(
                f"the account of container {place.container!r} is not known: set AZURE_STORAGE_ACCOUNT_NAME or "
                f"{_VARIABLE}, or write abfs://{place.container}@ACCOUNT.dfs.core.windows.net/PREFIX"
            )
        _USED_IN.add(os.getpid())
        found = _OPEN[key] = _connect(account, place.container, attempts)
        while len(_OPEN) > _MOST_CONNECTIONS:
            _OPEN.pop(next(iter(_OPEN)), None)
    return found


def is_forked() -> bool:
    """Whether obstore's threads were started in another process, of which this one is a fork without them."""
    return bool(_USED_IN) and os.getpid() not in _USED_IN


def _connect(account: str, container: str, attempts: int) -> Any:
    stated = _stated()
    settings: dict[str, Any] = {"account_name": account}
    if stated.get("account_name") == account:  # that of another account holds its key
        settings = {**stated, "use_emulator": False}
    endpoint = settings.get("endpoint") or os.environ.get("AZURE_STORAGE_ENDPOINT") or ""
    # Each wait is between the first one and `base` times the last one: 14 seconds for ATTEMPTS on average.
    waits: Any = {
        "init_backoff": timedelta(seconds=FIRST_WAIT),
        "max_backoff": timedelta(seconds=LONGEST_WAIT),
        "base": 3,
    }
    retries: Any = {"max_retries": attempts - 1, "backoff": waits}
    client: Any = {"timeout": timedelta(minutes=15), "read_timeout": timedelta(minutes=2)}  # large files take long
    client["allow_http"] = endpoint.startswith("http://") or bool(_emulator())
    try:
        return obstore.store.AzureStore(container, client_options=client, retry_config=retries, **settings)
    except Exception as e:  # its text may repeat what it was given
        raise StorageError(
            f"the credentials for the account {account!r} cannot be read ({type(e).__name__}): check {_VARIABLE} and "
            "AZURE_STORAGE_ACCOUNT_KEY"
        ) from None


def _emulator() -> str:
    told = os.environ.get("AZURE_STORAGE_USE_EMULATOR", "").lower() in ("1", "true", "yes", "on")
    return EMULATOR if told else ""


def _stated() -> dict[str, Any]:
    """What the connection string says, as obstore's settings; empty where there is none.

    Raises:
        StorageError: when it names no account.
    """
    text = os.environ.get(_VARIABLE, "").strip()
    if not text:
        return {}
    fields = {}
    for part in text.split(";"):
        name, _, value = part.partition("=")
        fields[name.strip().lower()] = value.strip()
    if fields.get("usedevelopmentstorage") == "true":
        return {
            "account_name": EMULATOR,
            "endpoint": f"http://127.0.0.1:10000/{EMULATOR}",
            "account_key": _EMULATOR_KEY,
        }
    endpoint = fields.get("blobendpoint", "").rstrip("/")
    account = fields.get("accountname") or (urlsplit(endpoint).hostname or "").split(".")[0]
    if not account:
        raise StorageError(f"{_VARIABLE} names no account: copy it anew from the account's page Access keys")
    protocol, suffix = (
        fields.get("defaultendpointsprotocol") or "https",
        fields.get("endpointsuffix") or "core.windows.net",
    )
    settings = {"account_name": account, "endpoint": endpoint or f"{protocol}://{account}.blob.{suffix}"}
    if key := fields.get("accountkey"):
        return {**settings, "account_key": key, "credential_type": "access_key"}
    if signature := fields.get("sharedaccesssignature"):
        return {**settings, "sas_key": signature.removeprefix("?"), "credential_type": "sas_token"}
    return settings


_EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key that Azurite documents and always has: no secret."""
