"""Write the locks with hashes: `make lock`, after .ci/lock.py; asks the package index.

    requirements-hashed.txt    the packages of requirements.txt, each with the SHA-256 of every file of its release
    requirements-cuda.txt      what the index's own torch needs beside them on Linux, for machines with GPUs
    requirements-cpu.txt       torch alone, as the build for CPUs that pip takes here

A release has files for many platforms and Pythons, so the hashes hold beyond this machine. torch's build for CPUs has
the same version and is not on the index. pip prefers files whose hash the index states, so that build is installed
first, and the other lock finds it in place.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.txt"
LINUX = "x86_64-manylinux_2_28"
PYTHON = "3.11"
HEADER = "# {what} Written by `make lock`; do not edit.\n"


def compiled(*options: str) -> dict[str, list[str]]:
    """Each pinned requirement with its hashes, as uv writes them."""
    command = ["uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
    done = subprocess.run(
        [sys.executable, "-m", *command, "--python-version", PYTHON, *options, str(LOCK)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    words = done.stdout.replace("\\\n", " ").splitlines()
    return {line.split()[0]: line.split()[1:] for line in words}


def hash_here(requirement: str) -> str:
    """The hash of the file that pip takes on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder, requirement]
        subprocess.run(command, check=True)
        (file,) = Path(folder).iterdir()
        with file.open("rb") as data:
            return f"--hash=sha256:{hashlib.file_digest(data, 'sha256').hexdigest()}"


def lines(packages: dict[str, list[str]]) -> str:
    """The packages as pip reads them, sorted."""
    return "".join(
        " \\\n    ".join([requirement, *sorted(set(hashes))]) + "\n" for requirement, hashes in sorted(packages.items())
    )


def main() -> None:
    """Write the three files."""
    here = compiled("--no-deps")
    (torch,) = (requirement for requirement in here if requirement.startswith("torch=="))
    cpu = {torch: [hash_here(torch)]}
    linux = {name: hashes for name, hashes in compiled("--python-platform", LINUX).items() if name not in here}
    what = "The packages of requirements.txt with the hashes of all their files."
    (ROOT / "requirements-hashed.txt").write_text(HEADER.format(what=what) + lines(here))
    what = "torch's build for CPUs, for `pip install --no-deps --require-hashes`, before requirements-hashed.txt."
    (ROOT / "requirements-cpu.txt").write_text(HEADER.format(what=what) + lines(cpu))
    what = "What torch for GPUs needs beside requirements-hashed.txt, on Linux."
    (ROOT / "requirements-cuda.txt").write_text(HEADER.format(what=what) + lines(linux))


if __name__ == "__main__":
    main()
