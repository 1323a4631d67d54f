"""The boundary around one object: whatever goes wrong with it becomes one line about it, and ends nothing else.

Foreign bytes make parsers raise almost anything (struct.error, SyntaxError, RecursionError,
OverflowError, pyarrow's errors ...), so the class of an exception does not tell whose fault it is.
Work on one object therefore runs through `attempt`, and work on several through `attempt_all`.
KeyboardInterrupt and SystemExit are no `Exception` and always pass.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from model.core.errors import MaepressError

Item = TypeVar("Item")
Result = TypeVar("Result")

REASON_CHARS = 200
"""Longest reason in characters."""

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
_MACHINE_ERRORS = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, *_DISK_ERRORS})
"""Errors of the operating system that say nothing about the object: full disk, no memory, too many
open files, read-only or failing disk, a limit on the size of files."""

_MACHINE_CLASSES = frozenset({"OutOfMemoryError", "AcceleratorError"})
"""Errors of torch, by name, as this module does not import it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the work on one object failed.

    Attributes:
        reason: one line of at most `REASON_CHARS` characters, printable and valid UTF-8.
        machine: whether the machine is to blame and not the object, so that another try may
            succeed.
    """

    reason: str
    machine: bool = False


def attempt(work: Callable[[], Result], *, passes: tuple[type[Exception], ...] = ()) -> Result | Fault:
    """The result of the work on one object, or the fault that ended it.

    Args:
        work: called once.
        passes: classes of exceptions that concern more than this object and are raised on.
    """
    try:
        return work()
    except passes:
        raise
    except Exception as e:
        return fault_of(e)


def attempt_all(
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Sequence[Result]],
    *,
    passes: tuple[type[Exception], ...] = (),
) -> list[Result | Fault]:
    """The results of work that takes several objects together, with a fault in the place of those that fail.

    When the work on all fails, each object is tried alone, so that one does not fail the others.

    Args:
        items: the objects.
        work: takes some of them, and returns one result per object.
        passes: as for `attempt`.
    """

    def checked() -> Sequence[Result]:
        results = work(items)
        if len(results) != len(items):
            raise RuntimeError(f"{len(results)} results for {len(items)} objects")
        return results

    if not items:
        return []
    done = attempt(checked, passes=passes)
    if not isinstance(done, Fault):
        return list(done)
    if len(items) == 1:
        return [done]
    return [result for item in items for result in attempt_all([item], work, passes=passes)]


def fault_of(error: Exception) -> Fault:
    """The fault that an exception describes; never raises."""
    return Fault(reason_of(error), _is_of_machine(error))


def reason_of(error: Exception) -> str:
    """An exception as one printable line; never raises.

    The class is named where the text alone would say little.
    """
    try:
        text = " ".join(str(error).split())
    except Exception:  # a text that cannot be made, for example of bytes that are no UTF-8
        text = ""
    name = type(error).__name__
    if not isinstance(error, MaepressError):
        text = f"{text} ({name})" if text else name
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)  # surrogates are not
    return printable if len(printable) <= REASON_CHARS else printable[: REASON_CHARS - 3] + "..."


def _is_of_machine(error: Exception) -> bool:
    if isinstance(error, MemoryError | ImportError):
        return True
    if isinstance(error, OSError):
        return error.errno in _MACHINE_ERRORS
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & _MACHINE_CLASSES)
