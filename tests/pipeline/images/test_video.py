"""Frames of videos: chosen by number or by scene, decoded, listed in key order."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.kept_source import packed
from pipeline.archive.schema import ZSTD
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode.run import EncodeSettings, encode
from pipeline.images import video
from pipeline.images.limits import VIDEOS, Limits
from pipeline.images.sandbox.sandbox import Sandbox
from pipeline.sources.video_store import VideoStore
from pipeline.storage.base import Fetched, FetchFailed, StorageError
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.storage.local.store import LocalStore
from tests.conftest import photo_like
from tests.pipeline.making import add, original

av: Any = pytest.importorskip("av", reason="PyAV is not installed (pip install 'maepress[video]')")

RATE, COUNT = 10, 24


def film() -> Iterator[tuple[float, Image.Image]]:
    """Two scenes of twelve frames, in which a picture moves by one column per frame."""
    for i in range(COUNT):
        still = photo_like(96, 128, seed=i // 12)
        yield i / RATE, Image.fromarray(np.roll(still if i < 12 else 255 - still // 3, i, axis=1))


def short_film(form: str, rate: int) -> bytes:
    """Six frames."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(6):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48)))))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.fixture(scope="module")
def clip() -> bytes:
    file = io.BytesIO()
    assert video.write_mp4(file, film()) == COUNT
    return file.getvalue()


def test_every_nth_frame_is_named_by_its_presentation_time(clip: bytes) -> None:
    found = video.read_clip(io.BytesIO(clip), 5)
    assert (found.width, found.height) == (128, 96)
    assert found.times == (0.0, 0.5, 1.0, 1.5, 2.0)
    assert video.frame_key("a.mp4", 1.5) == "a.mp4/00001.500s.ppm"
    assert video.parse_key("x/a.mp4/00001.500s.ppm") == ("x/a.mp4", 1.5)
    assert video.parse_key("x/a.mp4/cover.ppm") is None and video.parse_key("a.jpg/00001.500s.ppm") is None


def test_scenes_begin_where_the_picture_changes(clip: bytes) -> None:
    assert video.read_clip(io.BytesIO(clip), video.SCENES).times == (0.0, 1.2)


def test_only_the_requested_frames_are_read(clip: bytes) -> None:
    wanted = [0.3, 1.1, 1.2, 2.3]
    shown = dict(film())
    got = list(video.read_frames(io.BytesIO(clip), [*wanted, 9.0]))
    assert [time for time, _ in got] == wanted
    for time, data in got:
        decoded, original = np.asarray(Image.open(io.BytesIO(data))), np.asarray(shown[time])
        assert decoded.shape == original.shape
        assert np.abs(decoded.astype(int) - original).mean() < 12, "it is the frame of another time"
        assert len(data) == video.read_clip(io.BytesIO(clip), 1).frame_bytes


@pytest.mark.parametrize("text", ["0", "-3", "x", ""])
def test_an_invalid_choice_is_refused(text: str) -> None:
    with pytest.raises(MaepressError, match="give a number"):
        video.parse_choice(text)


def test_a_store_lists_frames_in_key_order_and_passes_other_objects_on(clip: bytes, tmp_path: Path) -> None:
    inner = LocalStore(str(tmp_path))
    for key, data in {
        "b/a.mp4": clip,
        "b/a.mp4.jpg": b"1",
        "b/z.png": b"2",
        "c.mov": b"no video",
        "a.png": b"3",
    }.items():
        inner.put(key, data)
    store = VideoStore(inner, 12)
    listed = list(store.entries())
    keys = [entry.key for entry in listed]
    assert keys == sorted(keys)
    first, second = "b/a.mp4/00000.000s.ppm", "b/a.mp4/00001.200s.ppm"
    assert keys == ["a.png", "b/a.mp4.jpg", first, second, "b/z.png", "c.mov"]
    got = store.fetch(["a.png", first, second, "b/z.png", "b/a.mp4/00009.000s.ppm"], 100_000)
    assert [type(g) for g in got] == [Fetched] * 4 + [FetchFailed]
    assert all(isinstance(g, Fetched) and g.etag == e.etag for g, e in zip(got[1:3], listed[2:4], strict=True))
    assert isinstance(got[1], Fetched) and len(got[1].data) == listed[2].size
    (large,) = store.fetch([first], 1000)
    assert isinstance(large, FetchFailed) and "more than 1000" in large.reason
    with pytest.raises(StorageError, match="a view of videos"):
        store.put("x", b"")


def test_a_video_without_frames_is_a_file_and_rows_of_its_frames_stay(clip: bytes, tmp_path: Path) -> None:
    inner = LocalStore(str(tmp_path))
    whole = short_film("matroska", 25)
    empty = whole[: whole.index(b"\x1f\x43\xb6\x75") + 16]  # cut short in its first cluster
    assert not video.read_clip(io.BytesIO(empty), 1).times
    for key, data in {"a.mp4": clip[: len(clip) // 2], "a.mp4.json": b"{}", "b.mkv": empty}.items():
        inner.put(key, data)
    listing = SourceListing(VideoStore(inner, 12))
    assert [entry.key for entry in listing] == ["a.mp4", "a.mp4.json", "b.mkv"]
    assert listing.hides("a.mp4/00000.000s.ppm") and listing.hides("b.mkv/00000.000s.ppm")
    assert listing.unlisted["b.mkv/"] == "its frames cannot be listed: it has no frames"
    assert "not a video that can be read" in listing.unlisted["a.mp4/"]


def test_frames_of_one_millisecond_have_one_key(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(short_film("mp4", 2000))
    store = VideoStore(LocalStore(str(tmp_path)), 1)
    keys = [entry.key for entry in store.entries()]
    assert keys == [f"a.mp4/{time:09.3f}s.ppm" for time in (0, 0.001, 0.002, 0.003)]
    assert all(isinstance(got, Fetched) for got in store.fetch(keys))


def test_a_play_list_named_as_a_video_opens_no_other_file(clip: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(clip)
    (tmp_path / "source").mkdir()
    lists = {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\nfile://{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile {tmp_path}/secret.mp4\n",
        "unsafe.mp4": "ffconcat version 1.0\nfile ../secret.mp4\n",
        "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "images.mp4": f"{tmp_path}/secret%d.mp4",
    }
    for name, text in lists.items():
        (tmp_path / "source" / name).write_text(text)
        with pytest.raises(MaepressError, match="not a video that can be read"):
            video.read_clip(io.BytesIO(text.encode()), 1)
    listed = [entry.key for entry in VideoStore(LocalStore(str(tmp_path / "source")), 1).entries()]
    assert listed == sorted(lists)  # as files, which become rejections


def test_the_sandbox_reads_videos_as_the_reader_does(clip: bytes) -> None:
    sandbox = Sandbox(VIDEOS)
    assert sandbox.read_clip(clip, 5) == video.read_clip(io.BytesIO(clip), 5)
    assert sandbox.read_clip(clip, video.SCENES).times == (0.0, 1.2)
    frames, failed = sandbox.read_frames(clip, [0.3, 1.1, 9.0])
    assert frames == dict(video.read_frames(io.BytesIO(clip), [0.3, 1.1])) and failed is None
    with pytest.raises(MaepressError, match="not a video that can be read"):
        sandbox.read_clip(b"no video", 1)
    assert sandbox.read_frames(b"no video", [0.0])[1] is not None
    sandbox.close()


def test_a_video_whose_decoder_hangs_is_one_rejection(clip: bytes) -> None:
    sandbox = Sandbox(Limits(seconds=0.0, memory=2 << 30))
    with pytest.raises(MaepressError, match="took longer than 0 s"):
        sandbox.read_clip(clip, video.SCENES)
    assert sandbox.read_frames(clip, [0.3]) == ({}, "its video cannot be decoded: it took longer than 0 s")
    sandbox.close()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_video_goes_into_an_archive_frame_by_frame_and_comes_back_as_one(
    clip: bytes, tmp_path: Path, tiny_model_folder: Path
) -> None:
    inner = LocalStore(str(tmp_path / "clips"))
    inner.put("holiday/beach.mov", clip)
    inner.put("holiday/broken.mp4", clip[: len(clip) // 2])
    inner.put("holiday/still.png", next(data for _, data in video.read_frames(io.BytesIO(clip), [0.0])))
    source, archive = f"{tmp_path}/clips#frames=2", str(tmp_path / "archive")
    settings = {"model": str(tiny_model_folder), "actors": "1:1", "quality": 60}
    result = encode(EncodeSettings(source=source, archive=archive, **settings), quiet=True)  # type: ignore[arg-type]
    assert (result.latents + result.originals, result.rejected) == (14, 0), "12 frames, a picture, and a broken video"
    again = encode(EncodeSettings(source=source, archive=archive, **settings), quiet=True)  # type: ignore[arg-type]
    assert (again.unchanged, again.rejected_before) == (14, 0)

    done = decode(DecodeSettings(archive=archive, dest=str(tmp_path / "back"), format="mp4"), quiet=True)
    assert (done.written, done.failed) == (1, 0)
    assert [path.name for path in (tmp_path / "back").rglob("*") if path.is_file()] == ["beach.mov.mp4"]
    back = (tmp_path / "back" / "holiday" / "beach.mov.mp4").read_bytes()
    assert video.read_clip(io.BytesIO(back), 1).times == tuple(round(i / 5, 3) for i in range(12))
    shown = dict(film())
    frames = list(video.read_frames(io.BytesIO(back), [0.4, 1.6]))
    assert [time for time, _ in frames] == [0.4, 1.6]
    for time, data in frames:
        difference = np.asarray(Image.open(io.BytesIO(data))).astype(int) - np.asarray(shown[time])
        assert np.abs(difference).mean() < 16


def test_frames_that_are_kept_are_joined_however_they_are_packed(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    rows = []
    for second in range(4):
        plain = io.BytesIO()
        Image.new("RGB", (128, 96), (60 * second, 0, 9)).save(plain, "PPM")
        key, source = f"beach.mov/{second:05}.000s.ppm", plain.getvalue()
        frame = packed(source)
        assert frame is not None
        rows.append(original(key, source) | {"status": ZSTD, "payload": frame, "payload_bytes": len(frame)})
    add(archive, rows)
    done = decode(DecodeSettings(archive=archive.url, dest=str(tmp_path / "back"), format="mp4"), quiet=True)
    assert (done.written, done.failed) == (1, 0)
    back = (tmp_path / "back" / "beach.mov.mp4").read_bytes()
    assert len(video.read_clip(io.BytesIO(back), 1).times) == 4
