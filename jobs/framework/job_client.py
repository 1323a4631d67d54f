"""A job on a cluster, through the Ray Jobs API: submitted once, its logs followed to the end, with reconnection.

this folder, MAEPRESS_* --package--> job server --starts--> python -m maepress JOB ...   (on the head, in a copy of it)
                        <--logs, exit status--
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from jobs.framework.job import FAILED, INTERRUPTED
from jobs.framework.ray_session import require_answer
from jobs.framework.settings import PREFIX
from model.core.errors import MaepressError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
EXCLUDED = (".?*", "build", "demo", "runs", "**/__pycache__", "*.egg-info")
"""Parts of the folder that are not sent, besides the files that Git ignores: histories, environments, caches.
Not ".*": that would match the folder itself, whose name is "." here."""
PASSED = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Variables that are sent besides MAEPRESS_*. Never credentials: everybody who can see a job sees its environment."""
SECRET = ("MAEPRESS_URL_KEY",)
"""A variable of ours that is not sent: the viewer's key."""
PATIENCE_SECONDS = 600.0
"""Time without contact to the cluster after which following a job ends."""
_RETRY_SECONDS = 2.0
_SILENCE_SECONDS = 120.0
"""Silence after which the client reconnects: a router may drop an idle connection without notice."""
_REMEDY = "give --address http://HOST:8265 of a cluster that runs"
_TOKEN_REMEDY = "RAY_AUTH_TOKEN or ~/.ray/auth_token must hold the cluster's (`ray get-auth-token` there shows it)"
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended.

    Attributes:
        status: Ray's name of the state.
        exit_status: the exit status of `maepress submit`.
        message: Ray's message, if the job failed.
    """

    status: str
    exit_status: int
    message: str


class Cluster:
    """The job server of a cluster."""

    def __init__(self, address: str) -> None:
        """Connect.

        Args:
            address: http://HOST:8265; empty: from RAY_API_SERVER_ADDRESS or RAY_ADDRESS, else this machine's.

        Raises:
            MaepressError: when no server answers, or it does not accept our token.
        """
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        self.address = address or _address_of_environment(os.environ)
        require_answer(self.address, f"no job server at {self.address}", _REMEDY)
        logging.getLogger("ray.dashboard.modules").setLevel(logging.ERROR)
        with _without_variables(_ADDRESSES):  # they would take precedence over the given address
            try:
                try:
                    self._client = JobSubmissionClient(self.address)
                except AuthenticationError:  # a token is sent only to a server that asks for one
                    headers = {"Authorization": f"Bearer {_token(os.environ, self.address)}"}
                    self._client = JobSubmissionClient(self.address, headers=headers)
            except AuthenticationError:
                raise MaepressError(f"{self.address} does not accept our token: {_TOKEN_REMEDY}") from None
            except (ConnectionError, RuntimeError, ValueError) as e:
                raise MaepressError(f"no job server at {self.address} ({e}): {_REMEDY}") from None

    def submit(self, entrypoint: str, submission_id: str, environment: Mapping[str, Any]) -> bool:
        """Submit a job once.

        Args:
            entrypoint: the shell command.
            submission_id: unique on the cluster.
            environment: Ray's runtime environment.

        Returns:
            False if the cluster has a job with that id already.

        Raises:
            MaepressError: when the cluster refuses it.
        """
        try:
            self._client.submit_job(
                entrypoint=entrypoint, submission_id=submission_id, runtime_env=dict(environment), metadata={}
            )
        except (RuntimeError, ValueError) as e:
            if "already exists" in str(e):
                return False
            reason = " ".join(str(e).split())
            raise MaepressError(f"{self.address} refuses the job: {reason[:500]}") from None
        return True

    def status(self, submission_id: str) -> str:
        """Ray's name of a job's state."""
        return str(self._client.get_job_info(submission_id).status.value)

    def follow(self, submission_id: str, show: Callable[[str], None]) -> Ended:
        """Show a job's logs from their beginning until it ends.

        After a broken connection it reconnects, and the logs continue where they stopped.

        Args:
            submission_id: of the job.
            show: called with text: lines or parts of lines.

        Raises:
            MaepressError: when the cluster is out of reach for too long; the job itself continues.
        """
        return asyncio.run(self._follow(submission_id, show))

    async def _follow(self, submission_id: str, show: Callable[[str], None]) -> Ended:
        import aiohttp
        import requests

        shown, lost_since = 0, None
        while True:
            try:
                seen = 0
                async for text in _until_silent(self._client.tail_job_logs(submission_id)):
                    if seen + len(text) > shown:  # a new connection sends everything from the beginning
                        show(text[max(0, shown - seen) :])
                        shown, lost_since = seen + len(text), None
                    seen += len(text)
                info = await asyncio.to_thread(self._client.get_job_info, submission_id)
                if info.status.is_terminal():
                    return _ended(info)
                lost_since = None
            except (RuntimeError, OSError, aiohttp.ClientError, requests.RequestException) as e:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > PATIENCE_SECONDS:
                    raise MaepressError(
                        f"{self.address} is out of reach ({e}): the job continues; the same command follows it again"
                    ) from None
            await asyncio.sleep(_RETRY_SECONDS)


def environment(variables: Mapping[str, str], requirements: str) -> dict[str, Any]:
    """The runtime environment: a copy of this folder, the settings' variables and, on request, packages.

    Args:
        variables: of this process.
        requirements: a requirements file to install first, or empty.

    Raises:
        MaepressError: when there is no such file.
    """
    passed = {n: v for n, v in variables.items() if (n.startswith(PREFIX) or n in PASSED) and v and n not in SECRET}
    made: dict[str, Any] = {"working_dir": ".", "excludes": list(EXCLUDED), "env_vars": passed}
    if requirements:
        if not Path(requirements).is_file():
            raise MaepressError(f"--requirements {requirements}: no such file")
        made["pip"] = requirements
    return made


def submission_id_of(words: Sequence[str], config: str | None, variables: Mapping[str, str], day: date) -> str:
    """A name that the same job has for a day: job, date, and a hash of arguments, configuration and variables.

    Args:
        words: the job and its arguments.
        config: its configuration file, None for none.
        variables: environment variables that it gets.
        day: the date.
    """
    told = hashlib.sha256(repr((list(words), sorted(variables.items()))).encode())
    if config is not None:
        told.update(Path(config).read_bytes())
    return f"{words[0]}-{day:%Y%m%d}-{told.hexdigest()[:8]}"


async def _until_silent(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """The texts until they end, or until none came for too long."""
    while True:
        try:
            yield await asyncio.wait_for(anext(texts), _SILENCE_SECONDS)
        except (StopAsyncIteration, TimeoutError):
            return


def _ended(info: Any) -> Ended:
    status = str(info.status.value)
    exit_status = {"SUCCEEDED": 0, "STOPPED": INTERRUPTED}.get(status, info.driver_exit_code or FAILED)
    return Ended(status, exit_status, "" if status == "SUCCEEDED" else str(info.message or ""))


def _address_of_environment(variables: Mapping[str, str]) -> str:
    """The first variable that holds a job server's URL. RAY_ADDRESS may also name the cluster's internal port."""
    given = (variables.get(name, "") for name in _ADDRESSES)
    return next((url for url in given if url.startswith(("http://", "https://"))), DEFAULT_ADDRESS)


def _token(variables: Mapping[str, str], address: str) -> str:
    """Our token, from the places that Ray's own tools use.

    Raises:
        MaepressError: when there is none.
    """
    if given := variables.get("RAY_AUTH_TOKEN"):
        return given
    path = Path(variables.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        raise MaepressError(f"{address} asks for a token: {_TOKEN_REMEDY}") from None


@contextlib.contextmanager
def _without_variables(names: Sequence[str]) -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
