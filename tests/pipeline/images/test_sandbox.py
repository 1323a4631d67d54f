"""The sandbox: the same answers as without it, and limits on time, crashes and memory."""

import errno
import io
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from model.core.errors import DamagedPayload
from pipeline.archive.receipt import Rejection
from pipeline.archive.schema import OUTAGE
from pipeline.encode.stages import load
from pipeline.images.decode_rgb import decode_rgb
from pipeline.images.image_reader import read, read_rgb
from pipeline.images.limits import READING, Limits
from pipeline.images.reading import Reading, Rejected
from pipeline.images.sandbox.sandbox import Sandbox, shared
from pipeline.sources.open import open_source
from tests.pipeline.hostile import photo_png, scan_bomb
from tests.pipeline.making import image_file
from tests.pipeline.sources import mixed
from tests.waiting import wait_for

MAX_PIXELS = 64_000_000
GOOD = image_file("PNG")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(Limits(seconds=60, memory=2 << 30))
    yield made
    made.close()


def child_of(sandbox: Sandbox) -> psutil.Process:
    """The child process of a sandbox."""
    return next(
        p for p in psutil.Process().children() if alive(p) and "pipeline.images.sandbox.child" in " ".join(p.cmdline())
    )


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs: an ended orphan remains a zombie until its new parent collects it."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def is_good(sandbox: Sandbox) -> bool:
    reading = sandbox.read(GOOD, max_pixels=MAX_PIXELS)
    return isinstance(reading, Reading) and reading.picture is not None


def test_what_decoders_print_about_a_file_is_not_seen_and_an_error_of_the_child_is(
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "TIFF", compression="tiff_lzw")
    unsupported = file.getvalue().replace(
        struct.pack("<HHIHH", 259, 3, 1, 5, 0), struct.pack("<HHIHH", 259, 3, 1, 50001, 0)
    )
    sandbox = Sandbox(Limits(seconds=60, memory=2 << 30))
    for data in (unsupported, file.getvalue()[:-40], file.getvalue()):
        sandbox.read(data, max_pixels=MAX_PIXELS)
    assert capfd.readouterr() == ("", "")
    child = sandbox._process._child
    assert child is not None and child.stdin is not None
    child.stdin.write(b"no request" * 10)
    child.stdin.close()
    assert child.wait(20) == 1
    assert "Traceback" in capfd.readouterr().err
    child.stdin = None
    sandbox.close()


def assert_same(one: Reading | Rejected, other: Reading | Rejected) -> None:
    if isinstance(one, Rejected) or isinstance(other, Rejected):
        assert one == other
        return
    assert (one.source_format, one.width, one.height, one.keep) == (
        other.source_format,
        other.width,
        other.height,
        other.keep,
    )
    if one.picture is None or other.picture is None:
        assert one.picture is other.picture
        return
    np.testing.assert_array_equal(one.picture.pixels, other.picture.pixels)
    assert (one.picture.alpha is None) == (other.picture.alpha is None)
    if one.picture.alpha is not None and other.picture.alpha is not None:
        np.testing.assert_array_equal(one.picture.alpha, other.picture.alpha)
    assert (one.picture.icc, one.picture.exif, one.picture.xmp) == (
        other.picture.icc,
        other.picture.exif,
        other.picture.xmp,
    )


def test_it_reads_every_kind_of_file_as_the_reader_does(sandbox: Sandbox) -> None:
    for source in [*mixed().values(), b""]:
        assert_same(read(source), sandbox.read(source, max_pixels=MAX_PIXELS))


def test_it_reads_broken_and_fuzzed_files_as_the_reader_does(sandbox: Sandbox, shared_data: Path) -> None:
    files = [path for path in sorted((shared_data / "awkward").rglob("*")) if path.is_file()]
    sources = [path.read_bytes() for path in files if path.stat().st_size < 300_000]
    assert len(sources) > 200
    for source in sources:
        assert_same(read(source), sandbox.read(source, max_pixels=MAX_PIXELS))


def test_it_gives_rgb_or_a_reason_as_the_reader_does(sandbox: Sandbox, shared_data: Path) -> None:
    small = [p for p in sorted((shared_data / "awkward").rglob("*")) if p.is_file() and p.stat().st_size < 30_000]
    assert len(small) > 100
    for source in [*mixed().values(), b"", *(path.read_bytes() for path in small[::4])]:
        ours, theirs = read_rgb(source), sandbox.read_rgb(source, max_pixels=MAX_PIXELS)
        if isinstance(ours, Rejected) or isinstance(theirs, Rejected):
            assert ours == theirs
        else:
            np.testing.assert_array_equal(ours, theirs)


def test_learning_goes_on_without_a_file_that_makes_its_decoder_hang() -> None:
    sandbox = shared(READING)
    sandbox.close()
    sandbox._process.limits = Limits(seconds=1.0, memory=READING.memory)
    try:
        assert decode_rgb(scan_bomb()) is None
    finally:
        sandbox.close()
        sandbox._process.limits = READING
    assert decode_rgb(GOOD) is not None


def test_a_forked_process_has_a_sandbox_of_its_own() -> None:
    assert is_good(shared(READING))
    mine = shared(READING)
    child = os.fork()
    if child == 0:
        os._exit(0 if shared(READING) is not mine and is_good(shared(READING)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert is_good(mine)


def test_a_picture_does_not_change_when_the_next_one_is_read(sandbox: Sandbox) -> None:
    first = sandbox.read(image_file("PNG", seed=1), max_pixels=MAX_PIXELS)
    sandbox.read(image_file("PNG", seed=2), max_pixels=MAX_PIXELS)
    assert_same(first, read(image_file("PNG", seed=1)))


def test_a_picture_larger_than_the_kept_buffer_comes_whole_and_its_memory_is_given_back(sandbox: Sandbox) -> None:
    source = photo_png(4000)
    assert_same(read(source), sandbox.read(source, max_pixels=MAX_PIXELS))
    shared = [p for p in Path("/proc/self/fd").iterdir() if p.is_symlink() and "memfd:maepress" in os.readlink(p)]
    assert shared and all(os.stat(p).st_size <= 32 << 20 for p in shared)
    assert is_good(sandbox)


def test_a_file_that_decodes_for_minutes_is_rejected_in_time_and_the_next_is_read() -> None:
    sandbox = Sandbox(Limits(seconds=1.0, memory=2 << 30))
    started = time.monotonic()
    assert sandbox.read(scan_bomb(), max_pixels=MAX_PIXELS) == Rejected(
        "read", "cannot be decoded: it took longer than 1 s"
    )
    assert time.monotonic() - started < 20
    assert is_good(sandbox)
    sandbox.close()


def test_a_file_that_needs_too_much_memory_is_rejected_and_the_next_is_read() -> None:
    sandbox = Sandbox(Limits(seconds=60, memory=64 << 20))
    outcome = sandbox.read(photo_png(6000), max_pixels=MAX_PIXELS)
    assert isinstance(outcome, Rejected) and outcome.stage == "read" and "cannot be decoded" in outcome.reason
    assert is_good(sandbox)
    sandbox.close()


def test_a_decoder_that_crashes_twice_is_one_rejection_and_the_next_is_read() -> None:
    sandbox = Sandbox(Limits(seconds=60, memory=2 << 30))
    assert is_good(sandbox)
    stop = threading.Event()

    def crash() -> None:
        """A segmentation fault in every child as soon as it gets a request."""
        while not stop.wait(0.02):
            for process in psutil.Process().children():
                with suppress(psutil.Error):  # some other child that has just ended
                    if (
                        "pipeline.images.sandbox.child" in " ".join(process.cmdline())
                        and process.cpu_times().user > 0.6
                    ):
                        process.send_signal(signal.SIGSEGV)

    sandbox.close()
    thread = threading.Thread(target=crash)
    thread.start()
    outcome = sandbox.read(scan_bomb(), max_pixels=MAX_PIXELS)
    stop.set()
    thread.join()
    assert outcome == Rejected("read", "cannot be decoded: the decoder crashed (SIGSEGV)")
    assert is_good(sandbox)
    sandbox.close()


def test_a_child_that_was_started_ahead_answers_and_is_replaced_if_it_dies_before_it_is_ready() -> None:
    ahead = Sandbox(READING)
    ahead.start()
    process = ahead._process.pid
    ahead.start()
    assert is_good(ahead) and ahead._process.pid == process
    ahead.close()
    ahead.start()
    killed = ahead._process.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    assert is_good(ahead) and ahead._process.pid != killed
    ahead.close()


def test_a_child_that_was_killed_while_it_waited_is_replaced_unnoticed(sandbox: Sandbox) -> None:
    assert is_good(sandbox)
    child_of(sandbox).kill()
    assert is_good(sandbox)


def test_threads_share_it(sandbox: Sandbox) -> None:
    sources = [image_file("PNG", seed=seed, size=(40 + seed, 30)) for seed in range(8)]
    results: dict[int, Reading | Rejected] = {}
    threads = [
        threading.Thread(target=lambda i=i: results.update({i: sandbox.read(sources[i], max_pixels=MAX_PIXELS)}))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, source in enumerate(sources):
        assert_same(results[i], read(source))


def test_a_child_does_not_outlive_a_parent_that_is_killed_even_when_it_hangs() -> None:
    script = (
        "from pipeline.images.limits import *; from pipeline.images.sandbox.sandbox import *\n"
        "from tests.pipeline.hostile import scan_bomb\n"
        "s = Sandbox(Limits(2, 2 << 30)); s.read(b'x', max_pixels=9); print(s._process.pid, flush=True)\n"
        "s._process.limits = Limits(600, 2 << 30); s.read(scan_bomb(), max_pixels=64_000_000)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    idle = child.cpu_times().user
    wait_for(lambda: child.cpu_times().user > idle + 0.2)  # until it is at work
    parent.kill()
    parent.wait()
    psutil.wait_procs([child], timeout=60)
    assert not alive(child)


def test_a_transcode_gives_the_same_jpeg_back(sandbox: Sandbox) -> None:
    jpeg = image_file("JPEG", quality=90, size=(300, 200))
    jxl = sandbox.to_jxl(jpeg)
    assert jxl is not None and len(jxl) < len(jpeg)
    assert sandbox.to_jpeg(jxl) == jpeg


def test_bytes_that_are_no_transcode_are_reported_as_damaged(sandbox: Sandbox) -> None:
    jxl = sandbox.to_jxl(image_file("JPEG", quality=90, size=(300, 200)))
    assert jxl is not None
    for data in (jxl[: len(jxl) // 2], b"", b"noise" * 40):
        with pytest.raises(DamagedPayload):
            sandbox.to_jpeg(data)


def test_its_processor_time_counts_the_childs_work_and_not_that_of_others(sandbox: Sandbox) -> None:
    photo = image_file("PNG", size=(2000, 1500))
    begun = sandbox.processor_seconds()
    time.sleep(0.2)
    waited = sandbox.processor_seconds()
    for _ in range(3):
        sandbox.read(photo, max_pixels=MAX_PIXELS)
    child = child_of(sandbox).cpu_times()
    worked = sandbox.processor_seconds()
    assert waited - begun < 0.1
    assert 0.02 < worked - waited < child.user + child.system + 5
    sandbox.close()  # an ended child's time stays, in whole microseconds for user and system
    assert sandbox.processor_seconds() > worked - 1e-5


def test_a_limit_on_file_sizes_is_the_machines_fault_and_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(GOOD)
    source, limits = open_source(str(tmp_path)), Limits(seconds=60, memory=2 << 30)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    limited = Sandbox(limits)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
        with pytest.raises(OSError) as error:
            limited.read(GOOD, max_pixels=MAX_PIXELS)
        (rejection,) = load(list(source.entries()), source, limited, MAX_PIXELS, 1 << 30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        limited.close()
    assert error.value.errno == errno.EFBIG
    assert isinstance(rejection, Rejection) and rejection.stage == OUTAGE, "the next run tries it again"
