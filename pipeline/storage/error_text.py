"""Errors of deltalake and pyarrow as one line, its panics as errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.storage.base import StorageError


def one_line(error: BaseException) -> str:
    """The first and the last line of an error of deltalake or pyarrow.

    Its errors have one cause per line, indented and coloured.
    """
    lines = [re.sub(r"\x1b\[[0-9;]*m|↳", "", line).strip() for line in str(error).strip().splitlines()]
    texts = [line for line in lines if line]
    if not texts:
        return type(error).__name__
    return texts[0][:300] if len(texts) == 1 else f"{texts[0]}: {texts[-1]}"[:300]


@contextmanager
def panics_as_errors(what: str) -> Iterator[None]:
    """Turn a panic of deltalake within a `with` block into a StorageError.

    Some damage to a checkpoint makes its Rust code panic. Python gets that as a BaseException without a public name,
    which would end a job as no object's fault may.

    Args:
        what: the table, for the message.
    """
    try:
        yield
    except BaseException as e:
        if type(e).__name__ != "PanicException":
            raise
        raise StorageError(f"{what} cannot be read: its log is damaged ({one_line(e)})") from None
