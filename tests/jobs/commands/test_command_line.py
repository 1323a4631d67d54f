"""The command line is frozen: a flag appears, changes or goes only together with the expected file.

After an intended change: `python -m tests.jobs.commands.test_command_line` writes the file anew.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import main, overview
from jobs.framework.registry import NAMES, load

EXPECTED = Path(__file__).parents[1] / "expected" / "command_line.txt"


def command_line() -> str:
    """Every job with every argument, one per line, with its help text."""
    lines = []
    for name in NAMES:
        lines.append(f"maepress {name}")
        for action in load(name).parser()._actions:
            flags = ", ".join(action.option_strings) or str(action.metavar)
            value = f" {action.metavar}" if action.option_strings and action.nargs != 0 else ""
            lines.append(f"  {flags}{value}: {action.help}".replace("%%", "%"))
        lines.append("")
    return "\n".join(lines)


def test_every_flag_of_every_job_is_an_expected_one() -> None:
    assert command_line() == EXPECTED.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_jobs_help_shows_its_usage_and_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: maepress {name} ")
    assert f"example:\n  maepress {name} " in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("columns", [60, 80, 100, 300])
def test_every_help_fits_the_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    widest = []
    for name in NAMES:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        widest.append(max(map(len, capsys.readouterr().out.splitlines())))
    assert main(["--help"]) == 0
    assert max(*widest, *map(len, capsys.readouterr().out.splitlines())) <= max(columns, 72)
    assert max(widest) > min(columns, 110) - 12, "it uses the width that there is"


@pytest.mark.parametrize("name", NAMES)
def test_a_jobs_example_parses(name: str) -> None:
    job = load(name)
    example = job.example.replace("'", "").split()[2:]
    flags = vars(job.parser().parse(example))
    assert set(job.positionals) <= set(flags)


def test_the_overview_names_every_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert text == overview()
    assert all(f"\n  {name} " in text for name in NAMES)
    assert main([]) == 0


def test_the_readme_lists_every_job_with_its_positionals() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    for name in NAMES:
        assert f"`maepress {name} " in readme


def test_an_unknown_job_is_answered_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pres"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("maepress: unknown job 'pres': known are train, ")
    assert error.count("\n") == 1


def test_the_overview_imports_neither_torch_nor_ray() -> None:
    script = "import sys; from jobs.cli import main; main(['--help']); print({'torch', 'ray'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\nset()\n")


@pytest.mark.parametrize("module", ["jobs", "jobs.commands.encode"])
def test_a_job_starts_by_its_module_too(module: str) -> None:
    words = [] if module != "jobs" else ["encode"]
    done = subprocess.run(
        [sys.executable, "-m", module, *words, "--nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "maepress: unknown option --nonsense (see `maepress encode --help`)\n"
    assert done.stdout == ""


if __name__ == "__main__":
    EXPECTED.write_text(command_line())
