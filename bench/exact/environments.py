"""Other interpreters: this one with fewer instruction sets, or with another version of torch."""

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from bench.data import ROOT
from bench.exact.observe import Arrangement, Observation, load
from model.core.errors import MaepressError

NEEDED = ("numba", "numpy", "pillow", "safetensors", "google-crc32c")
"""Packages that the codec imports beside torch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """An interpreter and its environment variables."""

    name: str
    python: Path = Path(sys.executable)
    variables: dict[str, str] = field(default_factory=dict)


PROCESSORS = (
    Environment(
        name="no AVX-512",
        variables={"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    ),
    Environment(
        name="no AVX",
        variables={"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"},
    ),
)
"""Environment variables that switch off instruction sets, so that torch computes as on other processors."""


def with_torch(wanted: str, folder: Path) -> Environment:
    """A virtual environment with a version of torch, made if it is missing.

    Args:
        wanted: a version of torch that pip finds, such as 2.14.1. Most are builds for CUDA of some GB.
        folder: where environments are kept.

    Raises:
        MaepressError: when pip cannot install it.
    """
    home = folder / f"torch-{wanted}"
    python = home / "bin" / "python"
    if not (home / ".ready").exists():
        venv.create(home, with_pip=True, clear=True)
        pinned = [f"{name}=={version(name)}" for name in NEEDED]
        if subprocess.run([python, "-m", "pip", "install", "--quiet", f"torch=={wanted}", *pinned]).returncode:
            raise MaepressError(f"torch {wanted} cannot be installed: choose a version that pip finds")
        (home / ".ready").touch()
    return Environment(name=f"torch {wanted}", python=python)


def observe_there(
    environment: Environment,
    arrangement: Arrangement,
    images: Sequence[Path],
    size: tuple[int, int],
    qualities: Sequence[int],
    given: Sequence[bytes],
) -> Observation:
    """Run `bench.exact.observe.observe` in another interpreter on the middle of images.

    Raises:
        MaepressError: when the child fails.
    """
    task = {
        "arrangement": asdict(arrangement),
        "images": [str(path.resolve()) for path in images],
        "size": size,
        "qualities": list(qualities),
        "given": [payload.hex() for payload in given],
    }
    with tempfile.TemporaryDirectory() as folder:
        tasks, out = Path(folder) / "tasks.json", Path(folder) / "out.npz"
        tasks.write_text(json.dumps(task))
        done = subprocess.run(
            [environment.python, "-m", "bench.exact.observe", tasks, out],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment.variables,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise MaepressError(f"{environment.name} failed: {' '.join(done.stderr.split())[-300:]}")
        return load(out)
