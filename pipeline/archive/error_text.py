"""Errors of deltalake and pyarrow as one line."""

import re


def one_line(error: BaseException) -> str:
    """The first and the last line of an error of deltalake or pyarrow.

    Its errors have one cause per line, indented and coloured.
    """
    lines = [re.sub(r"\x1b\[[0-9;]*m|↳", "", line).strip() for line in str(error).strip().splitlines()]
    texts = [line for line in lines if line]
    if not texts:
        return type(error).__name__
    return texts[0][:300] if len(texts) == 1 else f"{texts[0]}: {texts[-1]}"[:300]
