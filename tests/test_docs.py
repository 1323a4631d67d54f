"""The documentation is true: links, names of files and tests, examples and commands are those of the code.

It is one long module because all its tests share the parsing of pages.
"""

import ast
import functools
import importlib
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.framework.registry import NAMES, load
from jobs.shell.completion import SHELLS
from maepress import SyncSettings

ROOT = Path(__file__).resolve().parent.parent
DECISIONS = ROOT / "docs" / "decisions"
FOLDERS = (".", "bench", "docs", "docs/howto", "model/weights/base", "model/weights/base-psnr")
PAGES = [DECISIONS, *(page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md")))]
"""Pages; the decisions are read as one."""
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")
OURS = ("maepress", "jobs", "pipeline", "model", "tests", "bench")
NAMED_FILE = re.compile(rf"(?:{'|'.join(OURS)}|docs|deploy|\.ci)/[\w./-]+(?:::\w+)?")
ANY_JOB = ("JOB", "COMMAND")
"""Placeholders for a job, as in `maepress JOB --help`."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def read(page: Path) -> str:
    return "\n".join(file.read_text() for file in sorted(page.glob("*.md"))) if page.is_dir() else page.read_text()


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(read(page)) if name == language]


def prose(page: Path) -> str:
    """The page without its blocks, one line per paragraph, so that code in it is on one line."""
    text = re.sub(r"^```.*?^```", "", read(page), flags=re.M | re.S)
    return re.sub(r"(?<=\S)\n[ ]*(?=[^\s|#*-])", " ", text)


@functools.cache
def functions(file: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef))


def problem_with_file(name: str) -> str | None:
    """Why `path/of/file.py` or `path/of/test.py::test_name` names nothing, or None."""
    path, _, function = name.partition("::")
    if not (ROOT / path).exists():
        return f"{path} does not exist"
    if function and function not in functions(ROOT / path):
        return f"{path} has no {function}"
    return None


@each_page
def test_every_link_of_a_page_to_a_file_leads_to_one(page: Path) -> None:
    folder = page if page.is_dir() else page.parent
    for target in LINK.findall(read(page)):
        assert (folder / target).exists(), target


@each_page
def test_every_file_and_every_test_that_a_page_names_exists(page: Path) -> None:
    named = [
        name for code in CODE.findall(prose(page)) for name in re.findall(rf"(?<![\w./-]){NAMED_FILE.pattern}", code)
    ]
    problems = [problem for name in named if (problem := problem_with_file(name.rstrip(".")))]
    assert not problems


def test_every_invariant_names_its_test() -> None:
    invariants = re.split(
        r"^\d+\. ", (ROOT / "docs" / "architecture.md").read_text().split("## Invariants")[1], flags=re.M
    )
    assert len(invariants) > 20
    assert all(re.search(r"`tests/[\w/]+\.py::test_\w+`", text) for text in invariants[1:])


def test_every_answer_to_where_is_names_code_that_is_in_its_file() -> None:
    section = (ROOT / "docs" / "architecture.md").read_text().split("## Where is ...?")[1].split("\n## ")[0]
    answers = re.findall(r"\]\(\.\./([\w/]+\.py)\)(?: `(\w+)`)?", section)
    assert len(answers) > 25
    for file, name in answers:
        assert not name or re.search(rf"^(?:class |(?:async )?def )?{name}\b", (ROOT / file).read_text(), re.M), (
            file,
            name,
        )


def test_a_missing_file_or_test_would_be_found() -> None:
    assert problem_with_file("tests/test_docs.py::test_that_nobody_wrote")
    assert problem_with_file("pipeline/nowhere.py")
    assert problem_with_file("tests/test_docs.py::test_a_missing_file_or_test_would_be_found") is None


def test_the_table_of_rooms_is_what_the_tree_says() -> None:
    page = ROOT / "docs" / "architecture.md"
    specification = importlib.util.spec_from_file_location("rooms", ROOT / ".ci" / "rooms.py")
    assert specification and specification.loader
    rooms = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(rooms)
    assert page.read_text() == rooms.page(ROOT), "python .ci/rooms.py"


def test_every_benchmark_is_in_the_page_of_benchmarks() -> None:
    page = (ROOT / "bench" / "README.md").read_text()
    names = [path.stem for path in (ROOT / "bench").glob("*.py") if path.stem != "__init__"]
    assert not [name for name in names if not re.search(rf"bench\.{name}\b|`{name}`", page)]


def test_every_decision_is_in_the_index_once_and_says_what_a_decision_says() -> None:
    files = sorted(path.name for path in DECISIONS.glob("0*.md"))
    assert re.findall(r"\]\((0[^)]+\.md)\)", (DECISIONS / "README.md").read_text()) == files
    numbers = [name[:4] for name in files]  # with gaps: a number is taken when work begins
    assert numbers == sorted(set(numbers)) and all(number.isdecimal() for number in numbers)
    for name in files:
        text = (DECISIONS / name).read_text()
        assert text.startswith(f"# {name[:4]}. "), name
        assert all(f"\n**{part}.**" in text for part in ("Context", "Choice", "Rejected", "Evidence")), name


@each_page
def test_lines_of_prose_wrap_at_100_characters(page: Path) -> None:
    text = re.sub(r"^(```|:::).*?^\1$", "", read(page), flags=re.M | re.S)
    long = [
        line
        for line in text.splitlines()
        if len(line) > 100 and not line.startswith(("|", "![")) and "::test_" not in line
    ]
    assert not long


# Python


def imported(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """The imports of a program: pairs of the name in the program and the imported object."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module = importlib.import_module(alias.name)
                yield (
                    (alias.asname, module)
                    if alias.asname
                    else (alias.name.split(".")[0], sys.modules[alias.name.split(".")[0]])
                )
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            module = importlib.import_module(node.module)
            for alias in node.names:
                found = getattr(module, alias.name, None)
                yield alias.asname or alias.name, found or importlib.import_module(f"{node.module}.{alias.name}")


def called(node: ast.expr, names: dict[str, Any]) -> Any:
    """The object of an expression such as `maepress.Archive.open` if it is ours, else None."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := called(node.value, names)) is not None:
        return getattr(owner, node.attr)
    return None


def check_program(text: str) -> None:
    """Check that a program compiles, imports public names that exist, and calls them with valid arguments."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None)]
        for module in modules:
            owner = str(module).split(".")[0]
            assert owner not in OURS or owner == "maepress", f"an example imports {module}, which is internal"
    names = {name: thing for name, thing in imported(tree)}
    ours = {name: thing for name, thing in names.items() if name == "maepress" or thing in public().values()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (thing := called(node.func, ours)) is not None:
            arguments = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            inspect.signature(thing).bind(*[None] * len(node.args), **arguments)


@functools.cache
def public() -> dict[str, Any]:
    import maepress

    return {name: getattr(maepress, name) for name in maepress.__all__}


@each_page
def test_python_examples_compile_and_use_what_the_front_door_has(page: Path) -> None:
    for text in blocks(page, "python"):
        check_program(text)


@pytest.mark.parametrize(
    "text",
    [
        "from maepress import Nobody",
        "from pipeline.archive.archive import Archive",
        "from maepress import Archive\nArchive.open('a', 'b')",
        "import maepress\nmaepress.EncodeSettings(sauce='photos')",
        "archive = (",
    ],
)
def test_a_wrong_example_would_be_found(text: str) -> None:
    with pytest.raises((SyntaxError, ImportError, TypeError, AssertionError)):
        check_program(text)


# Commands


def commands(page: Path) -> Iterator[list[str]]:
    """Every command of ours on a page, as words: lines of shell blocks, and code inside prose."""
    lines = [line for text in blocks(page, "sh") for line in text.replace("\\\n", " ").splitlines()]
    for line in [*lines, *CODE.findall(prose(page))]:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # an apostrophe in prose: no command
            continue
        while words and (re.match(r"[A-Z_]+=", words[0]) or words[0] == "time"):
            words = words[1:]
        known = Path(words[0]).name in ("maepress", "make") or words[:2] == ["python", "-m"] if words else False
        if known and len(words) > 1 and not any("NAME" in word or "..." in word for word in words):
            yield words


def check_command(words: list[str]) -> None:
    """Raise where a command has a job, flag, module or target that does not exist."""
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert all(word in targets or "=" in word for word in words[1:]), words
    elif words[0] == "python":
        spec = importlib.util.find_spec(words[2])
        if spec and not spec.origin:  # a folder of tests, which is no package
            spec = importlib.util.find_spec(f"{words[2]}.__main__")
        assert spec and spec.origin, words
        sources = [Path(spec.origin)]
        if spec.submodule_search_locations:
            sources += Path(spec.origin).parent.glob("*.py")
        text = "".join(source.read_text() for source in sources)
        assert all(f'"{word}"' in text for word in words[3:] if word.startswith("-")), words
    elif words[1].startswith("--print-"):
        assert words[1] in ("--print-completion", "--print-man-page"), words
        shells = [word for word in words[2:] if not word.startswith((">", "~"))]
        assert words[1] != "--print-completion" or set(shells[0].split("|")) <= set(SHELLS), words
    elif words[1] not in ANY_JOB:
        assert words[1] in NAMES, words
        load(words[1]).parser().parse(words[2:])
        if words[1] == "submit" and "--" in words and words[words.index("--") + 1] not in ANY_JOB:
            check_command(["maepress", *words[words.index("--") + 1 :]])


@each_page
def test_every_command_of_a_page_parses(page: Path) -> None:
    for words in commands(page):
        try:
            check_command(words)
        except Exception as error:
            raise AssertionError(f"{' '.join(words)}: {error}") from error


def test_pages_have_what_the_tests_of_each_page_look_for() -> None:
    assert len(PAGES) > 15
    assert sum(len(re.findall(LINK, read(page))) for page in PAGES) > 60
    assert sum(len(CODE.findall(prose(page))) for page in PAGES) > 200
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 8
    assert sum(len(blocks(page, "yaml")) for page in PAGES) >= 1
    assert sum(len(list(commands(page))) for page in PAGES) > 60


def test_wrong_commands_are_refused() -> None:
    for wrong in ("maepress encode a b --min-psrn 38", "maepress press a", "make dmeo", "python -m bench.nothing"):
        with pytest.raises(Exception, match=r".+"):
            check_command(wrong.split())


@each_page
def test_every_configuration_of_a_page_is_valid_for_sync(page: Path) -> None:
    for text in blocks(page, "yaml"):
        SyncSettings.model_validate({"source": "s", "archive": "a"} | yaml.safe_load(text))


# The site and the tutorial


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "trees")]
    built = subprocess.run([*command, str(ROOT / "docs"), str(tmp_path / "site")], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    reference = (tmp_path / "site" / "reference.html").read_text()
    assert all(f"Codec.{name}" in reference for name in ("compress", "decompress"))
    assert "usage: maepress encode" in (tmp_path / "site" / "commands.html").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorials_commands_work_as_they_are(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    programs = [b for b in BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text()) if b[0] in ("sh", "python")]
    assert len(programs) >= 10
    for language, text in programs:
        command = ["sh", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}"
    assert any((tmp_path / "restored").rglob("*.jpg"))
    assert any((tmp_path / "one").rglob("*.jpg"))
    assert (tmp_path / "picture.png").stat().st_size > 1000
    key = next((tmp_path / "photos").rglob("*.jpg")).relative_to(tmp_path / "photos").as_posix()
    (program,) = blocks(ROOT / "docs" / "reference.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", program.replace("2024/beach.jpg", key) + "print(bool(picture))"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("True\n"), done.stderr
