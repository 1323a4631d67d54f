"""The other columns of a table's rows, as the `meta` of their images.

What JSON has no word for is written as text (times, decimals) or as null (NaN); bytes are left out,
and said to be. A column that Hugging Face's features declare as ClassLabel gives the label.
"""

import datetime
import decimal
import json
import math
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from model.core.boundary import Fault, attempt
from model.core.errors import MaepressError
from pipeline.sources.members.container_file import ContainerFile, Unreadable
from pipeline.sources.sidecars.meta import COLUMNS, Meta, is_json, object_of
from pipeline.sources.tables.parquet_rows import MAX_GROUP, Columns, RowsFile, image_column, opened
from pipeline.storage.parquet_footer import chunks_of

MARK = "+columns"
"""Behind the etag of a file in that of a row whose other columns are read."""
_TEXTS = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID)


def metas(of: RowsFile, columns: Columns, places: Sequence[tuple[int, int]]) -> list[str | None]:
    """The metas of rows.

    Args:
        of: the file.
        columns: which of its columns are the image and the key.
        places: row group and row of each.

    Raises:
        Unreadable: when the store does not answer.
    """
    results: list[str | None] = []
    for group, row in places:
        found = _CACHE.group(of, columns, group)
        results.append(_meta(found, row))
    return results


class _NoJson(MaepressError):
    """A value that JSON has no form for."""


class _Group:
    """The other columns of one row group, or why they cannot be had."""

    def __init__(self, table: pa.Table | None, classes: Mapping[str, list[str]], problem: str | None) -> None:
        self.table, self.classes, self.problem = table, classes, problem


class _GroupCache:
    """The row group that this process read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[Any, _Group] | None = None

    def group(self, of: RowsFile, columns: Columns, group: int) -> _Group:
        name = (of.store.absolute_url, of.key, of.etag, columns, group)
        with self._lock:
            if self._last is None or self._last[0] != name:
                self._last = None
                done = attempt(lambda: _read(of, columns, group), passes=(Unreadable,))
                if isinstance(done, Fault):
                    done = _Group(None, {}, f"the columns of its row group are damaged: {done.reason}")
                self._last = name, done
            return self._last[1]


_CACHE = _GroupCache()


def _read(of: RowsFile, columns: Columns, group: int) -> _Group:
    parquet = opened(ContainerFile(of.store, of.key, of.etag))
    schema = parquet.schema_arrow
    image = columns.image or image_column(schema, columns)[0].removesuffix(".bytes")
    names = [name for name in schema.names if name not in (image, columns.key)]
    leaves = (parquet.metadata.schema.column(at).path for at in range(parquet.metadata.num_columns))
    read = [at for at, leaf in enumerate(leaves) if leaf.partition(".")[0] in names]
    size = sum(chunk.size for chunk in chunks_of(parquet.metadata, read)[group].values())
    if size > MAX_GROUP:
        return _Group(None, {}, "the columns of its row group are larger than 4 GiB")
    return _Group(parquet.read_row_group(group, columns=names), _classes(schema), None)


def _classes(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the classes of each column that is a ClassLabel of Hugging Face's features."""

    def read() -> dict[str, list[str]]:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        labels = {name: kind for name, kind in features.items() if kind.get("_type") == "ClassLabel"}
        return {name: [str(text) for text in kind["names"]] for name, kind in labels.items()}

    found = attempt(read)
    return {} if isinstance(found, Fault) else found


def _meta(group: _Group, row: int) -> str | None:
    meta = Meta()
    if group.table is None:
        meta.leave_out(COLUMNS, group.problem or "")
        return meta.text()
    parts: dict[str, str] = {}
    for name in group.table.column_names:
        done = attempt(lambda name=name: _text(_value(group.table[name][row])))  # type: ignore[misc]
        if isinstance(done, Fault):
            meta.leave_out(name, done.reason)
        else:
            parts[name] = done
    label = _label(parts, group.classes)
    if label is not None:
        meta.label(label)
    if parts:
        meta.part(COLUMNS, object_of(parts))
    return meta.text()


def _label(parts: Mapping[str, str], classes: Mapping[str, list[str]]) -> str | None:
    """The class in the column `label`, or in the only one that has classes."""
    name = "label" if "label" in classes else next(iter(classes), "")
    if name not in parts or (len(classes) > 1 and name != "label"):
        return None
    number: Any = json.loads(parts[name])
    return classes[name][number] if isinstance(number, int) and 0 <= number < len(classes[name]) else None


def _value(scalar: Any) -> Any:
    """A value of Arrow as one of Python. Times in nanoseconds are texts: Python has none, and pandas may be absent."""
    kind = scalar.type
    if not scalar.is_valid or not _has_nanoseconds(kind):
        return scalar.as_py()
    if pa.types.is_dictionary(kind):
        return _value(scalar.value)
    if pa.types.is_map(kind):
        return [[_value(pair["key"]), _value(pair["value"])] for pair in scalar.values]
    if pa.types.is_struct(kind):
        return {field.name: _value(scalar[field.name]) for field in kind}
    if pa.types.is_nested(kind):
        return [_value(one) for one in scalar.values]
    whole, rest = divmod(scalar.value, 1000)
    if pa.types.is_duration(kind):
        text = str(datetime.timedelta(microseconds=whole))
        return f"{text if '.' in text else text + '.000000'}{rest:03d}" if rest else text
    coarse: Any = pa.time64("us") if pa.types.is_time(kind) else pa.timestamp("us", kind.tz)
    time: Any = pa.scalar(whole, coarse).as_py()
    head, point, tail = time.isoformat(timespec="microseconds").partition(".")
    return f"{head}{point}{tail[:6]}{rest:03d}{tail[6:]}" if rest else time.isoformat()


def _has_nanoseconds(kind: Any) -> bool:
    """Whether a type of Arrow, or one inside it, is a time or a duration in nanoseconds."""
    if pa.types.is_dictionary(kind):
        return _has_nanoseconds(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_has_nanoseconds(kind.field(at).type) for at in range(kind.num_fields))
    timed = pa.types.is_timestamp(kind) or pa.types.is_time64(kind) or pa.types.is_duration(kind)
    return bool(timed and kind.unit == "ns")


def _text(value: Any) -> str:
    """A value as JSON.

    Raises:
        _NoJson: for bytes, and text that is none.
        TypeError: for what else JSON has no form for.
    """
    made = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)
    if not is_json(made):
        raise _NoJson("it is too deep, or no text")
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, tuple):  # of a map
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, _TEXTS):
        return value.isoformat() if hasattr(value, "isoformat") else str(value)
    if isinstance(value, bytes):
        raise _NoJson("it holds bytes")
    return value
