"""The list of jobs, and how a job's name leads to its module."""

import importlib

from jobs.framework.job import Job

NAMES = (
    "train",
    "encode",
    "sync",
    "decode",
    "status",
    "verify",
    "history",
    "restore",
    "vacuum",
    "compact",
    "estimate",
    "evaluate",
    "browse",
    "probe",
    "tune",
    "submit",
    "compress",
    "decompress",
)


def load(name: str) -> Job[object]:  # type: ignore[type-var]  # each job has its own settings class
    """The job of that name."""
    job: Job[object] = importlib.import_module(f"jobs.commands.{name}").JOB  # type: ignore[type-var]
    return job
