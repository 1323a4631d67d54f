"""Starting Ray on this machine, with as many idle workers as the stages' tasks can use at once."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pipeline
from model.core.cores import cores
from model.core.errors import MaepressError

SOFT_LIMIT = "RAY_num_workers_soft_limit"
WORKERS_PER_CORE = 4
"""One encoder, and tasks that claim a tenth of a core each. An idle worker costs 0.9 % of a
core."""
ROOT = Path(pipeline.__file__).parent.parent
"""The folder that holds maepress's packages."""


def start_ray(**options: Any) -> None:
    """Start Ray on this machine, for this machine alone, or connect to a cluster if `options` name one.

    By default Ray ends idle workers beyond one per core after a second. Tasks that claim a tenth of
    a core need more workers than that. Starting new ones every few seconds, at two to three CPU
    seconds each, took a third of an encode's time. If the variable is set already, it stays. On a
    cluster, set it before `ray start`, as in `cluster.yaml`.

    Args:
        options: arguments of `ray.init`.
    """
    import ray  # here, as it takes a second: jobs that run in their own process do without

    os.environ.setdefault(SOFT_LIMIT, str(WORKERS_PER_CORE * cores()))
    if shadowing_module() is not None:
        options = options | {"runtime_env": {"worker_process_setup_hook": _own_packages_first(str(ROOT))}}
    with _on_loopback() if options.get("address") == "local" else nullcontext():
        ray.init(**options)


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let a Ray that is started in the `with` block take the address 127.0.0.1.

    Its servers then listen there alone. By default they listen on every interface, and whoever
    reaches them runs code. Ray has this setting for other operating systems and replaces a given
    loopback address by the machine's, so it is changed here, in this process and for its children.
    """
    from ray._private import ray_constants

    before, variable = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR)
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if variable is None:
            del os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR]
        else:
            os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = variable


def _start_by_default() -> None:
    # Without an address Ray would join any cluster that runs on this machine, whoever started it.
    start_ray(address=os.environ.get("RAY_ADDRESS") or "local")


_starter: Callable[[], None] = _start_by_default


@contextmanager
def started_by(starter: Callable[[], None]) -> Iterator[None]:
    """Within a `with` block, `require_ray` starts Ray by this function."""
    global _starter
    before, _starter = _starter, starter
    try:
        yield
    finally:
        _starter = before


def require_ray() -> None:
    """Start Ray unless it is connected.

    Raises:
        MaepressError: when Ray was connected without `start_ray`, and its workers would import
            somebody else's `model` or `pipeline` in place of ours.
    """
    import ray

    if not ray.is_initialized():
        _starter()
    elif not ray.get_runtime_context().runtime_env.get("worker_process_setup_hook"):
        module = shadowing_module()
        if module is not None:
            raise MaepressError(
                f"Ray's workers would import {module} in place of maepress's own package: rename it, or let maepress "
                "start Ray"
            )


def shadowing_module() -> str | None:
    """The file or folder that `import model` or `import pipeline` would find in a worker in place of ours, or None.

    A worker's path begins with the current folder and the folder of the driver's script, which Ray
    inserts after the worker has started; a `PYTHONPATH` that begins with our own folder would come
    behind them.
    """
    script = os.path.dirname(os.path.realpath(sys.argv[0])) if sys.argv else ""
    folders = [os.getcwd(), *([script] if script in sys.path else []), *sys.path]
    for name in ("model", "pipeline"):
        found = PathFinder.find_spec(name, folders)
        place = found and (found.origin or next(iter(found.submodule_search_locations or ()), None))
        if place and Path(place).resolve() not in (ROOT / name, ROOT / name / "__init__.py"):
            return place
    return None


def _own_packages_first(root: str) -> Callable[[], None]:
    """The hook that imports maepress's own packages in a worker before it gets its first task.

    Returns:
        A function without globals: Ray sends it by value, so that no worker needs our packages to
        unpickle it.
    """

    def import_own_packages() -> None:
        import importlib
        import os
        import sys

        # On another machine maepress may be installed elsewhere; the driver's folders are not on
        # the path yet.
        for folder in (root, *sys.path):
            if all(os.path.isfile(os.path.join(folder, name, "__init__.py")) for name in ("maepress", "pipeline")):
                sys.path.insert(0, folder)
                for name in ("model", "pipeline"):
                    importlib.import_module(name)
                sys.path.remove(folder)
                return

    return import_own_packages
