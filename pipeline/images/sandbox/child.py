"""The child process of `pipeline.images.sandbox.sandbox`.

It reads requests from standard input, writes answers to standard output, and ends with its input.
It imports neither torch nor Ray, so that it starts in a third of a second and occupies some 50 MB.
"""

import errno
import io
import os
import resource
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np

from model.core.boundary import reason_of
from model.core.errors import DamagedPayload, MaepressError, MissingPackage
from pipeline.images.formats.jpeg_xl import to_jpeg, to_jxl
from pipeline.images.formats.lossless_pixels import digest_of, from_pixels, to_pixels
from pipeline.images.image_reader import read, read_rgb
from pipeline.images.reading import Rejected
from pipeline.images.sandbox.ipc_messages import Buffer, pack, unpack
from pipeline.images.sandbox.shared_buffer import SharedBuffer
from pipeline.images.standard_codecs import decode
from pipeline.images.video import read_clip, read_frames
from pipeline.images.window import Window

Reply = tuple[object, Sequence[Buffer]]


def read_picture(options: Any, source: bytes, planes: SharedBuffer) -> Reply:
    """The result of `image_reader.read`: pixels and alpha in `planes`, metadata as blobs."""
    reading = read(source, max_pixels=options["max_pixels"])
    if isinstance(reading, Rejected):
        return {"stage": reading.stage, "reason": reading.reason}, ()
    head: dict[str, object] = {"facts": [reading.source_format, reading.width, reading.height], "keep": reading.keep}
    picture = reading.picture
    if picture is None:
        return head, ()
    colour = picture.pixels.reshape(-1)
    content = colour if picture.alpha is None else np.concatenate([colour, picture.alpha.reshape(-1)])
    planes.put(content)
    head |= {"shape": picture.pixels.shape, "alpha": picture.alpha is not None, "planes": content.size}
    head["phash"] = reading.phash
    return head, (picture.icc, picture.exif, picture.xmp, picture.skeleton)


def read_pixels(options: Any, source: bytes, planes: SharedBuffer) -> Reply:
    """The result of `pipeline.images.image_reader.read_rgb`; pixels go to `planes`."""
    window = options["window"] and Window(*options["window"])
    pixels = read_rgb(source, max_pixels=options["max_pixels"], window=window)
    if isinstance(pixels, Rejected):
        return {"stage": pixels.stage, "reason": pixels.reason}, ()
    planes.put(pixels)
    return {"shape": pixels.shape, "planes": pixels.size}, ()


def decode_standard(options: Any, data: bytes, planes: SharedBuffer) -> Reply:
    """The pixels of a standard codec's file, in `planes`; a reason for other bytes."""
    try:
        width, height = options["size"]
        pixels = decode(options["codec"], data, width, height, grey=options["grey"])
    except DamagedPayload as e:
        return {"reason": str(e)}, ()
    planes.put(pixels)
    return {"shape": pixels.shape, "planes": pixels.size}, ()


def made_by(make: Callable[[bytes], bytes | None]) -> Callable[[Any, bytes, SharedBuffer], Reply]:
    """A task that makes bytes of a source; no blob when that is not possible."""

    def task(_: Any, source: bytes, __: SharedBuffer) -> Reply:
        made = make(source)
        return {}, () if made is None else (made,)

    return task


def restored_by(restore: Callable[[bytes], bytes]) -> Callable[[Any, bytes, SharedBuffer], Reply]:
    """A task that restores a file from a payload; no blob but a reason for other bytes."""

    def task(_: Any, payload: bytes, __: SharedBuffer) -> Reply:
        try:
            return {}, (restore(payload),)
        except DamagedPayload as e:
            return {"reason": str(e)}, ()

    return task


def list_frames(options: Any, video: bytes, _: SharedBuffer) -> Reply:
    """The size and the times of a video's chosen frames."""
    try:
        clip = read_clip(io.BytesIO(video), options["choice"])
    except MissingPackage:
        raise
    except MaepressError as e:
        return {"reason": str(e)}, ()
    return {"size": [clip.width, clip.height], "times": clip.times}, ()


def decode_frames(options: Any, video: bytes, _: SharedBuffer) -> Reply:
    """The frames of a video at some times, one blob each; where decoding fails, those before, and the reason."""
    times, frames = list[float](), list[bytes]()
    head: dict[str, object] = {"times": times}
    try:
        for time, frame in read_frames(io.BytesIO(video), options["times"]):
            times.append(time)
            frames.append(frame)
    except MissingPackage:
        raise
    except MaepressError as e:
        head["reason"] = str(e)
    return head, frames


TASKS: dict[str, Callable[[Any, bytes, SharedBuffer], Reply]] = {
    "read": read_picture,
    "read_rgb": read_pixels,
    "standard": decode_standard,
    "to_jxl": made_by(to_jxl),
    "to_jpeg": restored_by(to_jpeg),
    "to_pixels": made_by(to_pixels),
    "from_pixels": restored_by(from_pixels),
    "digest_of": made_by(digest_of),
    "clip": list_frames,
    "frames": decode_frames,
}


def answer(head: Any, source: bytes, planes: SharedBuffer) -> Reply:
    """A task's reply; every exception becomes a reply, too.

    `missing` tells that this installation lacks a package, `limited` that files may not be as large as a decoded
    image, in a memfd too, and `error` that this source has failed.
    """
    try:
        return TASKS[head["task"]](head, source, planes)
    except MissingPackage as e:
        return {"missing": str(e)}, ()
    except MemoryError:
        return {"error": "it needs more memory than one image may take"}, ()
    except Exception as e:
        if isinstance(e, OSError) and e.errno == errno.EFBIG:
            return {"limited": True}, ()
        return {"error": reason_of(e)}, ()


def main(seconds: int, memory: int, descriptor: int) -> None:
    """Serve until standard input ends.

    Args:
        seconds: CPU time per request. The kernel ends a child that takes more, even if its parent
            is gone.
        memory: bytes by which the child's address space may grow.
        descriptor: file descriptor of the buffer for planes.
    """
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    silence_libraries()
    planes = SharedBuffer(descriptor)
    multiply_once()
    limit_memory(memory)
    send(replies, pack({"ready": True}))
    while True:
        try:
            head, (source,) = unpack(lambda size: read_exactly(requests, size))
        except EOFError:
            return
        limit_time(seconds)
        send(replies, pack(*answer(head, bytes(source), planes)))


def silence_libraries() -> None:
    """Drop what decoders in C print about a file: the reply says what matters, and replies go elsewhere.

    Errors of this process itself, which Python prints, are still seen.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    nothing = os.open(os.devnull, os.O_WRONLY)
    for printed in (1, 2):
        os.dup2(nothing, printed)
    os.close(nothing)


def send(file: BinaryIO, parts: Sequence[Buffer]) -> None:
    """Send a message."""
    for part in parts:
        file.write(part)
    file.flush()


def read_exactly(file: BinaryIO, size: int) -> bytes:
    """Exactly `size` bytes.

    Raises:
        EOFError: when the file ends first.
    """
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def multiply_once() -> None:
    """Let numpy's OpenBLAS allocate what it needs for products: on some processors 32 MB, which are not a source's."""
    square = np.ones((32, 32), np.float32)
    square @ square


def limit_memory(memory: int) -> None:
    """Let the address space grow by this number of bytes from its present size."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def limit_time(seconds: int) -> None:
    """Let the process use this many seconds of CPU time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
