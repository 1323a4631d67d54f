"""The manual page maepress(1), made from the jobs' own parsers: `maepress --print-man-page`."""

import argparse
import re
from importlib.metadata import version

from jobs.framework.registry import SUMMARIES, load
from jobs.framework.settings import PREFIX

_WIDTH = 80
_STATUS = (
    ("0", "Done."),
    ("1", "Done, but something needs attention, which is listed."),
    ("2", "A mistake, explained in one line."),
    ("75", "A scheduled job (sync, compact, replicate, restore) gave way to another run; a later one does the rest."),
    ("130, 143, 129", "Ended by SIGINT, SIGTERM or SIGHUP; the same command continues."),
)
_SETTINGS = (
    "Settings come from flags, then from variables of the environment, then from a YAML file (--config), then from "
    f"defaults. The variable of --min-psnr is {PREFIX}MIN_PSNR, its line in the file min-psnr: 38. Credentials come "
    "from the environment under the names of each service's own tools."
)


def man_page() -> str:
    """The page as roff source, for `man -l` and for share/man/man1."""
    lines = [
        f'.TH MAEPRESS 1 "" "maepress {version("maepress")}" "User Commands"',
        ".SH NAME",
        r"maepress \- compress archives of images with a codec that learns from them",
        ".SH SYNOPSIS",
        r".B maepress",
        r".I JOB",
        r"\&... [options]",
        ".SH DESCRIPTION",
        _text(
            "maepress learns an image codec from your own images and compresses them into an archive. Places are "
            "folders or URLs (s3://bucket/prefix, gs://bucket/prefix, file:///path)."
        ),
        ".SH JOBS",
    ]
    for name, summary in SUMMARIES.items():
        job = load(name)
        parser = job.parser(_WIDTH)
        lines += [f".SS maepress {_text(name)}", _text(summary[0].upper() + summary[1:] + "."), ".PP"]
        lines += [_text(" ".join(job.about.split())), ".PP", r"Usage: \fB" + _text(_usage(parser)) + r"\fR", ".PP"]
        lines += [line for action in parser._actions for line in _option(action)]
        lines += [".PP", "Example:", ".PP", ".nf", rf"    {_text(job.example)}", ".fi"]
    lines += [".SH SETTINGS", _text(_SETTINGS), ".SH EXIT STATUS"]
    lines += [line for status, meaning in _STATUS for line in (".TP", rf"\fB{status}\fR", _text(meaning))]
    return "\n".join(lines) + "\n"


def _usage(parser: argparse.ArgumentParser) -> str:
    return " ".join(parser.format_usage().removeprefix("usage: ").split())


def _option(action: argparse.Action) -> list[str]:
    value = rf" \fI{_text(str(action.metavar))}\fR" if action.nargs != 0 and action.option_strings else ""
    names = ", ".join(rf"\fB{_text(name)}\fR" for name in action.option_strings)
    words = " ".join((action.help or "").replace("%%", "%").split())
    return [".TP", (names or rf"\fI{_text(str(action.metavar))}\fR") + value, _text(words)]


def _text(words: str) -> str:
    """Words as roff takes them: hyphens that can be copied, no escape, and no request at the start of a line."""
    plain = re.sub(r"[\\]", r"\\e", words).replace("-", r"\-").replace('"', r"\(dq")
    return rf"\&{plain}" if plain.startswith((".", "'")) else plain
