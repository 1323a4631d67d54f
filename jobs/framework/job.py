"""A job of the command line: its flags, settings and exit status.

Exit status 0: done. 1: done, but a check of the archive failed (damaged payloads, wrong PSNR). 2: an error that the
user can correct, reported in one line. 75: gave way to another run; nothing is wrong, and a later run will do the work.
130, 143 and 129: ended by SIGINT (Ctrl-C), SIGTERM and SIGHUP, as `jobs.framework.signals` says.
"""

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import BaseModel

from jobs.framework.flags import Parser, add_fields
from jobs.framework.output import Output
from jobs.framework.settings import PREFIX, redact, resolve
from jobs.framework.signals import DEFAULT_STATUS, interrupted, interruptible
from jobs.framework.terminal import help_width
from model.core.errors import MaepressError, MissingPackage
from model.core.extras import missing_package, require
from pipeline.monitoring.formatting import printable
from pipeline.monitoring.log import FORMATS, Format, line, to_standard_error

Settings = TypeVar("Settings", bound=BaseModel)
DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, DEFAULT_STATUS
GAVE_WAY = 75
"""EX_TEMPFAIL of sysexits.h: a temporary failure, try again later."""


@dataclass(frozen=True, slots=True)
class Job(Generic[Settings]):
    """A job of the command line.

    Attributes:
        name: the word after `maepress`.
        about: a paragraph for the job's help.
        example: one command that works.
        settings: returns the settings class; a function, because importing the class may import torch and Ray.
        run: does the work; returns the exit status.
        positionals: settings given by position, in order.
        metavars: placeholders of some settings' values in the help.
        has_json: whether the job's result can be printed as JSON.
        by_config: whether the configuration file is given by position instead of by `--config`.
        parse_with: class of the argument parser.
        usage: first line of the help; None: the positionals, then the options.
        extra: what must be installed beside the codec (`model.core.extras`); empty: nothing.
        scheduled: whether a scheduler starts the job, so that giving way to another run is no mistake of its settings.
    """

    name: str
    about: str
    example: str
    settings: Callable[[], type[Settings]]
    run: Callable[[Settings, Output], int]
    positionals: tuple[str, ...]
    metavars: Mapping[str, str] = field(default_factory=dict)
    has_json: bool = True
    by_config: bool = False
    parse_with: type[Parser] = Parser
    usage: str | None = None
    extra: str = ""
    scheduled: bool = False

    def parser(self, width: int | None = None) -> Parser:
        """The job's command line.

        Args:
            width: characters per line of the help; None: those of the terminal.
        """
        width = width or help_width()
        words = (name.upper() for name in self._words())
        parser = self.parse_with(
            prog=f"maepress {self.name}",
            description=textwrap.fill(self.about, width),
            epilog=f"example:\n  {_in_lines(self.example, width - 2)}",
            usage=self.usage or " ".join(["maepress", self.name, *words, "[options]"]),
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, max_help_position=min(30, width // 3), width=width
            ),
            allow_abbrev=False,
            add_help=False,
        )
        add_fields(parser, self.settings(), self.positionals, self.metavars)
        common = parser.add_argument_group("common options")
        text = "YAML file with any of these settings; flags come first, then MAEPRESS_* variables, then FILE"
        if self.by_config:
            parser.add_argument("config", nargs="?", metavar="CONFIG", help=text.replace("FILE", "CONFIG"))
        else:
            common.add_argument("--config", metavar="FILE", help=text)
        if self.has_json:
            common.add_argument(
                "--json", action="store_true", help="print the result as JSON; nothing else goes to standard output"
            )
        common.add_argument("--quiet", action="store_true", help="no progress")
        common.add_argument(
            "--log-format",
            metavar="|".join(FORMATS),
            help="lines on standard error as text or as one JSON object each; MAEPRESS_LOG_FORMAT does the same "
            f"[default {FORMATS[0]}]",
        )
        common.add_argument("-h", "--help", action="help", help="show this help")
        return parser

    def _words(self) -> tuple[str, ...]:
        return ("config", *self.positionals) if self.by_config else self.positionals

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Parse the arguments and run the job; a user's mistake becomes one line and an exit status.

        Args:
            argv: arguments after the job's name; the process's own when None.
        """
        return guard(lambda: self._start(sys.argv[1:] if argv is None else argv), scheduled=self.scheduled)

    def _start(self, argv: Sequence[str]) -> int:
        to_standard_error(False, log_format(None))  # of mistakes in what follows
        flags = vars(self.parser().parse(argv))
        wanted = log_format(flags.pop("log_format"))
        if self.extra:
            require(self.extra, f"maepress {self.name}")
        output = Output(as_json=flags.pop("json", False), quiet=flags.pop("quiet"))
        config = flags.pop("config")
        # A terminal has the progress bar instead.
        to_standard_error(not output.quiet and (wanted == "json" or not sys.stderr.isatty()), wanted)
        return self.run(resolve(self.settings(), flags, positionals=self.positionals, config=config), output)


def log_format(flag: str | None, environ: Mapping[str, str] = os.environ) -> Format:
    """The format of the lines on standard error: the flag's, else the variable's, else text.

    Raises:
        MaepressError: for an unknown one.
    """
    variable = f"{PREFIX}LOG_FORMAT"
    text = flag or environ.get(variable) or FORMATS[0]
    for known in FORMATS:
        if text == known:
            return known
    origin = f"--log-format {flag}" if flag else f"{variable}={text}"
    raise MaepressError(f"{origin}: must be {' or '.join(FORMATS)}")


def _in_lines(command: str, width: int) -> str:
    """A command as a shell takes it, in lines of at most a width; the lines break before options."""
    lines = [""]
    for part in re.split(r" (?=--)", command):
        joined = f"{lines[-1]} {part}".lstrip()
        if lines[-1] and len(joined) > width - 2:
            lines.append(part)
        else:
            lines[-1] = joined
    return " \\\n    ".join(lines)


def guard(action: Callable[[], int], *, scheduled: bool = False) -> int:
    """Run a function; print one line for a user's mistake or an interruption, nothing for a closed pipe.

    Args:
        action: returns the exit status.
        scheduled: whether a run that gives way to another one ends with `GAVE_WAY`, not with `MISTAKE`.

    Returns:
        The exit status.
    """
    return interruptible(lambda: _guarded(action, scheduled))


def _guarded(action: Callable[[], int], scheduled: bool) -> int:
    try:
        return action()
    except BrokenPipeError:
        # The reader of our output has gone (`| head`). Without this, Python reports it again when it flushes on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as e:
        mistake = users_mistake(e) or _of_machine(e) or _of_installation(e)
        if mistake is None or interrupted():
            raise
        print(line(f"maepress: {redact(printable(' '.join(str(mistake).split())))}", "ERROR"), file=sys.stderr)
        return GAVE_WAY if scheduled and _gave_way(mistake) else MISTAKE


def _of_machine(error: BaseException) -> MaepressError | None:
    """A full disk, a missing temporary folder and the like, wherever they were noticed, with the remedy."""
    from pipeline.storage.local.disk_errors import fault_of_machine

    for e in _chain(error):
        if isinstance(e, OSError) and (text := fault_of_machine(e)):
            return MaepressError(text)
    return None


def _of_installation(error: BaseException) -> MaepressError | None:
    """A package that is not installed, wherever it was needed, with the extra that brings it."""
    return next((found for e in _chain(error) if (found := missing_package(e))), None)


def _gave_way(mistake: MaepressError) -> bool:
    if isinstance(mistake, MissingPackage):  # perhaps of what is imported here
        return False
    from pipeline.archive.log.commits import CommitConflict  # loaded by now, if it is one
    from pipeline.runs.lease import LeaseHeld

    return isinstance(mistake, LeaseHeld | CommitConflict)


def users_mistake(error: BaseException) -> MaepressError | None:
    """The `MaepressError` at the root of an error, or None. Ray wraps what a task raised, once per layer it passed."""
    for e in _chain(error):
        if isinstance(e, MaepressError) and not isinstance(getattr(e, "cause", None), BaseException):
            return e
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, the nearest first."""
    seen: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue:
        e = queue.pop(0)
        if e is None or any(e is other for other in seen):
            continue
        seen.append(e)
        yield e
        inner = getattr(e, "cause", None)
        queue += [inner if isinstance(inner, BaseException) else None, e.__cause__, e.__context__]
