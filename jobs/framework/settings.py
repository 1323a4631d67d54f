"""Settings from flags, environment variables, a YAML file and defaults, in this order of precedence.

Why not pydantic-settings: it has the same layers, but its command line prints usages and tracebacks for mistakes, needs
positional arguments to be declared in the settings class, and cannot report whether a bad value came from a flag, a
line of the file or a variable.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jobs.framework.flags import core_type
from model.core.errors import MaepressError

PREFIX = "MAEPRESS_"
Settings = TypeVar("Settings", bound=BaseModel)


def resolve(
    settings: type[Settings],
    flags: Mapping[str, object],
    *,
    positionals: tuple[str, ...] = (),
    config: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Merge the layers and validate them.

    Args:
        settings: the class to fill.
        flags: values from the command line, by field name.
        positionals: fields that are written without a flag (for messages only).
        config: path of a YAML file with a mapping of field names (`max-minutes` and `max_minutes` are the same).
        environ: variables; `MAEPRESS_MAX_MINUTES` sets `max_minutes`. Empty ones count as not set.

    Raises:
        MaepressError: one line that names the value, its origin and the allowed range.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    if config is not None:
        for name, value in read_config(config, settings).items():
            origins[name] = f"{name}: {value} in {config}"
            if isinstance(value, bool) and core_type(settings.model_fields[name]) in (int, float):
                value = str(value)  # YAML's `yes`, which pydantic would take for 1
            values[name] = value
    for name in settings.model_fields:
        variable = PREFIX + name.upper()
        if environ.get(variable):
            values[name], origins[name] = environ[variable], f"{variable}={environ[variable]}"
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        values[name], origins[name] = value, f"{name.upper()} {value}" if name in positionals else f"{flag} {value}"
    try:
        return settings.model_validate(values)
    except ValidationError as e:
        raise MaepressError(redact(_explain(e.errors(include_url=False)[0], origins, positionals))) from None


def read_config(path: str, settings: type[BaseModel]) -> dict[str, object]:
    """The mapping in a YAML file, with keys as field names.

    Raises:
        MaepressError: when the file cannot be read, is no mapping, or has a key that is no setting of this job, or
            one twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except OSError as e:
        raise MaepressError(f"--config {path}: {e.strerror or e}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise MaepressError(f"--config {path}: not YAML ({' '.join(str(e).split())})") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise MaepressError(f"--config {path}: needs `name: value` lines, not a {type(document).__name__}")
    result = {}
    for key, value in document.items():
        name = "yes" if key is True else str(key).replace("-", "_")  # YAML reads the word as a truth value
        if name not in settings.model_fields:
            raise MaepressError(f"--config {path}: unknown setting {key!r} (known: {', '.join(settings.model_fields)})")
        result[name] = value
    if twice := [name for name, count in Counter(_names(text)).items() if count > 1]:
        raise MaepressError(f"--config {path}: {twice[0]!r} is there twice, and only one would count: leave one")
    return result


def _names(text: str) -> Iterator[str]:
    """The names of settings in a document, as often as they are there: a mapping that was read has each once."""
    document = yaml.compose(text, yaml.SafeLoader)
    for key, _ in document.value if isinstance(document, yaml.MappingNode) else ():
        yield str(key.value).replace("-", "_")


def redact(text: str) -> str:
    """The text without the user names and passwords inside URLs."""
    # A secret key may contain "/": after a colon, everything up to the "@" is removed. Containers of Azure and users of
    # SFTP, which stand there without a password, are names.
    return re.sub(
        r"((?:abfss?|az|sftp|ssh)://)[^/@\s:]*:[^@\s]+@|(\b(?!abfs:|abfss:|az:|sftp:|ssh:)\w+://)(?:[^/@\s:]*:[^@\s]+|[^/@\s]+)@",
        lambda found: f"{found[1] or found[2]}***@",
        text,
    )


def _explain(error: ErrorDetails, origins: Mapping[str, str], positionals: tuple[str, ...]) -> str:
    """One pydantic error as one line for the user."""
    if not error["loc"]:
        return _reason(error)
    name = str(error["loc"][0])
    if error["type"] == "missing":
        flag = name.upper() if name in positionals else "--" + name.replace("_", "-")
        return f"{flag} is missing (or `{name}:` in the --config file, or {PREFIX}{name.upper()})"
    return f"{origins.get(name, name)}: {_reason(error)}"


def _reason(error: ErrorDetails) -> str:
    """The allowed values, as text."""
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "greater_than_equal":
            return f"must be at least {_number(context['ge'])}"
        case "greater_than":
            return f"must be above {_number(context['gt'])}"
        case "less_than_equal":
            return f"must be at most {_number(context['le'])}"
        case "less_than":
            limit = context["lt"]
            return f"must be at most {limit - 1}" if isinstance(limit, int) else f"must be below {_number(limit)}"
        case "multiple_of":
            return f"must be a multiple of {_number(context['multiple_of'])}"
        case "int_parsing" | "int_type" | "int_from_float":
            return "must be a whole number"
        case "float_parsing" | "float_type":
            return "must be a number"
        case "finite_number":
            return "must be a finite number"
        case "bool_parsing" | "bool_type":
            return "must be true or false"
        case "string_type":
            return "must be text" + (": put it in quotes" if isinstance(error["input"], int | float) else "")
        case "literal_error":
            return f"must be {context['expected']}".replace("'", "")
        case "value_error":
            return str(context["error"])
        case _:
            return error["msg"][:1].lower() + error["msg"][1:]


def _number(value: float) -> str:
    """A limit as text, without a needless fraction: 1, not 1.0."""
    return str(int(value)) if value == int(value) else str(value)
