"""The extras of the package: what is installed beside the codec, and for whom a module is missing.

    pip install maepress                 the codec: `.mae` files, compress, decompress, the Pillow plugin
    pip install 'maepress[archive]'      everything else needs at least this

`pyproject.toml` declares the packages. What a command needs it says by the name of an extra (`jobs.framework.job.Job`),
and what a module needs that is loaded on demand is found here by the name of the module that is missing.
"""

import importlib.util
from collections.abc import Iterator

from model.core.errors import MissingPackage

MODULES: dict[str, tuple[str, ...]] = {
    "archive": (
        "aiohttp",
        "botocore",
        "deltalake",
        "fsspec",
        "jinja2",
        "markdown_it",
        "markupsafe",
        "pyarrow",
        "ray",
        "requests",
        "s3fs",
        "scipy",
        "yarl",
    ),
    "train": ("pytorch_msssim", "tensorboard"),
    "viewer": ("prometheus_client", "starlette", "uvicorn"),
    "azure": ("adlfs", "obstore"),
    "gcs": ("gcsfs",),
    "sftp": ("sshfs",),
    "iceberg": ("pyiceberg",),
    "heif": ("pi_heif",),
    "video": ("av",),
    "wandb": ("wandb",),
    "demo": ("skimage", "sklearn"),
}
"""The modules that each extra brings and that maepress imports."""
WITH = {"train": "archive", "viewer": "archive", "demo": "train"}
"""Extras that bring another one."""


def remedy(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'maepress[{extra}]'"


def extra_of(module: str) -> str | None:
    """The extra that brings a module; None for one of ours, of the codec's, or one that nothing of ours imports."""
    top = module.split(".")[0]
    return next((extra for extra, modules in MODULES.items() if top in modules), None)


def missing_package(error: BaseException) -> MissingPackage | None:
    """The error for a user whose installation lacks an extra, if that is what failed: one line with the remedy."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    extra = extra_of(error.name)
    if extra is None:
        return None
    return MissingPackage(f"this needs {error.name.split('.')[0]}, which is not installed: {remedy(extra)}")


def require(extra: str, what: str) -> None:
    """Check that an extra is installed; imports nothing.

    Args:
        extra: its name.
        what: needs it, such as "encode".

    Raises:
        MissingPackage: one line that names the first module that is missing, and the extra.
    """
    lacking = next((module for module in _modules(extra) if not _is_installed(module)), None)
    if lacking is not None:
        raise MissingPackage(f"{what} needs {lacking}, which is not installed: {remedy(extra)}")


def _modules(extra: str) -> Iterator[str]:
    """The modules of an extra and of those that it brings, the most general first."""
    if extra in WITH:
        yield from _modules(WITH[extra])
    yield from MODULES[extra]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
