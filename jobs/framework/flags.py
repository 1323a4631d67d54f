"""A command line from a settings class: every field becomes a flag or a positional argument.

Nothing is validated here. Every value stays a string until `jobs.framework.settings` has merged it with the
configuration file and the environment, and the settings class checks all values at once. So an error has the same text
wherever the value came from.
"""

import argparse
import difflib
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from model.core.errors import MaepressError

METAVARS: dict[object, str] = {int: "N", float: "X", str: "TEXT"}


class Parser(argparse.ArgumentParser):
    """An argument parser that raises one `MaepressError` per mistake and prints no usage."""

    def error(self, message: str) -> NoReturn:
        """Raise the error; argparse would print the usage and exit."""
        raise MaepressError(f"{message.removeprefix('argument ')} (see `{self.prog} --help`)")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments; the error for an unknown flag suggests the nearest known one.

        Raises:
            MaepressError: for unknown flags, surplus arguments and flags without a value.
        """
        values, unknown = self.parse_known_args(argv)
        if unknown:
            flag = next((a for a in unknown if a.startswith("-")), None)
            if flag is None:
                self.error(f"unexpected argument {unknown[0]!r}")
            flag = flag.split("=")[0]
            near = difflib.get_close_matches(
                flag, [o for a in self._actions for o in a.option_strings], n=1, cutoff=0.7
            )
            self.error(f"unknown option {flag}" + (f": did you mean {near[0]}?" if near else ""))
        return values


def core_type(field: FieldInfo) -> object:
    """The annotation without `| None`: `int`, `float`, `bool`, `str`, a `Literal` or a tuple of texts."""
    annotation: object = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
    return annotation


def add_fields(
    parser: argparse.ArgumentParser, settings: type[BaseModel], positionals: Sequence[str], metavars: Mapping[str, str]
) -> None:
    """Add an argument for each field of the settings class.

    Args:
        parser: gets the arguments. A value that was not given is absent from the parsed namespace.
        settings: the class; field names become `--kebab-case`, descriptions become help.
        positionals: fields given by position; never required here, as a file or the environment may give them.
        metavars: placeholder of the value in the help, for fields whose type is not clear enough.
    """
    arguments, options = parser.add_argument_group("arguments"), parser.add_argument_group("options")
    for name in positionals:
        field = settings.model_fields[name]
        arguments.add_argument(name, nargs="?", default=argparse.SUPPRESS, metavar=name.upper(), help=_describe(field))
    for name, field in settings.model_fields.items():
        if name in positionals:
            continue
        flag, kind = f"--{name.replace('_', '-')}", core_type(field)
        if kind is bool:
            options.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=_describe(field)
            )
            continue
        if get_origin(kind) is tuple:
            options.add_argument(
                flag,
                action="append",
                default=argparse.SUPPRESS,
                metavar=metavars.get(name, "GLOB"),
                help=_describe(field),
            )
            continue
        choices = "|".join(map(str, get_args(kind))) if get_origin(kind) is Literal else None
        metavar = metavars.get(name) or choices or METAVARS.get(kind, "TEXT")
        options.add_argument(flag, default=argparse.SUPPRESS, metavar=metavar, help=_describe(field))


def _describe(field: FieldInfo) -> str:
    """The field's description, its range and its default, as help text."""
    facts = [_range(field)] if _range(field) else []
    if not field.is_required() and field.default not in (None, "", ()):
        default = ("no", "yes")[field.default] if isinstance(field.default, bool) else field.default
        facts.append(f"default {default}")
    text = (field.description or "") + (f" [{'; '.join(facts)}]" if facts else "")
    return text.replace("%", "%%")


def _range(field: FieldInfo) -> str:
    """The range of a number as text, such as "0 to 63" or "above 0"."""
    bounds: dict[type[Any], object] = {}
    for limit in field.metadata:
        for kind, value in (
            (annotated_types.Ge, "ge"),
            (annotated_types.Gt, "gt"),
            (annotated_types.Le, "le"),
            (annotated_types.Lt, "lt"),
        ):
            if isinstance(limit, kind):
                bounds[kind] = getattr(limit, value)
    low, above = bounds.get(annotated_types.Ge), bounds.get(annotated_types.Gt)
    high, below = bounds.get(annotated_types.Le), bounds.get(annotated_types.Lt)
    if isinstance(below, int) and core_type(field) is int:
        high, below = below - 1, None
    if low is not None and high is not None:
        return f"{low} to {high}"
    words = [("at least", low), ("above", above), ("at most", high), ("below", below)]
    return ", ".join(f"{word} {value}" for word, value in words if value is not None)
