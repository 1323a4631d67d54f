"""The Ray connection of every job: the cluster that RAY_ADDRESS names, or this machine alone."""

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.framework.stderr_filter import without_unwanted_lines
from model.core.errors import MaepressError

# Ray's functions start Ray, or join any cluster that they find on this machine, where it is not connected; so did Ray
# Data's threads after the end of a session. Ray reads this when it is imported.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")

START_ATTEMPTS = 3
_REMEDY = "start it, or unset RAY_ADDRESS to use this machine"


@contextmanager
def ray_session() -> Iterator[None]:
    """Connect to Ray for a `with` block; an existing connection is used and stays open.

    Raises:
        MaepressError: when RAY_ADDRESS names a cluster that does not answer.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    with without_unwanted_lines():
        _connect(os.environ.get("RAY_ADDRESS") or None)
        quiet_data()
        try:
            yield
        finally:
            ray.shutdown()


def _connect(address: str | None) -> None:
    from pipeline.execution.ray_init import start_ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if address is None:
            _start_here()
            return
        require_answer(address, f"no Ray cluster at RAY_ADDRESS={address}", _REMEDY)
        try:
            start_ray(address=address, logging_level=logging.ERROR)
        except ConnectionError as e:
            raise MaepressError(f"no Ray cluster at RAY_ADDRESS={address} ({e}): {_REMEDY}") from None


def _start_here() -> None:
    """Start Ray on this machine; try again if it was not ready within its own limit of 30 seconds."""
    import ray

    from pipeline.execution.ray_init import start_ray

    for attempt in range(START_ATTEMPTS):
        try:
            start_ray(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
            return
        except Exception as e:  # Ray raises no narrower class here
            if "timed out during startup" not in str(e):
                raise
            ray.shutdown()
            if attempt == START_ATTEMPTS - 1:
                raise MaepressError("Ray did not start in time: the machine is too busy; try again later") from e


def require_answer(address: str, complaint: str, remedy: str) -> None:
    """Refuse an address where no server listens; Ray itself would try for minutes and then end the process.

    Args:
        address: HOST:PORT, with or without a scheme; other forms are not checked.
        complaint: how the error begins.
        remedy: how it ends.

    Raises:
        MaepressError: when no server answers.
    """
    host, _, port = address.rpartition("://")[2].rstrip("/").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as e:
        raise MaepressError(f"{complaint} ({e.strerror or e}): {remedy}") from None


def quiet_data() -> None:
    """Turn off Ray Data's progress display and error log.

    maepress has a progress display of its own, which counts images instead of blocks, and prints each error itself.
    """
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.data.exceptions").setLevel(logging.CRITICAL)
