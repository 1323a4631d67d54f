"""Completion, manual page and desktop files, each tried with the program that reads it."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.cli import main
from jobs.framework.registry import NAMES
from jobs.shell.completion import SHELLS, completion
from jobs.shell.man_page import man_page

ROOT = Path(__file__).resolve().parents[3]
DESKTOP = ROOT / "deploy" / "desktop"


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        (folder / shell).write_text(completion(shell))
    return {shell: folder / shell for shell in SHELLS}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["maepress", "re"], {"release", "restore", "replicate"}),
        (["maepress", "encode", "--min"], {"--min-psnr", "--min-ms-ssim", "--min-ssimulacra2"}),
        (["maepress", "train", "--distortion", "ms"], {"mse", "ms-ssim"}),
    ],
)
def test_bash_completes_jobs_flags_and_choices(words: list[str], expected: set[str], scripts: dict[str, Path]) -> None:
    program("bash")
    quoted = " ".join(f"'{word}'" for word in words)
    asked = f"source {scripts['bash']}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _shtab_maepress"
    last = words[-1]
    offered = set(run("bash", "-c", f'{asked} maepress "{last}"; printf "%s\\n" "${{COMPREPLY[@]}}"').split())
    assert {word for word in offered if word.startswith(last[:2])} >= expected


def test_fish_completes_jobs_and_flags(scripts: dict[str, Path]) -> None:
    program("fish")
    offered = run(
        "fish", "-c", f"source {scripts['fish']}; complete -C 'maepress re'; complete -C 'maepress encode --min-p'"
    )
    assert {"release", "restore", "replicate", "--min-psnr"} <= set(offered.split())


def test_zsh_accepts_the_script(scripts: dict[str, Path]) -> None:
    program("zsh")
    assert run("zsh", "-n", str(scripts["zsh"])) == ""
    assert scripts["zsh"].read_text().startswith("#compdef maepress")


def test_the_manual_page_is_one_without_a_warning_and_has_every_job(tmp_path: Path) -> None:
    page = tmp_path / "maepress.1"
    page.write_text(man_page())
    text = page.read_text()
    assert all(f".SS maepress {name}\n" in text for name in NAMES)
    program("groff")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tascii", "-P-cbou", str(page)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--min-psnr X" in done.stdout and "EXIT STATUS" in done.stdout


@pytest.mark.parametrize("words", [["--print-completion"], ["--print-completion", "tcsh"], ["--print-man-page", "x"]])
def test_a_wrong_request_is_answered_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("maepress: ") and err.count("\n") == 1


def test_file_names_a_payload_with_its_quality_and_model() -> None:
    program("file")
    payload = next((ROOT / "tests" / "expected" / "version-1").rglob("*.mae"))
    said = run("file", "-b", "-m", str(DESKTOP / "maepress.magic"), str(payload))
    data = payload.read_bytes()
    colour, quality, model = ("RGB", "grey")[data[5]], data[6] // 4, data[7:15].hex()
    assert said == f"maepress image, format version 1, {colour}, quality {quality}, model {model}\n"
    assert run("file", "-b", "--mime-type", "-m", str(DESKTOP / "maepress.magic"), str(payload)) == "image/x-maepress\n"


def test_the_desktops_database_of_types_takes_ours(tmp_path: Path) -> None:
    program("update-mime-database")
    (tmp_path / "packages").mkdir()
    shutil.copy(DESKTOP / "maepress.xml", tmp_path / "packages")
    run("update-mime-database", str(tmp_path))
    assert "image/x-maepress:*.mae" in (tmp_path / "globs").read_text()
    assert b"MAEP" in (tmp_path / "magic").read_bytes()


@pytest.mark.slow
def test_the_thumbnailer_writes_an_upright_picture_of_the_size_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import maepress.pillow_plugin  # noqa: F401  # registers the format
    from maepress.thumbnailer import main as thumbnail

    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    rows, columns = np.mgrid[:64, :160]
    pixels = np.stack([rows * 3, columns, rows + columns], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.mae", exif=exif)
    assert thumbnail([str(tmp_path / "a.mae"), str(tmp_path / "a.png"), "80"]) == 0
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (32, 80)
    (tmp_path / "b.mae").write_bytes(b"MAEP" + bytes(40))
    assert thumbnail([str(tmp_path / "b.mae"), str(tmp_path / "b.png"), "80"]) == 2
    assert thumbnail(["x"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert not (tmp_path / "b.png").exists()
    assert "Exec=maepress-thumbnailer %i %o %s" in (DESKTOP / "maepress.thumbnailer").read_text()
