"""The life of a sandbox's child process: start, one request at a time, end.

`pipeline.images.sandbox.sandbox` defines the requests; `pipeline.images.sandbox.child` runs in the child.
"""

import errno
import fcntl
import math
import os
import selectors
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pipeline
from model.core.boundary import reason_of
from pipeline.images.limits import Limits
from pipeline.images.sandbox.ipc_messages import Buffer, pack, unpack
from pipeline.images.sandbox.shared_buffer import SharedBuffer

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
from pipeline.images.sandbox.child import main
main(*map(int, sys.argv[1:]))
"""
"""The child's program. It imports our own `model` and `pipeline`, although others may come first on
the parent's path."""
Answer = tuple[Any, list[Buffer], NDArray[np.uint8] | None]
"""Head, blobs, and the content of the shared buffer if the answer has pixels."""


class Stopped(Exception):
    """The child gave no answer; the text is the reason."""


class Died(Stopped):
    """The child ended by itself, or reports an error that no file should cause.

    The request may not be the cause (the machine, or this child, may be short of memory).
    """


class SandboxProcess:
    """A child process and its life: it is started for the first request and again after it died."""

    def __init__(self, limits: Limits) -> None:
        """Args: limits: for each request."""
        self.limits = limits
        self._planes = SharedBuffer()
        self._child: subprocess.Popen[bytes] | None = None
        self._is_ready = False

    @property
    def pid(self) -> int | None:
        """The process id of the child; None when there is none."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Start the child if there is none, without waiting until it is ready."""
        if self._child is None:
            self._child, self._is_ready = self._start(), False

    def ask(self, head: dict[str, Any], source: bytes) -> Answer:
        """The answer to one request.

        Raises:
            Stopped: when the child gives no answer; Died, when it ended by itself.
            OSError: when files may not be as large as a decoded image, which says nothing about any image.
        """
        try:
            child = self._ready()
            assert child.stdin and child.stdout
            for part in pack(head, [source]):
                child.stdin.write(part)
            child.stdin.flush()
            answer, blobs = _answer(child.stdout.fileno(), time.monotonic() + self.limits.seconds, self.limits.memory)
            size = answer.get("planes")
            planes = None if size is None else self._planes.take(_checked_size(size))
        except (BrokenPipeError, EOFError):
            raise Died(self._exit_reason()) from None
        except TimeoutError:
            self.kill()
            raise Stopped(f"it took longer than {self.limits.seconds:g} s") from None
        except (ValueError, TypeError, LookupError, struct.error, RecursionError) as e:
            self.kill()
            raise Stopped(f"the decoder's answer makes no sense: {reason_of(e)}") from None
        except BaseException:  # interrupted between request and answer: the next request must not get this answer
            self.kill()
            raise
        if "limited" in answer:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if "error" in answer:  # perhaps for lack of memory that a source before it has left occupied
            self.kill()
            raise Died(answer["error"])
        return answer, blobs, planes

    def kill(self) -> None:
        """End the child; the next request starts a new one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def _ready(self) -> "subprocess.Popen[bytes]":
        """The child, started if there is none.

        Raises:
            EOFError: when it ends before it is ready.
            Stopped: when it is not ready in time.
        """
        self.start()
        assert self._child and self._child.stdout
        if not self._is_ready:
            try:
                _answer(self._child.stdout.fileno(), time.monotonic() + _START_SECONDS)
            except TimeoutError:
                self.kill()
                raise Stopped(f"the decoder's process was not ready within {_START_SECONDS:g} s") from None
            self._is_ready = True
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

    def _exit_reason(self) -> str:
        """How the child ended, in a few words."""
        child, self._child = self._child, None
        assert child is not None
        child.communicate()
        if child.returncode == -signal.SIGXCPU:
            return f"it took longer than {self.limits.seconds:g} s"
        how = signal.Signals(-child.returncode).name if child.returncode < 0 else f"exit status {child.returncode}"
        return f"the decoder crashed ({how})"


def _checked_size(size: object) -> int:
    """The number of bytes of an answer's planes, which may be four per pixel of the largest picture."""
    if type(size) is not int or not 0 <= size <= _MAX_PLANES:
        raise ValueError(f"{size!r} bytes of pixels")
    return size


def _answer(pipe: int, deadline: float, most: int = 0) -> tuple[Any, list[Buffer]]:
    """The next message of a pipe, with at most this many bytes of blobs: the child had memory for no more.

    Raises:
        ValueError: for a message that no child of ours sends.
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

        return unpack(read, most)
