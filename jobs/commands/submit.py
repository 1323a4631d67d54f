"""`maepress submit`: run any other job on a cluster."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from jobs.framework.flags import Parser
from jobs.framework.job import DONE, Job
from jobs.framework.output import Output
from jobs.framework.settings import resolve
from model.core.errors import MaepressError

_WRITTEN = ("archive", "dest", "out")
"""Settings that name where a job writes."""


class SubmitSettings(BaseModel):
    """Settings of `maepress submit`: job, cluster and name of the submission."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    job: str = Field(description="the job with its arguments, after --, as you would type it on the cluster")
    address: str = Field(
        "", description="the cluster's job server, http://HOST:8265; empty: RAY_ADDRESS, or this machine's"
    )
    wait: bool = Field(True, description="follow the job's logs and end with its exit status")
    submission_id: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]*$",
        max_length=200,
        description="name of the submission; empty: job, date and a hash of its arguments and configuration, so that "
        "the same job is submitted once per day (UTC) and followed if it was submitted before",
    )
    requirements: str = Field(
        "", description="a requirements file that each machine installs first; empty if the machines have them"
    )


class _WordsBehindDashes(Parser):
    """Parses `[options] -- JOB ...`: the words after the dashes become one argument, quoted for `shlex.split`."""

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments; see `Parser.parse`."""
        words = list(argv)
        if "--" in words:
            at = words.index("--")
            words[at:] = [shlex.join(words[at + 1 :])] if words[at + 1 :] else []
        return super().parse(words)


def _run(settings: SubmitSettings, output: Output) -> int:
    from jobs.framework.job_client import Cluster, environment, submission_id_of

    words = shlex.split(settings.job)
    config = _checked(words)
    runtime = environment(os.environ, settings.requirements)
    name = settings.submission_id or submission_id_of(words, config, runtime["env_vars"], datetime.now(UTC).date())
    cluster = Cluster(settings.address)
    fresh = cluster.submit(f"python -m maepress {shlex.join(words)}", name, runtime)
    if fresh:
        output.progress(f"submitted {name} to {cluster.address}")
    else:
        state = cluster.status(name)
        output.progress(
            f"{name} was submitted before ({state}) and is followed; to submit it again, give --submission-id NAME"
        )
    if not settings.wait:
        output.result({"submission_id": name, "submitted": fresh, "status": cluster.status(name)})
        output.line(name)
        return DONE
    stream = sys.stderr if output.as_json else sys.stdout
    try:
        ended = cluster.follow(name, lambda text: print(text, end="", file=stream, flush=True))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{name} continues; the same command follows it again, `ray job stop {name}` stops it"
        ) from None
    output.result({"submission_id": name, "submitted": fresh, "status": ended.status, "exit_status": ended.exit_status})
    output.progress(f"{name}: {ended.status.lower()}, exit status {ended.exit_status}")
    if ended.message and ended.exit_status and "exit code" not in ended.message:  # it never started
        output.progress(ended.message)
    return ended.exit_status


def _checked(words: Sequence[str]) -> str | None:
    """Check the job here, as the cluster would refuse it only minutes later.

    Returns:
        The job's configuration file, if it has one.

    Raises:
        MaepressError: for an unknown job, wrong arguments, and local paths that the cluster does not share.
    """
    from jobs.framework.registry import NAMES, load

    if not words or words[0] not in NAMES or words[0] == JOB.name:
        known = ", ".join(name for name in NAMES if name != JOB.name)
        raise MaepressError(f"no job to submit: write `maepress submit -- JOB ...` with one of {known}")
    job = load(words[0])
    flags = vars(job.parser().parse(words[1:]))
    config: str | None = flags.pop("config")
    for name in ("json", "quiet", "log_format"):
        flags.pop(name, None)
    if config is not None and (os.path.isabs(config) or ".." in Path(config).parts):
        raise MaepressError(
            f"{config} must lie in this folder, which is sent to the cluster, and be given as a relative path"
        )
    kind: type[BaseModel] = job.settings()  # type: ignore[assignment]  # each job has its own settings class
    settings = resolve(kind, flags, positionals=job.positionals, config=config)
    for name in _WRITTEN:
        place = getattr(settings, name, None)
        if isinstance(place, str) and "://" not in place and not os.path.isabs(place):
            raise MaepressError(
                f"{name.upper()} {place} would be lost with the cluster's copy of this folder: give a URL "
                "(s3://...), or an absolute path on a file system that all machines share"
            )
    return config


JOB: "Job[SubmitSettings]" = Job(
    name="submit",
    about="Sends a job to a Ray cluster: packs this folder (without .git, .venv, build and files that Git ignores), "
    "passes the MAEPRESS_* variables, shows the job's logs and ends with its exit status. It reconnects when the "
    "connection breaks. A job that was submitted before on the same day is followed, not submitted again. Credentials "
    "are not sent: the cluster's machines have their own.",
    example="maepress submit --address http://127.0.0.1:8265 -- sync nightly.yaml",
    settings=lambda: SubmitSettings,
    run=_run,
    extra="archive",
    positionals=("job",),
    parse_with=_WordsBehindDashes,
    usage="maepress submit [options] -- JOB ...",
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
