"""An installation of the codec alone: packages, megabytes, and seconds to open one `.mae` file.

    python -m bench.install                    # in a fresh environment, which is removed afterwards
    python -m bench.install --extras archive   # the same with an extra

The versions are those of requirements.txt; torch is the build that pip takes here. The package index's own build for
Linux brings CUDA's libraries, some gigabytes; `--newest` installs what pip takes without our lock.

Needs nothing but Python, pip and an index. Seconds are the least of five processes for the first file of a process,
which loads torch and the model, and of the files after it.
"""

import argparse
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PROGRAM = """
import sys, time
begun = time.perf_counter()
import maepress.pillow_plugin
from PIL import Image
seconds = []
for _ in range(4):
    with Image.open(sys.argv[1]) as image:
        image.load()
    seconds.append(time.perf_counter() - begun)
    begun = time.perf_counter()
print(seconds[0], min(seconds[1:]), image.width, image.height)
"""
_LARGEST = """
import importlib.metadata, pathlib
for found in importlib.metadata.distributions():
    files = [pathlib.Path(str(found.locate_file(file))) for file in found.files or ()]
    print(found.metadata["Name"], found.version, sum(file.stat().st_size for file in files if file.is_file()))
"""


def measure(environment: Path, extras: str, newest: bool) -> None:
    """Install into an environment that is made, and print what came of it."""
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    what = f"{ROOT}[{extras}]" if extras else str(ROOT)
    lock = [] if newest else ["--constraint", str(ROOT / "requirements.txt")]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", *lock, what], check=True)
    run = [python, "-c"]
    rows = [line.split() for line in _output([*run, _LARGEST]).splitlines()]
    packages = sorted(((int(size), name, version) for name, version, size in rows if name != "pip"), reverse=True)
    print(f"{len(packages)} packages, {sum(size for size, _, _ in packages) / 1e6:.0f} MB")
    for size, name, version in packages[:6]:
        print(f"  {name} {version}: {size / 1e6:.0f} MB")
    folder = environment / "try"
    folder.mkdir()
    subprocess.run([str(environment / "bin" / "maepress"), "demo", "--codec"], cwd=folder, check=True)
    file = folder / "demo" / "astronaut-40.mae"
    times = [_output([*run, _PROGRAM, str(file)]).split() for _ in range(5)]
    first, next_ = (min(float(row[i]) for row in times) for i in (0, 1))
    print(f"{file.name}, {times[0][2]}x{times[0][3]} pixels: {first:.2f} s from import, {next_:.3f} s for the next")


def _output(command: list[str]) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.install", description="size and speed of an installation")
    parser.add_argument("--extras", default="", help="such as archive,train")
    parser.add_argument("--keep", type=Path, help="a folder that the environment is made in and stays in")
    parser.add_argument("--newest", action="store_true", help="newest versions instead of the locked ones")
    options = parser.parse_args()
    if options.keep:
        measure(options.keep, options.extras, options.newest)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder) / "environment", options.extras, options.newest)


if __name__ == "__main__":
    main()
