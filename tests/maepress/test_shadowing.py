"""A foreign `model.py` or `pipeline/` in the working folder has no effect, or is named in one line."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
ROGUE = "raise SystemExit('this is not maepress')\n"


@pytest.fixture
def rogue_folder(tmp_path: Path) -> Path:
    """A folder with a module and packages that have our packages' names, and with images."""
    folder = tmp_path / "rogue"
    for name in ("pipeline", "jobs", "photos"):
        (folder / name).mkdir(parents=True)
    for file in ("model.py", "pipeline/__init__.py", "jobs/__init__.py"):
        (folder / file).write_text(ROGUE)
    ramp = np.add.outer(np.arange(96), np.arange(128)) % 256
    noise = np.random.default_rng(0).integers(0, 64, (96, 128))
    pixels = np.dstack([ramp, ramp[::-1], ramp // 2 + noise]).astype(np.uint8)
    for name in ("a", "b"):
        Image.fromarray(pixels).save(folder / "photos" / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that maepress's wheel is installed in, beside the packages that it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("maepress", "model", "pipeline", "jobs", "deploy"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "PACKAGE.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "-w", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("maepress-*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    # A path in a .pth file only adds to the path: the editable install of this clone stays out.
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True)
    return python.parent


def run(command: Sequence[str | Path], folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
    environment["PATH"] += f"{os.pathsep}{Path(sys.executable).parent}"  # where the S3 server's binary is
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_installed_wheel_encodes_and_decodes_in_a_folder_with_packages_of_our_names(
    installed: Path, rogue_folder: Path
) -> None:
    encoded = run([installed / "maepress", "encode", "photos", "archive", "--executor", "ray"], rogue_folder)
    assert encoded.returncode == 0, encoded.stderr
    # With -m, Python puts the working folder first on the path of the driver, too.
    decode = [str(installed / "python"), "-m", "maepress", "decode", "archive", "out", "--format", "png"]
    decoded = run(decode, rogue_folder)
    assert decoded.returncode == 0, decoded.stderr
    assert sorted(path.name for path in (rogue_folder / "out").iterdir()) == ["a.png", "b.png"]
    with Image.open(rogue_folder / "out" / "a.png") as image:
        assert image.size == (128, 96)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ray_that_somebody_else_started_among_packages_of_our_names_is_refused_in_one_line(
    installed: Path, rogue_folder: Path
) -> None:
    script = (
        "import ray, maepress\n"
        "ray.init(address='local', include_dashboard=False, num_cpus=1, log_to_driver=False, logging_level='ERROR')\n"
        "maepress.encode(maepress.EncodeSettings(source='photos', archive='archive'), quiet=True)\n"
    )
    done = run([installed / "python", "-c", script], rogue_folder)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"model.core.errors.MaepressError: Ray's workers would import {rogue_folder / 'model.py'} in place of "
        "maepress's own package: rename it, or let maepress start Ray"
    )


@pytest.mark.slow
def test_an_installed_wheel_holds_all_that_its_demo_needs(installed: Path, tmp_path: Path) -> None:
    usage = run([installed / "python", "-m", "jobs.demo", "--help"], tmp_path)
    assert usage.stdout.startswith("usage: python -m jobs.demo"), usage.stderr
    photos = run([installed / "python", "-m", "jobs.demo.photos", "photos", "--count", "3"], tmp_path)
    assert photos.returncode == 0, photos.stderr
    assert len(list((tmp_path / "photos").rglob("*.*"))) >= 3
    ask = (
        "import botocore.session as b; print(b.get_session().create_client('s3').list_buckets()['Buckets'][0]['Name'])"
    )
    served = run([installed / "python", "-m", "jobs.demo.run_with_server", installed / "python", "-c", ask], tmp_path)
    assert served.stdout == "maepress\n", served.stderr


def test_a_script_beside_a_module_of_our_name_gets_ours_and_one_warning(rogue_folder: Path) -> None:
    (rogue_folder / "script.py").write_text("import maepress\nmaepress.Target\nmaepress.MaepressError\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=rogue_folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [
        f"{rogue_folder / 'script.py'}:2: UserWarning: `import model` now means maepress's own package, not "
        f"{rogue_folder / 'model.py'}: rename that, if this process needs it",
        "  maepress.Target",
    ]


def test_a_module_of_our_name_that_was_imported_first_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("")
    line = (
        f"{tmp_path / 'model.py'} has the name of maepress's own package 'model' and was imported first: rename it, "
        "or import maepress in a process of its own\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command_line = "import model, sys; from maepress.__main__ import main; sys.exit(main(['--version']))"
    for script, status, told in (
        (command_line, 2, f"maepress: {line}"),
        ("import model; from maepress import Codec", 1, f"ImportError: {line}"),
    ):
        command = [sys.executable, "-P", "-c", script]  # -P: this clone is no part of the path but by PYTHONPATH
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == status
        assert done.stderr.endswith(told)


def test_the_sandboxs_child_has_our_packages_although_others_come_first_on_the_path(rogue_folder: Path) -> None:
    script = (
        "import sys\n"
        "from pipeline.images.limits import Limits\nfrom pipeline.images.sandbox.sandbox import Sandbox\n"
        f"sys.path.insert(0, {str(rogue_folder)!r})\n"
        "reading = Sandbox(Limits(60, 1 << 30)).read(open('photos/a.png', 'rb').read(), max_pixels=1 << 20)\n"
        "print(reading.width, reading.height)\n"
    )
    command, environment = [sys.executable, "-P", "-c", script], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=rogue_folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "128 96\n"
