"""Decoding untrusted bytes in a child process: a hang, a crash or a memory bomb becomes one error.

    sandbox = shared(Limits(seconds=60, memory=2 << 30))
    picture = sandbox.read(source, max_pixels=64_000_000)      # same result as pipeline.images.image_reader.read
    pixels = sandbox.read_rgb(source, max_pixels=64_000_000)   # same result as pipeline.images.image_reader.read_rgb
    payload = sandbox.to_pixels(source)                        # same result as pipeline.images.formats.lossless_pixels
    pixels = sandbox.decode_standard("avif", data, 640, 480)   # same result as pipeline.images.standard_codecs.decode
    jxl = sandbox.to_jxl(jpeg)                                 # same result as pipeline.images.formats.jpeg_xl.to_jxl
    clip = sandbox.read_clip(video, 30)                        # same result as pipeline.images.video.read_clip

A process has one child per set of limits. It is started when first needed and restarted when it
dies. Requests and answers go through pipes, pixels through shared memory. A decoder written in C
cannot be stopped from within its process (signal handlers wait for it, threads cannot be ended),
and a crash ends the whole process; so decoders run in a process of their own. This does not protect
against code that takes over the child: it has its parent's rights.

Why not `multiprocessing` or `concurrent.futures`: their children import the parent's main module
(here Ray's), the death of one child breaks the whole pool, and running work has no time limit.
"""

import functools
import os
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.core.boundary import reason_of
from model.core.errors import DamagedPayload, MaepressError, MissingPackage
from model.core.picture import Picture
from pipeline.images.image_reader import possible_size
from pipeline.images.limits import Limits
from pipeline.images.perceptual_hash import checked_hash
from pipeline.images.reading import Reading, Rejected
from pipeline.images.sandbox.ipc_messages import Buffer
from pipeline.images.sandbox.process import Answer, Died, SandboxProcess, Stopped
from pipeline.images.video import LATEST, Clip
from pipeline.images.window import Window


class Sandbox:
    """A child process and the requests to it; threads that share it take turns."""

    def __init__(self, limits: Limits) -> None:
        self._process = SandboxProcess(limits)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the child, and return before it is ready: for callers that have something else to do first."""
        with self._lock:
            self._process.start()

    def read(self, source: bytes, *, max_pixels: int) -> Reading | Rejected:
        """The result of `image_reader.read`, or a Rejected if the child gives no answer."""
        if not source:
            return Rejected("read", "empty file")
        try:
            head, blobs, planes = self._ask({"task": "read", "max_pixels": max_pixels}, source)
        except Stopped as e:
            return Rejected("read", f"cannot be decoded: {e}")
        if "reason" in head:
            return Rejected(head["stage"], head["reason"])
        try:
            return _reading(head, blobs, planes)
        except Exception as e:  # a child that a hostile file has damaged answers anything
            return Rejected("read", f"cannot be decoded: the decoder's answer makes no sense: {reason_of(e)}")

    def read_rgb(self, source: bytes, *, max_pixels: int, window: Window | None = None) -> NDArray[np.uint8] | Rejected:
        """The result of `image_reader.read_rgb`, or a Rejected if the child gives no answer."""
        try:
            asked = {"task": "read_rgb", "max_pixels": max_pixels, "window": window and astuple(window)}
            head, _, planes = self._ask(asked, source)
        except Stopped as e:
            return Rejected("read", f"cannot be decoded: {e}")
        if "reason" in head:
            return Rejected(head["stage"], head["reason"])
        try:
            assert planes is not None
            height, width = possible_size(head["shape"][:2])
            return planes.reshape(height, width, 3)
        except Exception as e:
            return Rejected("read", f"cannot be decoded: the decoder's answer makes no sense: {reason_of(e)}")

    def decode_standard(
        self, codec: str, data: bytes, width: int, height: int, *, grey: bool = False
    ) -> NDArray[np.uint8]:
        """The result of `standard_codecs.decode`.

        Raises:
            DamagedPayload: when it is no file of this codec and size, or the child gives no answer.
            MissingPackage: when imagecodecs is not installed.
        """
        failed = f"the payload cannot be decoded as {codec.upper()}"
        try:
            asked = {"task": "standard", "codec": codec, "size": [width, height], "grey": grey}
            head, _, planes = self._ask(asked, data)
        except Stopped as e:
            raise DamagedPayload(f"{failed}: {e}") from None
        if "missing" in head:
            raise MissingPackage(head["missing"])
        if planes is None:
            raise DamagedPayload(str(head.get("reason", failed)))
        if planes.size != height * width * (1 if grey else 3):
            raise DamagedPayload(f"{failed}: the decoder's answer makes no sense")
        return planes.reshape(height, width, -1)

    def to_jxl(self, jpeg: bytes) -> bytes | None:
        """A checked JPEG XL transcode, or None when it is not possible within the limits.

        Raises:
            MissingPackage: when imagecodecs is not installed.
        """
        return self._made("to_jxl", jpeg)

    def _made(self, task: str, source: bytes) -> bytes | None:
        try:
            head, blobs, _ = self._ask({"task": task}, source)
        except Stopped:
            return None
        if "missing" in head:
            raise MissingPackage(head["missing"])
        return bytes(blobs[0]) if blobs else None

    def to_jpeg(self, jxl: bytes) -> bytes:
        """The JPEG from which a transcode was made.

        Raises:
            DamagedPayload: when the bytes are not a transcode, or the decoder gives no answer.
            MissingPackage: when imagecodecs is not installed.
        """
        return self._restored("to_jpeg", jxl, "the payload cannot be turned back into its JPEG")

    def _restored(self, task: str, payload: bytes, failed: str) -> bytes:
        try:
            head, blobs, _ = self._ask({"task": task}, payload)
        except Stopped as e:
            raise DamagedPayload(f"{failed}: {e}") from None
        if "missing" in head:
            raise MissingPackage(head["missing"])
        if not blobs:
            raise DamagedPayload(head.get("reason", failed))
        return bytes(blobs[0])

    def to_pixels(self, source: bytes) -> bytes | None:
        """The result of `lossless_pixels.to_pixels`, or None when it is not possible within the limits.

        Raises:
            MissingPackage: when imagecodecs is not installed.
        """
        return self._made("to_pixels", source)

    def digest_of(self, source: bytes) -> bytes | None:
        """The result of `lossless_pixels.digest_of`, or None when it is not possible within the limits.

        Raises:
            MissingPackage: when imagecodecs is not installed.
        """
        return self._made("digest_of", source)

    def from_pixels(self, payload: bytes) -> bytes:
        """The result of `lossless_pixels.from_pixels`.

        Raises:
            DamagedPayload: when the bytes are no such payload, or the decoder gives no answer.
            MissingPackage: when imagecodecs is not installed.
        """
        return self._restored("from_pixels", payload, "the payload cannot be turned back into its picture")

    def read_clip(self, video: bytes, choice: int | str) -> Clip:
        """The result of `pipeline.images.video.read_clip`.

        Raises:
            MaepressError: when it is not a video that can be read, or the child gives no answer.
            MissingPackage: when PyAV is not installed.
        """
        try:
            head, _, _ = self._ask({"task": "clip", "choice": choice}, video)
        except Stopped as e:
            raise MaepressError(f"not a video that can be read ({e})") from None
        if "missing" in head:
            raise MissingPackage(head["missing"])
        if "reason" in head:
            raise MaepressError(head["reason"])
        try:
            width, height = possible_size(head["size"])
            times = [float(time) for time in head["times"]]
        except Exception as e:
            raise MaepressError(f"not a video that can be read: {reason_of(e)}") from None
        return Clip(width, height, tuple(time for time in times if 0 <= time < LATEST))

    def read_frames(self, video: bytes, times: Sequence[float]) -> tuple[dict[float, bytes], str | None]:
        """The frames that `pipeline.images.video.read_frames` gives, by time, and what ended it early, if anything.

        Raises:
            MissingPackage: when PyAV is not installed.
        """
        try:
            head, blobs, _ = self._ask({"task": "frames", "times": list(times)}, video)
        except Stopped as e:
            return {}, f"its video cannot be decoded: {e}"
        if "missing" in head:
            raise MissingPackage(head["missing"])
        try:
            wanted = set(times)
            found = {time: bytes(blob) for time, blob in zip(head["times"], blobs, strict=True) if time in wanted}
            return found, str(head["reason"]) if "reason" in head else None
        except Exception as e:
            return {}, f"its video cannot be decoded: {reason_of(e)}"

    def processor_seconds(self) -> float:
        """CPU time in seconds of the calling thread, of the child, and of all children that have ended.

        Only differences of two calls are meaningful.
        """
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # os.times() counts in hundredths of a second
        own = time.thread_time() + ended.ru_utime + ended.ru_stime
        with self._lock:
            pid = self._process.pid
            # The number of a process's CPU clock on Linux: see clock_getcpuclockid(3).
            return own + (time.clock_gettime((~pid << 3) | 2) if pid else 0.0)

    def close(self) -> None:
        """End the child; the next request starts a new one."""
        with self._lock:
            self._process.kill()

    def _ask(self, head: dict[str, Any], source: bytes) -> Answer:
        """The answer to a request.

        It is repeated once, by a new child, if the child failed: the machine may have been the
        cause, or the source before.
        """
        with self._lock:
            try:
                return self._process.ask(head, source)
            except Died:
                return self._process.ask(head, source)


def _reading(head: dict[str, Any], blobs: list[Buffer], planes: NDArray[np.uint8] | None) -> Reading:
    """The reading that a child's answer describes; raises anything for an answer that makes no sense."""
    name, *size = head["facts"]
    wide, high = possible_size(size)
    if planes is None:
        return Reading(str(name), wide, high, keep=str(head["keep"]))
    height, width, channels = head["shape"]
    colour = height * width * channels
    alpha = planes[colour:].reshape(height, width) if head["alpha"] else None
    icc, exif, xmp, skeleton = (bytes(data) for data in blobs)
    picture = Picture(planes[:colour].reshape(head["shape"]), alpha, icc, exif, xmp, skeleton)
    return Reading(str(name), wide, high, picture, phash=checked_hash(head["phash"]))


def shared(limits: Limits) -> Sandbox:
    """This process's sandbox with these limits; a forked process gets one of its own."""
    return _sandbox(os.getpid(), limits)


@functools.lru_cache(maxsize=8)
def _sandbox(process: int, limits: Limits) -> Sandbox:
    return Sandbox(limits)
