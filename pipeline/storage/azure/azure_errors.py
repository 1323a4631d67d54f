"""Errors of requests to Azure, as obstore raises them: as one line for people, and whether a retry may help.

Their texts hold the whole request, which may be signed: only the status and Azure's own code are repeated.
"""

import re

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from pipeline.storage.base import FetchFailed, Outage, StorageError

ERRORS = (BaseError, OSError, ValueError)
"""Every class of error that a request may raise."""
CANNOT_NAME = "a part of its key is empty, `.` or `..`, or has a control character"
"""Keys that object_store does not name."""
_NO_ANSWER = "HTTP error"
"""In the text of errors of connections, bodies that end early, and time-outs."""
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")


def status_of(error: BaseException) -> int:
    """The status of the answer; 0 where there was none."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def is_missing(error: BaseException) -> bool:
    """Whether the object does not exist, in a container that does."""
    return isinstance(error, FileNotFoundError) and not _lacks_container(error)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, (FileNotFoundError, ValueError, InvalidPathError, AlreadyExistsError, PreconditionError)):
        return False
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or _lacks_credentials(error):
        return False
    status = status_of(error)
    return status in (408, 429) or status >= 500 or (not status and _NO_ANSWER in str(error))


def reason(error: BaseException) -> str:
    """A short reason for a row of the rejections table, without URL or credentials."""
    if is_missing(error):
        return "the object does not exist"
    if isinstance(error, (ValueError, InvalidPathError)):
        return CANNOT_NAME
    if _lacks_credentials(error):
        return "no credentials for Azure"
    status = status_of(error)
    if not status:
        return "Azure is unreachable" if is_transient(error) else "Azure's answer cannot be read"
    code = _CODE.search(str(error))
    return f"Azure answered {status} {code[1]}" if code else f"Azure answered {status}"


def as_failure(error: BaseException, key: str) -> FetchFailed:
    """The error of reading one object."""
    transient = is_transient(error)
    verdict = is_missing(error) or isinstance(error, (ValueError, InvalidPathError))
    return FetchFailed(key, reason(error), transient, refused=not (transient or verdict))


def explain(error: BaseException, url: str) -> StorageError:
    """The error as one line for the user, with the remedy where there is one."""
    if is_missing(error):
        return StorageError(f"{url} does not exist")
    if _lacks_container(error):
        return StorageError(f"there is no container for {url}: create it, or check its name and the account's")
    if _lacks_credentials(error):
        return StorageError(
            f"no Azure credentials for {url}: set AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ACCOUNT_KEY, or "
            "AZURE_USE_AZURE_CLI=true after `az login`"
        )
    if status_of(error) in (401, 403):
        return StorageError(f"access to {url} is forbidden ({reason(error)}): these credentials may not do that there")
    if not status_of(error) and is_transient(error):
        return Outage(f"the Azure endpoint for {url} is unreachable: check the account's name and the network")
    return (Outage if is_transient(error) else StorageError)(f"{url}: {reason(error)}")


def _lacks_container(error: BaseException) -> bool:
    return "<Code>ContainerNotFound</Code>" in str(error)


def _lacks_credentials(error: BaseException) -> bool:
    text = str(error)
    return "token request" in text or "Azure CLI" in text
