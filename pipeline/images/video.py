"""Frames of videos: choosing them, their keys, reading their pixels, and writing frames as an MP4.

A frame's key is its video's key, a slash, and its time: `clips/a.mp4/00001.480s.ppm`. Times have a
fixed width, so they sort in order, and SQL can extract them (`regexp_extract(key, '([0-9.]+)s.ppm',
1)`). A frame's bytes are a PPM file, so every reader of images can read frames, and their size
follows from the video's width and height alone.

Needs PyAV (the extra `video`). Videos that you did not make yourself are read through
`pipeline.images.sandbox.sandbox`.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

from PIL import Image, ImageChops, ImageStat

from model.core.errors import MaepressError, MissingPackage
from model.core.extras import remedy

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
"""Suffixes of files that are videos."""
SCENES = "scenes"
CHANGE = 28.0
"""A new scene begins where two neighbouring frames, as small grey pictures, differ by this many
levels on average."""
SMALL = (32, 18)
"""Size of these pictures in pixels."""
MILLISECOND = Fraction(1, 1000)
LATEST = 100_000.0
"""Times from here on, in seconds, have no key: it has five digits before the point."""
_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi",
    "protocol_whitelist": "",
}
"""Of FFmpeg, which goes by content and not by suffix: only containers of videos, and no address that a
file gives. A play list named `x.mp4` would make it read other files, also from the network."""
_KEY = re.compile(r"(.+)/(\d+\.\d{3})s\.ppm", re.S)


@dataclass(frozen=True, slots=True)
class Clip:
    """The chosen frames of a video: their size in pixels, and their times in seconds, rising."""

    width: int
    height: int
    times: tuple[float, ...]

    @property
    def frame_bytes(self) -> int:
        """Size of each frame's PPM file."""
        return len(f"P6\n{self.width} {self.height}\n255\n") + 3 * self.width * self.height


def is_video(key: str) -> bool:
    """Whether a key names a video, by its suffix."""
    return key.lower().endswith(SUFFIXES)


def frame_key(video: str, time: float) -> str:
    """The key of a frame: time in seconds."""
    return f"{video}/{time:09.3f}s.ppm"


def parse_key(key: str) -> tuple[str, float] | None:
    """The video's key and the time in seconds from a frame's key; None for any other key."""
    found = _KEY.fullmatch(key)
    return (found[1], float(found[2])) if found and is_video(found[1]) else None


def parse_choice(text: str) -> int | str:
    """The choice after `#frames=`: N (every Nth frame) or "scenes" (each scene's first frame).

    Raises:
        MaepressError: for anything else.
    """
    if text == SCENES:
        return SCENES
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise MaepressError(f"#frames={text}: give a number (30 takes every 30th frame) or {SCENES}")


def read_clip(file: BinaryIO, choice: int | str) -> Clip:
    """The size and the times of a video's chosen frames.

    The whole video is read; it is decoded only if the choice is "scenes".

    Args:
        file: the video.
        choice: as returned by `parse_choice`.

    Raises:
        MaepressError: when it is not a video that can be read.
    """
    with _OpenVideo(file) as container:
        stream = container.streams.video[0]
        if choice == SCENES:
            times = list(_scene_starts(container, stream))
        else:
            assert isinstance(choice, int)
            times = sorted(_times(container, stream))[::choice]
        return Clip(stream.width, stream.height, tuple(times))


def require_library() -> None:
    """Check that PyAV is installed.

    Raises:
        MaepressError: when it is not.
    """
    _av()


def read_frames(file: BinaryIO, times: Sequence[float]) -> Iterator[tuple[float, bytes]]:
    """The frames at some times, each as a PPM file; times without a frame are left out.

    Args:
        file: the video.
        times: in seconds, to a thousandth, rising.

    Raises:
        MaepressError: when it cannot be decoded up to the last of these times.
    """
    with _OpenVideo(file) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        wanted = list(times)
        _seek(container, stream, wanted[0])
        for frame in container.decode(stream):
            time = _seconds(frame.pts, frame.time_base)
            while wanted and wanted[0] < time - 0.0005:
                wanted.pop(0)
            if not wanted:
                return
            if abs(wanted[0] - time) <= 0.0005:
                buffer = io.BytesIO()
                frame.to_image().save(buffer, "PPM")
                yield wanted.pop(0), buffer.getvalue()


def write_mp4(file: BinaryIO, frames: Iterator[tuple[float, Image.Image]]) -> int:
    """Write an MP4 of frames at their times, in H.264, or in MPEG-4 if FFmpeg lacks it.

    Args:
        file: written to; must be seekable.
        frames: times in seconds, rising, and RGB pictures of one size; a last odd row or column is
            cropped.

    Returns:
        The number of frames.
    """
    av = _av()
    count = 0
    with av.open(file, "w", format="mp4") as container:
        stream: Any = None
        first = 0.0
        for time, image in frames:
            width, height = (side - side % 2 for side in image.size)
            if stream is None:
                first = time
                stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=25)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.time_base = MILLISECOND
                if stream.codec.name == "libx264":
                    stream.options = {"crf": "16"}
            frame = av.VideoFrame.from_image(image.convert("RGB").crop((0, 0, stream.width, stream.height)))
            frame.pts, frame.time_base = round(1000 * (time - first)), MILLISECOND
            container.mux(stream.encode(frame))
            count += 1
        if stream is not None:
            container.mux(stream.encode(None))
    return count


def _times(container: Any, stream: Any) -> Iterator[float]:
    """Presentation times of the frames, from the packets: an MP4's index has only decoding times."""
    for packet in container.demux(stream):
        if packet.pts is not None:
            yield _seconds(packet.pts, packet.time_base)


def _scene_starts(container: Any, stream: Any) -> Iterator[float]:
    """Times of the first frame and of each frame that differs much from the one before."""
    before: Image.Image | None = None
    for frame in container.decode(stream):
        now = frame.reformat(*SMALL, format="gray").to_image()
        if before is None or ImageStat.Stat(ImageChops.difference(before, now)).mean[0] >= CHANGE:
            yield _seconds(frame.pts, frame.time_base)
        before = now


def _seek(container: Any, stream: Any, time: float) -> None:
    """Go to the last key frame before a time."""
    container.seek(max(0, int((time - 0.001) / stream.time_base)), stream=stream)


def _seconds(pts: int, time_base: Fraction) -> float:
    return round(float(pts * time_base), 3)


class _OpenVideo:
    """An open container, for a `with` block; PyAV's errors for a bad file become one line."""

    def __init__(self, file: BinaryIO) -> None:
        self._av, self._file = _av(), file

    def __enter__(self) -> Any:
        try:
            self._container = self._av.open(self._file, container_options=_OPTIONS)
        except (self._av.FFmpegError, ValueError) as e:
            raise MaepressError(f"not a video that can be read ({e})") from None
        if not self._container.streams.video:
            self._container.close()
            raise MaepressError("it holds no video")
        return self._container

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._container.close()
        if isinstance(error, self._av.FFmpegError):
            raise MaepressError(f"its video cannot be decoded ({error})") from None


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise MissingPackage(f"reading videos needs PyAV: {remedy('video')}") from None
    return av
