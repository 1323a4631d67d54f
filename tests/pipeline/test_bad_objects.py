"""One bad object never ends a job: at every stage, an exception of any class becomes that object's verdict.

It is one long module because it is one property: the stages share its archive, source and errors.
"""

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jobs.web.viewer.catalogue import Catalogue
from jobs.web.viewer.renditions import NotShown, Studio, Wanted
from model.codec import Codec
from model.core.boundary import REASON_CHARS, Fault, attempt, attempt_all
from model.core.errors import DamagedPayload, MaepressError, MissingPackage
from model.core.target import Target
from pipeline.archive.archive import Archive
from pipeline.archive.models import Models
from pipeline.archive.reader import RowDecoder
from pipeline.archive.receipt import Rejection
from pipeline.archive.schema import IMAGES, OUTAGE
from pipeline.dataset.samples import Samples
from pipeline.decode import run as decode_run
from pipeline.decode.names import Names
from pipeline.decode.result import Outcome
from pipeline.decode.settings import DecodeSettings
from pipeline.encode import stages
from pipeline.encode.unit_writer import write_unit
from pipeline.estimate import sample_encoder
from pipeline.estimate.settings import EstimateSettings
from pipeline.evaluate.measurement import MeasuredImage, MeasurementPlan, Measurer, Skipped
from pipeline.execution.packing import unpack
from pipeline.execution.shard_work import item_rows
from pipeline.images.image_writer import write_picture
from pipeline.images.limits import READING
from pipeline.images.reading import Reading
from pipeline.images.sandbox.sandbox import Sandbox, shared
from pipeline.storage.base import Entry, Fetched, FetchFailed, Outage, StorageError, Store
from pipeline.storage.open import open_store
from pipeline.train.crops import CropPool
from pipeline.train.validation import Validation
from pipeline.verify import row_checks
from pipeline.verify import run as verify_run
from pipeline.verify.archive_checks import images_log
from pipeline.verify.result import Finding
from tests.pipeline.making import add, compressed, image_file, original

KEYS = ("a.png", "bad.png", "c.png")
BAD = "bad.png"
SAME = DecodeSettings(archive="unused", dest="unused")


class _Speechless(Exception):
    """An exception whose text cannot be made."""

    def __str__(self) -> str:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


ERRORS: tuple[Exception, ...] = (
    RuntimeError("Error setting from dictionary"),
    RecursionError("maximum recursion depth exceeded"),
    struct.error("'L' format requires 0 <= number <= 4294967295"),
    SyntaxError("not a TIFF file"),
    OverflowError("Python int too large to convert to C ssize_t"),
    ValueError("Value 4294967169 too large to fit in C integer type\nsecond \x1b[31mline \ud800"),
    pa.ArrowInvalid("Integer value out of bounds"),
    pa.ArrowTypeError("Expected bytes"),
    KeyError("width"),
    IndexError("index out of range"),
    AttributeError("'NoneType' object has no attribute 'fp'"),
    AssertionError(),
    ZeroDivisionError("division by zero"),
    StopIteration(),
    EOFError("truncated"),
    OSError("broken data stream"),
    Image.DecompressionBombError("too large"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    DamagedPayload("the checksum differs"),
    MaepressError("of no known kind"),
    _Speechless(),
)
MACHINE = (MemoryError(), OSError(28, "No space left on device"), ImportError("no module named x"))

MOST_DIFFERENT = [e for e in ERRORS if type(e) not in (KeyError, IndexError, AttributeError, AssertionError, EOFError)][
    ::2
]
"""The classes that every stage meets here; `test_any_exception_becomes_one_printable_line` has all of them."""
every_error = pytest.mark.parametrize("error", [*MOST_DIFFERENT, ERRORS[-1]], ids=lambda error: type(error).__name__)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device of actors; outside an actor, the question would start a Ray."""
    for module in (decode_run, verify_run):
        monkeypatch.setattr(module, "own_device", lambda: "cpu")


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """Three photographs, of which the second will fail."""
    store = open_store(str(tmp_path / "source"))
    for number, key in enumerate(KEYS):
        store.put(key, image_file("PNG", seed=number))
    return store


@pytest.fixture
def entries(source: Store) -> list[Entry]:
    """Its listing."""
    return list(source.entries())


@pytest.fixture(scope="module")
def archive(tiny_model_folder: Path, tiny_codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """The same photographs, compressed."""
    made = Archive.create(str(tmp_path_factory.mktemp("compressed") / "archive"))
    made.put_model(tiny_codec.fingerprint, tiny_model_folder)
    add(made, [compressed(tiny_codec, key, image_file("PNG", seed=number)) for number, key in enumerate(KEYS)])
    return made


@pytest.fixture
def rows(archive: Archive) -> list[dict[str, Any]]:
    """Its rows."""
    found = [archive.row(key, IMAGES.names) for key in KEYS]
    return [row for row in found if row is not None]


def _fails(function: Callable[..., Any], is_bad: Callable[..., bool], error: Exception) -> Callable[..., Any]:
    """The function, which raises the error where its arguments are those of the bad object."""

    def called(*arguments: Any, **options: Any) -> Any:
        if is_bad(*arguments, **options):
            raise error
        return function(*arguments, **options)

    return called


def _load(source: Store, entries: Sequence[Entry], keep_unreadable: bool = True) -> list[stages.Loaded | Rejection]:
    return stages.load(entries, source, shared(READING), 1 << 24, 1 << 24, keep_unreadable=keep_unreadable)


def _assert_only_the_bad_one_is_rejected(items: Sequence[Any], stage: str) -> None:
    assert [item.key for item in items] == list(KEYS)
    assert [isinstance(item, Rejection) for item in items] == [False, True, False]
    (bad,) = [item for item in items if isinstance(item, Rejection)]
    assert bad.stage == stage
    _assert_line(bad.reason)


def _assert_line(reason: object) -> None:
    assert isinstance(reason, str) and 0 < len(reason) <= REASON_CHARS + 100 and reason.isprintable()
    reason.encode()


# --- encode


@every_error
def test_fetching(source: Store, entries: list[Entry], monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(source, "fetch", _fails(source.fetch, lambda keys, *_: BAD in keys, error))
    _assert_only_the_bad_one_is_rejected(_load(source, entries), OUTAGE)


@every_error
def test_reading(source: Store, entries: list[Entry], monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    bad = source.get(BAD)
    monkeypatch.setattr(Sandbox, "read", _fails(Sandbox.read, lambda _, data, **__: data == bad, error))
    _assert_only_the_bad_one_is_rejected(_load(source, entries, keep_unreadable=False), "read")
    _assert_only_the_bad_one_is_kept(_load(source, entries), "PNG image that cannot be decoded")


def _assert_only_the_bad_one_is_kept(items: Sequence[Any], reason: str) -> None:
    assert [item.key for item in items] == list(KEYS)
    assert [item.reading.keep for item in items] == [None, reason, None]


@every_error
def test_analysing(
    source: Store, entries: list[Entry], tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    loaded = _load(source, entries)
    bad = loaded[1].reading.picture  # type: ignore[union-attr]
    is_bad: Callable[..., bool] = lambda pictures, *_, **__: any(picture is bad for picture in pictures)  # noqa: E731
    monkeypatch.setattr(tiny_codec, "analyse", _fails(tiny_codec.analyse, is_bad, error))
    done = stages.analyse(loaded, tiny_codec, Target(quality=40))
    assert [item.keep for item in done if isinstance(item, stages.Analysed)] == [None, "cannot be compressed", None]


def _analysed(source: Store, entries: list[Entry], codec: Codec) -> list[stages.Analysed | Rejection]:
    return stages.analyse(_load(source, entries), codec, Target(quality=40))


def _compress(items: Sequence[stages.Analysed | Rejection], codec: Codec) -> stages.CompressedPiece:
    return stages.compress(items, codec.coder, Target(quality=40), shared(READING), "run")


def _assert_the_others_are_rows(piece: stages.CompressedPiece, stage: str) -> None:
    assert piece.rows["key"].to_pylist() == ["a.png", "c.png"]
    assert [(rejection.key, rejection.stage) for rejection in piece.rejections] == [(BAD, stage)]
    _assert_line(piece.rejections[0].reason)


@every_error
def test_compressing(
    source: Store, entries: list[Entry], tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    items = _analysed(source, entries, tiny_codec)
    bad = items[1].latents  # type: ignore[union-attr]
    monkeypatch.setattr(tiny_codec.coder, "encode", _fails(tiny_codec.coder.encode, lambda x, **_: x is bad, error))
    piece = _compress(items, tiny_codec)
    assert piece.rows["kept"].to_pylist() == [None, "cannot be compressed", None] and not piece.rejections
    assert piece.rows["payload"][1].as_py() == source.get(BAD)


@pytest.mark.parametrize("facts", [{"width": 4294967169}, {"height": -1 << 40}, {"etag": "\ud800"}, {"width": "x"}])
def test_a_value_that_its_column_cannot_hold(
    source: Store, entries: list[Entry], tiny_codec: Codec, facts: dict[str, Any]
) -> None:
    items = _analysed(source, entries, tiny_codec)
    items[1] = replace(items[1], **facts)  # type: ignore[type-var]
    _assert_the_others_are_rows(_compress(items, tiny_codec), "encode")


def test_a_row_that_cannot_be_written(source: Store, entries: list[Entry], tiny_codec: Codec, tmp_path: Path) -> None:
    piece = _compress(_analysed(source, entries, tiny_codec), tiny_codec)
    etags = piece.rows["etag"].to_pylist()
    nulled = pa.array([etags[0], None, etags[2]], pa.string())
    broken = piece.rows.set_column(1, pa.field("etag", pa.string(), nullable=False), nulled)
    made = Archive.create(str(tmp_path / "archive"))
    receipt = write_unit(0, None, [stages.CompressedPiece(broken, ())], made)
    assert (receipt.rows, [(r.key, r.stage) for r in receipt.rejections]) == (2, [(BAD, "write")])
    assert receipt.add is not None and receipt.add.rows == 2


@pytest.mark.parametrize("error", MACHINE, ids=lambda error: type(error).__name__)
def test_what_the_machine_is_to_blame_for_is_tried_again_in_the_next_run(
    source: Store, entries: list[Entry], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bad = source.get(BAD)
    monkeypatch.setattr(Sandbox, "read", _fails(Sandbox.read, lambda _, data, **__: data == bad, error))
    _assert_only_the_bad_one_is_rejected(_load(source, entries), OUTAGE)


@pytest.mark.parametrize(
    "error", [StorageError("the bucket is gone"), MissingPackage("pip install x"), KeyboardInterrupt(), SystemExit(3)]
)
def test_errors_that_concern_more_than_one_object_end_the_job(
    source: Store, entries: list[Entry], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def read(*_: object, **__: object) -> Reading:
        raise error

    monkeypatch.setattr(Sandbox, "read", read)
    with pytest.raises(type(error)):
        _load(source, entries)


# --- decode and verify


def _items(tables: Iterator[pa.Table] | pa.Table) -> list[Any]:
    whole = [tables] if isinstance(tables, pa.Table) else tables
    return [unpack(cell) for table in whole for cell in table["item"]]


def _break_payload(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], name: str, error: Exception) -> None:
    bad = rows[1]["payload"]
    monkeypatch.setattr(Codec, name, _fails(getattr(Codec, name), lambda _, payloads, *__: bad in payloads, error))


@every_error
def test_decoding(
    archive: Archive, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    _break_payload(monkeypatch, rows, "decompress", error)
    table = item_rows(*rows)
    outcomes = _items(decode_run._Decoder(Models(archive), "same", 1)(table))
    failed = [item for item in outcomes if isinstance(item, Outcome)]
    assert len(outcomes) == 3 and [outcome.key for outcome in failed] == [BAD]
    _assert_line(failed[0].reason)


@every_error
def test_writing_a_file(
    archive: Archive, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    dest = open_store(str(tmp_path / "dest"))
    pictures = decode_run._Decoder(Models(archive), "same", 1)(item_rows(*rows))
    decoded = item_rows(*_items(pictures))
    monkeypatch.setattr(dest, "put_new", _fails(dest.put_new, lambda key, *_: key == BAD, error))
    outcomes = _items(decode_run._write(decoded, dest, SAME, Names()))
    assert sorted(outcome.key for outcome in outcomes if not outcome.reason) == ["a.png", "c.png"]
    (failed,) = [outcome for outcome in outcomes if outcome.reason]
    assert failed.key == BAD
    _assert_line(failed.reason)


@every_error
def test_checking_rows(archive: Archive, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    check = _fails(row_checks.problem_with, lambda row, _: row["key"] == BAD, error)
    monkeypatch.setattr(verify_run, "problem_with", check)
    files, _ = images_log(archive)
    findings = _items(
        verify_run._check(
            pa.table({"shard": [file.to_json() for file in files]}), archive, frozenset(archive.models()), None
        )
    )
    problems = {f.key: f.problem for f in findings if isinstance(f, Finding)}
    assert [key for key, problem in problems.items() if problem] == [BAD] and problems.keys() == set(KEYS)
    _assert_line(problems[BAD])


@every_error
@pytest.mark.parametrize("broken", ["decompress", "problem_with_picture", "fetch", "problem_with_fidelity"])
def test_decoding_the_sample(
    archive: Archive,
    rows: list[dict[str, Any]],
    source: Store,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    error: Exception,
) -> None:
    rows = [row | {"etag": entry.etag} for row, entry in zip(rows, source.entries(), strict=True)]
    if broken == "decompress":
        _break_payload(monkeypatch, rows, "decompress", error)
    elif broken == "fetch":
        monkeypatch.setattr(source, "fetch", _fails(source.fetch, lambda keys, *_: BAD in keys, error))
    else:
        check = _fails(getattr(verify_run, broken), lambda row, *_: row["key"] == BAD, error)
        monkeypatch.setattr(verify_run, broken, check)
    findings = _items(verify_run._SampleDecoder(archive, Models(archive), source, 1)(item_rows(*rows)))
    problems = {finding.key: finding.problem for finding in findings}
    assert {key: problem is None for key, problem in problems.items()} == {"a.png": True, BAD: False, "c.png": True}
    _assert_line(problems[BAD])


@pytest.mark.parametrize(
    "facts",
    [{"width": None}, {"height": -5}, {"width": 1 << 20, "height": 1 << 20}, {"payload": None}, {"model": None}],
)
def test_rows_of_nonsense(archive: Archive, rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    rows[1] |= facts
    found = {row["key"]: picture for row, picture in RowDecoder(Models(archive)).pictures(rows)}
    assert [isinstance(found[key], str) for key in KEYS] == [False, True, False]
    _assert_line(found[BAD])
    assert verify_run._problem(row_checks.problem_with, rows[1], frozenset(archive.models()))


# --- learning, evaluating, estimating, viewing


@every_error
@pytest.mark.parametrize("where", ["fetch", "decode"])
def test_training_crops(monkeypatch: pytest.MonkeyPatch, where: str, error: Exception) -> None:
    files = {key: image_file("PNG", seed=number, size=(100, 90)) for number, key in enumerate(KEYS)}
    fetch: Callable[[str], bytes] = files.__getitem__
    if where == "fetch":
        fetch = _fails(fetch, lambda key: key == BAD, error)
    else:
        is_bad: Callable[..., bool] = lambda _, data, **__: data == files[BAD]  # noqa: E731
        monkeypatch.setattr(Sandbox, "read_rgb", _fails(Sandbox.read_rgb, is_bad, error))
    pool = CropPool(list(KEYS), fetch, crop=64, scales=(1.0, 1.0), seed=[1], pool_bytes=1 << 20)
    assert np.stack([pool.next() for _ in range(64)]).shape == (64, 64, 64, 3)
    assert len(pool._pool) == 2
    assert len(Validation(list(KEYS), fetch, 0, 1, torch_cpu())._crops) == 2


def torch_cpu() -> Any:
    """The device of the CPU."""
    import torch

    return torch.device("cpu")


def test_training_stops_when_the_store_gives_no_answer() -> None:
    def fetch(key: str) -> bytes:
        raise Outage("no answer")

    pool = CropPool(["a"], fetch, crop=64, scales=(1.0, 1.0), seed=[1], pool_bytes=1 << 20)
    with pytest.raises(Outage):
        pool.next()


def test_an_object_that_cannot_be_read_is_no_outage(source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for transient, kind in ((True, Outage), (False, StorageError)):
        failed = FetchFailed("k", "forbidden", transient)
        monkeypatch.setattr(source, "fetch", lambda keys, *_, failed=failed: [failed])
        with pytest.raises(StorageError) as caught:
            source.get("k")
        assert type(caught.value) is kind


@every_error
def test_measuring(
    source: Store, entries: list[Entry], tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(source, "fetch", _fails(source.fetch, lambda keys, *_: BAD in keys, error))
    with Measurer(tiny_codec, MeasurementPlan(source, (40,), (), 1 << 20)) as measurer:
        found = measurer.measure(entries[1])
        assert isinstance(found, Skipped)
        _assert_line(found.reason)
        monkeypatch.setattr("pipeline.evaluate.measurement.digest", _fails(len, lambda pixels: True, error))
        found = measurer.measure(entries[0])
        assert isinstance(found, Skipped) and not isinstance(found, MeasuredImage)
        _assert_line(found.reason)


@every_error
def test_estimating(
    source: Store, entries: list[Entry], tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    encode = _fails(sample_encoder.encode_object, lambda entry, *_: entry.key == BAD, error)
    monkeypatch.setattr(sample_encoder, "encode_object", encode)
    settings = EstimateSettings(source=source.url, quality=40)
    done = [sample_encoder._encoded(entry, source, shared(READING), tiny_codec, settings, ()) for entry in entries]
    assert [one.status == "rejected" for one in done] == [False, True, False]
    assert done[1].stored == done[1].size == entries[1].size


@every_error
def test_samples_to_learn_from(
    archive: Archive, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    _break_payload(monkeypatch, rows, "decompress", error)
    samples = Samples(archive, "image")
    found = samples.pixels_or_faults(rows)
    assert [isinstance(one, Fault) for one in found] == [False, True, False]
    with pytest.raises(DamagedPayload, match=r"'bad.png' in .* does not decode"):
        samples.arrays(rows)
    _break_payload(monkeypatch, rows, "hyper_latents", error)
    grids = Samples(archive, "sketch").grids_or_faults(rows)
    assert [isinstance(one, Fault) for one in grids] == [False, True, False]


@every_error
def test_pictures_in_the_viewer(archive: Archive, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr("jobs.web.viewer.renditions.write_picture", _fails(len, lambda *_: True, error))
    studio = Studio(Catalogue(archive.url), None, 1, 1 << 20)
    try:
        with pytest.raises(MaepressError) as caught:
            studio._work(BAD, Wanted("png"))
        assert isinstance(caught.value, NotShown) or caught.value is error
        assert studio._work("a.png", Wanted("webp", 32)).data
    finally:
        studio.close()


# --- the boundary itself


@pytest.mark.parametrize("error", [*ERRORS, *MACHINE], ids=lambda error: type(error).__name__)
def test_any_exception_becomes_one_printable_line(error: Exception) -> None:
    def work() -> None:
        raise error

    fault = attempt(work)
    assert isinstance(fault, Fault) and fault.machine == (error in MACHINE)
    _assert_line(fault.reason)


def test_of_work_on_several_only_those_fail_that_fail_alone() -> None:
    calls: list[list[int]] = []

    def inverse(numbers: Sequence[int]) -> list[float]:
        calls.append(list(numbers))
        return [1 / number for number in numbers]

    assert attempt_all([1, 2, 4], inverse) == [1.0, 0.5, 0.25] and len(calls) == 1
    one, zero, two = attempt_all([1, 0, 2], inverse)
    assert (one, two) == (1.0, 0.5) and zero == Fault("division by zero (ZeroDivisionError)")
    assert attempt_all([], inverse) == []
    assert all(isinstance(one, Fault) for one in attempt_all([1, 2], lambda numbers: [0.0])) is False
    assert attempt_all([3], lambda numbers: list[float]()) == [Fault("0 results for 1 objects (RuntimeError)")]


# --- whole files


def bmp(width: int, height: int = 5) -> bytes:
    """A BMP with this width in its header."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1200, 0, 0, 54) + header + bytes(1200)


@pytest.mark.parametrize("width", [-127, -1, -(1 << 31)])
def test_a_header_of_an_impossible_size_is_one_rejection_or_one_kept_file(source: Store, width: int) -> None:
    source.put(BAD, bmp(width))
    _assert_only_the_bad_one_is_kept(_load(source, list(source.entries())), "BMP image that cannot be decoded")
    loaded = _load(source, list(source.entries()), keep_unreadable=False)
    _assert_only_the_bad_one_is_rejected(loaded, "read")
    assert loaded[1].reason.startswith("header gives impossible size: ")  # type: ignore[union-attr]


def test_the_size_that_a_header_claims_counts_no_megapixels(source: Store, tiny_codec: Codec, tmp_path: Path) -> None:
    source.put(BAD, bmp(1 << 30, 1 << 29))
    entries = list(source.entries())
    piece = _compress(_analysed(source, entries, tiny_codec), tiny_codec)
    assert piece.rows["kept"].to_pylist()[1] == "too many pixels"
    receipt = write_unit(0, None, [piece], Archive.create(str(tmp_path / "archive")))
    assert (receipt.rows, receipt.pixels) == (3, 2 * 70 * 50)


def _tiff(tag: int, kind: int, value: bytes) -> bytes:
    """A grey TIFF of 4 x 4 pixels with one more tag, whose value follows the directory."""
    short, long = 3, 4
    tags = [(256, short, 4), (257, short, 4), (258, short, 8), (259, short, 1), (262, short, 1), (273, long, 8)]
    tags += [(277, short, 1), (278, short, 4), (279, long, 16)]
    entries = [struct.pack("<HHII", *(number, type_, 1, content)) for number, type_, content in tags]
    after = 24 + 2 + 12 * (len(tags) + 1) + 4
    entries.append(struct.pack("<HHII", tag, kind, 1, after))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 24) + bytes(range(16)) + directory + value


@pytest.mark.parametrize("tag", [34665, 34853])
def test_a_tiff_whose_tags_cannot_be_written_back_is_kept_and_comes_back(source: Store, tag: int) -> None:
    source.put(BAD, _tiff(tag, 16, struct.pack("<Q", 2**64 - 1)))
    loaded = _load(source, list(source.entries()))[1]
    assert isinstance(loaded, stages.Loaded)
    assert loaded.reading.picture is None and loaded.reading.keep == "metadata that cannot be written back"


def test_metadata_that_a_decode_cannot_write_keeps_its_source(source: Store) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(image_file("PNG"))).save(file, "PNG", exif=b"Exif\0\0" + b"no directory at all")
    source.put("a.png", file.getvalue())
    source.put("c.png", image_file("PNG", exif=Image.Exif().tobytes()))
    first, _, third = _load(source, list(source.entries()))
    assert isinstance(first, stages.Loaded) and isinstance(third, stages.Loaded)
    for loaded in (first, third):
        picture = loaded.reading.picture
        assert picture is None or write_picture(picture, "png")
    assert third.reading.picture is not None


def test_a_transcode_for_which_memory_is_lacking_is_none_and_the_next_source_is_read() -> None:
    from pipeline.images.limits import Limits

    jpeg = image_file("JPEG", size=(1600, 1200), quality=95)
    sandbox = Sandbox(Limits(seconds=60, memory=8 << 20))
    try:
        assert sandbox.to_jxl(jpeg) is None
    finally:
        sandbox.close()
    assert isinstance(shared(READING).read(image_file("PNG"), max_pixels=1 << 20), Reading)


def test_originals_and_nothing_else_are_unharmed_by_their_neighbours(archive: Archive, tmp_path: Path) -> None:
    dest = open_store(str(tmp_path / "dest"))
    sound, odd = original("sound", meta=None), original("odd") | {"status": "no such status"}
    outcomes = _items(decode_run._Decoder(Models(archive), "same", 1)(item_rows(sound, odd)))
    written = _items(decode_run._write(item_rows(*outcomes), dest, SAME, Names()))
    assert {outcome.key: bool(outcome.reason) for outcome in written} == {"sound": False, "odd": True}
    assert isinstance(dest.fetch(["sound"])[0], Fetched)
