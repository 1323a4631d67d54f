"""A job on a cluster, through the Ray Jobs API: sent once, its logs followed to the end, over broken connections too.

this folder, MAEPRESS_* --package--> job server --starts--> python -m jobs JOB ...   (on the head, in a copy of it)
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
"""What of the folder stays here (Git's own list of ignored files holds beside it): histories, environments, caches.
Not ".*", which would take the folder itself for hidden, as its name seen from inside is "."."""
PASSED = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Variables that travel beside MAEPRESS_*. Credentials never do: whoever may see a job may see its environment."""
PATIENCE_SECONDS = 600.0
"""How long a cluster may be out of reach before following its job is given up."""
_RETRY_SECONDS = 2.0
_SILENCE_SECONDS = 120.0
"""Silence after which a connection is made anew: a router in between may have forgotten it without a word."""
_REMEDY = "give --address http://HOST:8265 of a cluster that runs"
_TOKEN_REMEDY = "RAY_AUTH_TOKEN or ~/.ray/auth_token must hold the cluster's (`ray get-auth-token` there shows it)"
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended: Ray's word for it, the exit status that stands for it here, Ray's message where it failed."""

    status: str
    exit_status: int
    message: str


class Cluster:
    """The job server of a cluster."""

    def __init__(self, address: str) -> None:
        """Connect.

        Args:
            address: http://HOST:8265; empty for what RAY_API_SERVER_ADDRESS or RAY_ADDRESS say, or this machine's.

        Raises:
            MaepressError: when nobody answers there, or our token is not the cluster's.
        """
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        self.address = address or _address_of_environment(os.environ)
        require_answer(self.address, f"no job server at {self.address}", _REMEDY)
        logging.getLogger("ray.dashboard.modules").setLevel(logging.ERROR)
        with _without_variables(_ADDRESSES):  # they would go before an address that was given
            try:
                try:
                    self._client = JobSubmissionClient(self.address)
                except AuthenticationError:  # a token goes only to who asks for one
                    headers = {"Authorization": f"Bearer {_token(os.environ, self.address)}"}
                    self._client = JobSubmissionClient(self.address, headers=headers)
            except AuthenticationError:
                raise MaepressError(f"{self.address} does not accept our token: {_TOKEN_REMEDY}") from None
            except (ConnectionError, RuntimeError, ValueError) as e:
                raise MaepressError(f"no job server at {self.address} ({e}): {_REMEDY}") from None

    def submit(self, entrypoint: str, submission_id: str, environment: Mapping[str, Any]) -> bool:
        """Send a job, once: False when there is one of that id already.

        Args:
            entrypoint: the shell command.
            submission_id: unique on the cluster.
            environment: Ray's runtime environment.

        Raises:
            MaepressError: when the cluster does not take it.
        """
        try:
            self._client.submit_job(
                entrypoint=entrypoint, submission_id=submission_id, runtime_env=dict(environment), metadata={}
            )
        except (RuntimeError, ValueError) as e:
            if "already exists" in str(e):
                return False
            reason = " ".join(str(e).split())
            raise MaepressError(f"{self.address} does not take the job: {reason[:500]}") from None
        return True

    def status(self, submission_id: str) -> str:
        """Ray's word for where a job stands."""
        return str(self._client.get_job_info(submission_id).status.value)

    def follow(self, submission_id: str, show: Callable[[str], None]) -> Ended:
        """Show a job's logs as they come, from their beginning, until it ends.

        A connection that breaks is made anew, and the logs go on where they stopped.

        Args:
            submission_id: of the job.
            show: is given text, lines or parts of them.

        Raises:
            MaepressError: when the cluster is out of reach for too long; the job is none the worse for it.
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
                    if seen + len(text) > shown:  # a new connection tells everything from the beginning
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
                        f"{self.address} is out of reach ({e}): the job goes on without us; "
                        "the same command follows it again"
                    ) from None
            await asyncio.sleep(_RETRY_SECONDS)


def environment(variables: Mapping[str, str], requirements: str) -> dict[str, Any]:
    """The runtime environment: a copy of this folder, the settings' variables, packages where they are asked for.

    Args:
        variables: of this process.
        requirements: a requirements file to install first, or empty.

    Raises:
        MaepressError: when there is no such file.
    """
    passed = {n: v for n, v in variables.items() if (n.startswith(PREFIX) or n in PASSED) and v}
    made: dict[str, Any] = {"working_dir": ".", "excludes": list(EXCLUDED), "env_vars": passed}
    if requirements:
        if not Path(requirements).is_file():
            raise MaepressError(f"--requirements {requirements}: no such file")
        made["pip"] = requirements
    return made


def submission_id_of(words: Sequence[str], config: str | None, variables: Mapping[str, str], day: date) -> str:
    """What the same job is called all day: its name, the date, and a hash of all that it is told.

    Args:
        words: the job and its arguments.
        config: its configuration file, None for none.
        variables: what it gets of the environment.
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
    """RAY_ADDRESS counts only where it is a job server's: it may name the cluster's inner port."""
    given = (variables.get(name, "") for name in _ADDRESSES)
    return next((url for url in given if url.startswith(("http://", "https://"))), DEFAULT_ADDRESS)


def _token(variables: Mapping[str, str], address: str) -> str:
    """Our token, from where Ray's own tools take it.

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
