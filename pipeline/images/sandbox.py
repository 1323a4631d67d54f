"""Decoding untrusted bytes in a child process: a hang, a crash or a memory bomb becomes one error.

    sandbox = shared(Limits(seconds=60, memory=2 << 30))
    picture = sandbox.read(source, max_pixels=64_000_000)      # same result as pipeline.images.image_reader.read
    pixels = sandbox.read_rgb(source, max_pixels=64_000_000)   # same result as pipeline.images.image_reader.read_rgb
    jxl = sandbox.to_jxl(jpeg)                                 # same result as pipeline.images.jpeg_xl.to_jxl

A process has one child per set of limits. It is started when first needed and restarted when it
dies. Requests and answers go through pipes, pixels through shared memory. A decoder written in C
cannot be stopped from within its process (signal handlers wait for it, threads cannot be ended),
and a crash ends the whole process; so decoders run in a process of their own. This does not protect
against code that takes over the child: it has its parent's rights.

Why not `multiprocessing` or `concurrent.futures`: their children import the parent's main module
(here Ray's), the death of one child breaks the whole pool, and running work has no time limit.
"""

import fcntl
import functools
import math
import os
import resource
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pipeline
from model.core.boundary import reason_of
from model.core.errors import DamagedPayload, MissingPackage
from model.core.picture import Picture
from pipeline.images.image_reader import Reading, Rejected, possible_size
from pipeline.images.ipc_messages import Buffer, pack, unpack
from pipeline.images.shared_buffer import SharedBuffer

_START_SECONDS = 120.0
"""Time limit for the start of a child, which takes a third of a second on an idle machine. The start
does not count towards the limit of a request."""
_MAX_PLANES = 1 << 33
"""Most bytes of pixels in an answer; the memory that a child may use holds far fewer."""
_PIPE_BYTES = 1 << 20
"""Size of each pipe's buffer, so that a source passes with few system calls."""

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Reuse one picture's memory for the next: with glibc's defaults each picture's pages are
    # returned to the kernel and faulted in again, which took a third of the child's time.
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}
_CHILD = f"""
import sys
sys.path.insert(0, {str(Path(pipeline.__file__).parent.parent)!r})
import model, pipeline
del sys.path[0]
from pipeline.images.sandbox_child import main
main(*map(int, sys.argv[1:]))
"""
"""The child's program. It imports our own `model` and `pipeline`, although others may come first on
the parent's path."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one request.

    Attributes:
        seconds: from the request to its answer, once the child is ready.
        memory: bytes by which the child's address space may grow.
    """

    seconds: float
    memory: int

    @classmethod
    def for_images(cls, seconds: float, max_pixels: int, max_bytes: int) -> "Limits":
        """Limits that no valid image reaches: memory for several copies of its planes and file."""
        return cls(seconds, (1 << 30) + 32 * max_pixels + 2 * max_bytes)


Answer = tuple[Any, list[Buffer], NDArray[np.uint8] | None]
"""Head, blobs, and the content of the shared buffer if the answer has pixels."""


READABLE_PIXELS = 178_000_000
"""Images with more pixels are not read outside an encode, which has its own limit."""

READING = Limits.for_images(seconds=60.0, max_pixels=READABLE_PIXELS, max_bytes=512 << 20)
"""Limits for reading an image outside an encode."""

TRANSCODING = Limits(seconds=600, memory=8 << 30)
"""Limits for restoring a JPEG from its transcode; the JPEG was within the limits of the run that
made it."""


class _Stopped(Exception):
    """The child gave no answer; the text is the reason."""


class _Died(_Stopped):
    """The child ended by itself, or reports an error that no file should cause.

    The request may not be the cause (the machine, or this child, may be short of memory).
    """


class Sandbox:
    """A child process and the requests to it; threads that share it take turns."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._planes = SharedBuffer()
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def read(self, source: bytes, *, max_pixels: int) -> Reading | Rejected:
        """The result of `image_reader.read`, or a Rejected if the child gives no answer."""
        if not source:
            return Rejected("read", "empty file")
        try:
            head, blobs, planes = self._ask({"task": "read", "max_pixels": max_pixels}, source)
        except _Stopped as e:
            return Rejected("read", f"cannot be decoded: {e}")
        if "reason" in head:
            return Rejected(head["stage"], head["reason"])
        try:
            return _reading(head, blobs, planes)
        except Exception as e:  # a child that a hostile file has damaged answers anything
            return Rejected("read", f"cannot be decoded: the decoder's answer makes no sense: {reason_of(e)}")

    def read_rgb(self, source: bytes, *, max_pixels: int) -> NDArray[np.uint8] | Rejected:
        """The result of `image_reader.read_rgb`, or a Rejected if the child gives no answer."""
        try:
            head, _, planes = self._ask({"task": "read_rgb", "max_pixels": max_pixels}, source)
        except _Stopped as e:
            return Rejected("read", f"cannot be decoded: {e}")
        if "reason" in head:
            return Rejected(head["stage"], head["reason"])
        try:
            assert planes is not None
            height, width = possible_size(head["shape"][:2])
            return planes.reshape(height, width, 3)
        except Exception as e:
            return Rejected("read", f"cannot be decoded: the decoder's answer makes no sense: {reason_of(e)}")

    def to_jxl(self, jpeg: bytes) -> bytes | None:
        """A checked JPEG XL transcode, or None when it is not possible within the limits.

        Raises:
            MissingPackage: when imagecodecs is not installed.
        """
        try:
            head, blobs, _ = self._ask({"task": "to_jxl"}, jpeg)
        except _Stopped:
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
        failed = "the payload cannot be turned back into its JPEG"
        try:
            head, blobs, _ = self._ask({"task": "to_jpeg"}, jxl)
        except _Stopped as e:
            raise DamagedPayload(f"{failed}: {e}") from None
        if "missing" in head:
            raise MissingPackage(head["missing"])
        if not blobs:
            raise DamagedPayload(head.get("reason", failed))
        return bytes(blobs[0])

    def processor_seconds(self) -> float:
        """CPU time in seconds of this process and of its children, ended ones included.

        Only differences of two calls are meaningful.
        """
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # os.times() counts in hundredths of a second
        own = time.process_time() + ended.ru_utime + ended.ru_stime
        with self._lock:
            # The number of a process's CPU clock on Linux: see clock_getcpuclockid(3).
            return own + (time.clock_gettime((~self._child.pid << 3) | 2) if self._child else 0.0)

    def close(self) -> None:
        """End the child; the next request starts a new one."""
        with self._lock:
            self._kill()

    def _ask(self, head: dict[str, Any], source: bytes) -> Answer:
        """The answer to a request.

        It is repeated once, by a new child, if the child failed: the machine may have been the
        cause, or the source before.
        """
        with self._lock:
            try:
                return self._ask_once(head, source)
            except _Died:
                return self._ask_once(head, source)

    def _ask_once(self, head: dict[str, Any], source: bytes) -> Answer:
        try:
            child = self._ready()
            assert child.stdin and child.stdout
            for part in pack(head, [source]):
                child.stdin.write(part)
            child.stdin.flush()
            answer, blobs = _answer(child.stdout.fileno(), time.monotonic() + self.limits.seconds)
            size = answer.get("planes")
            planes = None if size is None else self._planes.take(_checked_size(size))
        except (BrokenPipeError, EOFError):
            raise _Died(self._exit_reason()) from None
        except TimeoutError:
            self._kill()
            raise _Stopped(f"it took longer than {self.limits.seconds:g} s") from None
        except (ValueError, TypeError, LookupError, struct.error, RecursionError) as e:
            self._kill()
            raise _Stopped(f"the decoder's answer makes no sense: {reason_of(e)}") from None
        except BaseException:  # interrupted between request and answer: the next request must not get this answer
            self._kill()
            raise
        if "error" in answer:  # perhaps for lack of memory that a source before it has left occupied
            self._kill()
            raise _Died(answer["error"])
        return answer, blobs, planes

    def _ready(self) -> "subprocess.Popen[bytes]":
        """The child, started if there is none.

        Raises:
            EOFError: when it ends before it is ready.
            _Stopped: when it is not ready in time.
        """
        if self._child is None:
            self._child = self._start()
            assert self._child.stdout
            try:
                _answer(self._child.stdout.fileno(), time.monotonic() + _START_SECONDS)
            except TimeoutError:
                self._kill()
                raise _Stopped(f"the decoder's process was not ready within {_START_SECONDS:g} s") from None
        return self._child

    def _start(self) -> "subprocess.Popen[bytes]":
        limits = [str(math.ceil(self.limits.seconds)), str(self.limits.memory)]
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD, *limits, str(self._planes.descriptor)],
            pass_fds=[self._planes.descriptor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ENVIRONMENT | {"PYTHONPATH": path},
            start_new_session=True,  # its parent handles an interrupt at the terminal
        )
        for pipe in (child.stdin, child.stdout):
            assert pipe
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return child

    def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def _exit_reason(self) -> str:
        """How the child ended, in a few words."""
        child, self._child = self._child, None
        assert child is not None
        child.communicate()
        if child.returncode == -signal.SIGXCPU:
            return f"it took longer than {self.limits.seconds:g} s"
        how = signal.Signals(-child.returncode).name if child.returncode < 0 else f"exit status {child.returncode}"
        return f"the decoder crashed ({how})"


def _reading(head: dict[str, Any], blobs: list[Buffer], planes: NDArray[np.uint8] | None) -> Reading:
    """The reading that a child's answer describes; raises anything for an answer that makes no sense."""
    name, *size = head["facts"]
    wide, high = possible_size(size)
    if planes is None:
        return Reading(str(name), wide, high, keep=str(head["keep"]))
    height, width, channels = head["shape"]
    colour = height * width * channels
    alpha = planes[colour:].reshape(height, width) if head["alpha"] else None
    icc, exif, xmp = (bytes(data) for data in blobs)
    return Reading(str(name), wide, high, Picture(planes[:colour].reshape(head["shape"]), alpha, icc, exif, xmp))


def _checked_size(size: object) -> int:
    """The number of bytes of an answer's planes, which may be four per pixel of the largest picture."""
    if type(size) is not int or not 0 <= size <= _MAX_PLANES:
        raise ValueError(f"{size!r} bytes of pixels")
    return size


def _answer(pipe: int, deadline: float) -> tuple[Any, list[Buffer]]:
    """The next message of a pipe.

    Raises:
        TimeoutError: when it is not complete at the deadline (on the clock of `time.monotonic`).
        EOFError: when the pipe ends first.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)

        def read(size: int) -> Buffer:
            data = memoryview(bytearray(size))
            filled = 0
            while filled < size:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                count = os.readv(pipe, [data[filled:]])
                if not count:
                    raise EOFError
                filled += count
            return data

        return unpack(read)


def shared(limits: Limits) -> Sandbox:
    """This process's sandbox with these limits; a forked process gets one of its own."""
    return _sandbox(os.getpid(), limits)


@functools.lru_cache(maxsize=4)
def _sandbox(process: int, limits: Limits) -> Sandbox:
    return Sandbox(limits)
