"""Errors of S3 requests: as one line for people, and whether a retry may help."""

import asyncio

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
)

from pipeline.storage.base import StorageError

S3_ERRORS = (BotoCoreError, ClientError, aiohttp.ClientError, OSError, asyncio.TimeoutError)
"""Every class of error that a request may raise."""

_TRANSIENT_CODES = frozenset(
    {
        "SlowDown",
        "InternalError",
        "ServiceUnavailable",
        "RequestTimeout",
        "RequestTimeTooSkewed",
        "Throttling",
        "ThrottlingException",
        "503",
        "500",
    }
)
_MISSING = frozenset({"NoSuchKey", "404", "NotFound", "NoSuchUpload"})
_TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_UNSUPPORTED = frozenset({"NotImplemented", "MethodNotAllowed", "501", "405"})


class Truncated(OSError):
    """The connection ended before the whole body was read."""


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or _code(error) in _TRANSIENT_CODES
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return False
    return isinstance(error, (ConnectionError, HTTPClientError, aiohttp.ClientError, OSError, asyncio.TimeoutError))


def is_forbidden(error: BaseException) -> bool:
    """Whether the server answers, and refuses: credentials, a policy, a key, a storage class."""
    return isinstance(error, ClientError) and error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403


def is_missing(error: BaseException) -> bool:
    """Whether the error says that the object or upload (not the bucket) does not exist."""
    return isinstance(error, ClientError) and _code(error) in _MISSING


def is_taken(error: BaseException | None) -> bool:
    """Whether the error is the answer to a conditional put of an object that exists."""
    return isinstance(error, ClientError) and _code(error) in _TAKEN


def is_unsupported(error: BaseException | None) -> bool:
    """Whether the error says that the server does not implement this kind of request."""
    return isinstance(error, ClientError) and _code(error) in _UNSUPPORTED


def reason(error: BaseException) -> str:
    """A short reason for a row of the rejections table, without URL or credentials."""
    if isinstance(error, ClientError):
        if is_missing(error):
            return "the object does not exist"
        return f"S3 answered {_code(error)}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        return "the S3 endpoint is unreachable"
    if isinstance(error, (ReadTimeoutError, asyncio.TimeoutError)):
        return "the S3 server did not answer in time"
    if isinstance(error, Truncated):
        return "the body was cut short"
    return f"{type(error).__name__} while talking to S3"


def explain(error: BaseException, url: str) -> StorageError:
    """The error as one line for the user, with the remedy where there is one."""
    bucket = url.removeprefix("s3://").split("/", 1)[0]
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return StorageError(
            f"no S3 credentials for {url}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or a profile in ~/.aws)"
        )
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        return StorageError(f"the S3 endpoint for {url} is unreachable: check AWS_ENDPOINT_URL and the network")
    if isinstance(error, ClientError):
        code = _code(error)
        if code == "NoSuchBucket":
            return StorageError(f"there is no bucket {bucket!r}: create it, or check the name and AWS_ENDPOINT_URL")
        if code in ("AccessDenied", "403", "Forbidden", "AllAccessDisabled"):
            return StorageError(f"access to {url} is forbidden: these credentials may not do that there")
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"):
            return StorageError(f"the S3 server does not accept these credentials for {url} ({code})")
        if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "301"):
            return StorageError(f"the bucket {bucket!r} is in another region: set AWS_REGION")
    return StorageError(f"{url}: {reason(error)}")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
