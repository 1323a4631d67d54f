"""The Ray connection of every job: the cluster that RAY_ADDRESS names, or this machine alone."""

import logging
import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs.framework.children import end_children
from jobs.framework.signals import interrupted, postponed, reinstall
from jobs.framework.spared_imports import spare_no_more
from jobs.framework.stderr_filter import without_unwanted_lines
from model.core.errors import MaepressError
from pipeline.execution.executors import ray_is_connected
from pipeline.execution.ray_init import started_by

# Ray's functions start Ray, or join any cluster that they find on this machine, where it is not connected; so did Ray
# Data's threads after the end of a session. Ray reads this when it is imported.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")

START_ATTEMPTS = 3
_GOODBYE_SECONDS = 0.5
"""Time that an interrupted driver takes to part from Ray's processes."""
_REMEDY = "start it, or unset RAY_ADDRESS to use this machine"


@contextmanager
def ray_session(notify: Callable[[str], None] | None = None) -> Iterator[None]:
    """Within a `with` block, connect to Ray when the job first needs it; disconnect at the end.

    An existing connection is used and stays open. A job that runs in this process needs no Ray.

    Args:
        notify: called with a line of text before Ray starts, which takes seconds.

    Raises:
        MaepressError: when RAY_ADDRESS names a cluster that does not answer.
    """
    if ray_is_connected():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or None
    if address is not None:
        require_answer(address, f"no Ray cluster at RAY_ADDRESS={address}", _REMEDY)

    def start() -> None:
        if notify is not None:
            notify("starting Ray ...")
        spare_no_more()  # Ray Data has frames of pandas
        with _signals_stay_ours():
            _connect(address)
        quiet_data()

    with without_unwanted_lines(), started_by(start):
        try:
            yield
        finally:
            if ray_is_connected():
                _disconnect()


def _disconnect() -> None:
    import ray

    if interrupted():  # Ray would wait for each of its processes
        killing = threading.Timer(_GOODBYE_SECONDS, end_children)
        killing.daemon = True
        killing.start()
    ray.shutdown()


@contextmanager
def _signals_stay_ours() -> Iterator[None]:
    """Let a signal wait for the end of a `with` block that starts Ray, and keep Ray from taking signals for itself.

    While it starts, Ray swallows interrupts, and a job that goes on then may wait for Ray forever. Ray ends the process
    at SIGTERM in its own ways; its native code prints a stack.
    """
    import ray._private.utils as utils

    before = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    with postponed():
        try:
            yield
        finally:
            utils.set_sigterm_handler = before
            reinstall()


def _connect(address: str | None) -> None:
    from pipeline.execution.ray_init import start_ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if address is None:
            _start_here()
            return
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
    # Tracebacks of what failed in a worker: the job says what that was, in one line.
    for name in ("ray.data.exceptions", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
