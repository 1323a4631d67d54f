"""Connections to S3: one s3fs file system per process and set of credentials.

A store is pickled to many short tasks, and opening a connection takes longer than a small task. So
connections belong to the process, not to the store. `S3Sessions` holds them; unpickling one gives
the sessions of the process that unpickles it.
"""

import os
import threading
from typing import Any

import s3fs.core
from botocore.exceptions import ClientError, EndpointConnectionError

from pipeline.storage.s3 import request_options
from pipeline.storage.s3.errors import is_transient

CONCURRENCY = 32
"""Requests in flight for one `fetch`."""

FILE_ATTEMPTS = 11
"""Attempts at each request of a streamed file; s3fs waits 0.1 s before the second, and 1.7 times
longer each time."""

_MOST_SESSIONS = 4

_ENVIRONMENT = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    *request_options.VARIABLES,
)
"""The variables that name the server and the credentials."""


class S3Sessions:
    """Opens connections on first use and keeps the few opened last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[int, tuple[str | None, ...]], Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _of_this_process, ()

    def current(self) -> Any:
        """The s3fs file system for this process and its environment variables as they are now."""
        # A forked process must not use its parent's sockets, and the variables may change (in
        # notebooks, in tests).
        key = (os.getpid(), tuple(os.environ.get(name) for name in _ENVIRONMENT))
        found = self._open.get(key) or _connect()  # not under the lock, which a fork would copy as held
        with self._lock:
            found = self._open.setdefault(key, found)
            while len(self._open) > _MOST_SESSIONS:
                self._open.pop(next(iter(self._open)))
        return found


PROCESS_SESSIONS = S3Sessions()
"""The connections of this process."""


def _of_this_process() -> S3Sessions:
    return PROCESS_SESSIONS


def _connect() -> Any:
    options = request_options.S3Options.of()
    # The client itself does not retry: `with_retries` and s3fs do, and three layers of retries turn
    # seconds into minutes.
    settings = {
        "connect_timeout": 10,
        "read_timeout": 60,
        "retries": {"total_max_attempts": 1},
        "max_pool_connections": 2 * CONCURRENCY,
    }
    # s3fs treats an InternalError and a refused connection as final. Add only these two: errors
    # that s3fs has translated have been retried already.
    s3fs.core.set_custom_error_handler(
        lambda e: isinstance(e, (ClientError, EndpointConnectionError)) and is_transient(e)
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    client = {"region_name": region} if region else {}
    made = _WithOptions(
        config_kwargs=settings, client_kwargs=client, use_listings_cache=False, skip_instance_cache=True
    )
    made.retries = FILE_ATTEMPTS
    made.maepress_options = options
    return made


class _WithOptions(s3fs.S3FileSystem):  # type: ignore[misc]  # untyped
    """A file system whose client adds our options to each request."""

    protocol = ()
    maepress_options = request_options.S3Options()

    async def set_session(self, *args: Any, **kwargs: Any) -> Any:
        """The client, made at first use."""
        before, client = self._s3, await super().set_session(*args, **kwargs)
        if client is not before:
            client.meta.events.register("before-parameter-build.s3", self._add_options)
        return client

    def _add_options(self, params: dict[str, Any], model: Any, **others: Any) -> None:
        known = model.input_shape.members if model.input_shape else {}
        self.maepress_options.add_to(params, known, model.name)
