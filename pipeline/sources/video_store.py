"""A read-only view of another store in which videos are folders of their frames, decoded in a sandbox.

Its URL has a suffix, as in `s3://bucket/clips#frames=30`. Every job that reads images can read
frames: encode, sync, train, verify, estimate. Other objects are passed through.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from model.core.errors import MaepressError, MissingPackage
from pipeline.images import video
from pipeline.images.limits import VIDEOS
from pipeline.images.sandbox.sandbox import shared
from pipeline.sources.merge import merged
from pipeline.sources.read_only import ReadOnlyStore
from pipeline.storage.base import FRAMES, Entry, Fetched, FetchFailed, NotListed, Outage, Store, too_large

MAX_BYTES = 2 << 30
"""Largest video that is read: a worker holds its bytes in memory while it decodes frames."""


class VideoCache:
    """Keeps the bytes of the last video for a minute: a worker's next task often needs them.

    The cache belongs to a process, because a store is unpickled for each task. Unpickling a cache
    gives that of the process that unpickles it.
    """

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: seconds: how long bytes are kept. clock: seconds that only rise."""
        self._seconds, self._clock = seconds, clock
        self._lock = threading.Lock()
        self._last: tuple[tuple[str, str], float, Fetched] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _cache_of_this_process, ()

    def fetch(self, store: Store, key: str) -> Fetched | FetchFailed:
        """A video's bytes; from memory if it was the last video, read less than `seconds` ago."""
        with self._lock:
            last = self._last
        if last is not None and last[0] == (store.absolute_url, key) and self._clock() - last[1] < self._seconds:
            return last[2]
        with self._lock:
            self._last = last = None  # give its memory back before the next one is read
        (fresh,) = store.fetch([key], MAX_BYTES)
        if isinstance(fresh, Fetched):
            with self._lock:
                self._last = (store.absolute_url, key), self._clock(), fresh
        return fresh


PROCESS_CACHE = VideoCache()
"""The cache of this process."""


def _cache_of_this_process() -> VideoCache:
    return PROCESS_CACHE


def open_videos(inner: Store, choice: str) -> "VideoStore":
    """A store with frames in place of videos.

    Args:
        inner: the store of the videos.
        choice: which frames, as in a URL.

    Raises:
        MaepressError: when PyAV is missing, or for an unknown choice.
    """
    video.require_library()
    return VideoStore(inner, video.parse_choice(choice))


class VideoStore(ReadOnlyStore):
    """Another store, with frames in place of videos. A frame's etag is its video's."""

    what, member, whole = "a view of videos", "a frame", "its video"
    sizes_are_known = False

    def __init__(self, inner: Store, choice: int | str, cache: VideoCache = PROCESS_CACHE) -> None:
        """Nothing is read yet.

        Args:
            inner: the store of the videos.
            choice: which frames, as returned by `video.parse_choice`.
            cache: keeps a video's bytes between two fetches; in another process, a copy of this
                store uses the cache of that process.
        """
        super().__init__(inner, f"{FRAMES}{choice}")
        self._choice, self._cache = choice, cache

    def problem_with_key(self, key: str) -> str | None:
        """See Store.

        A frame's key begins with the key of its video, which is the object of the inner store.
        """
        parsed = video.parse_key(key)
        return self.inner.problem_with_key(parsed[0] if parsed else key)

    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """See Store.

        A video that cannot be read, or has no frames, is listed as a file, and counts as a folder that
        cannot be listed: rows of its frames stay.
        """
        return merged(
            self.inner.entries(unlisted),
            video.is_video,
            lambda film: None,  # one video at a time is in memory
            lambda film, _: self._frames(film, unlisted),
            lambda entry: unlisted(entry.key, "a frame of a video has its key") if unlisted else None,
        )

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """See Store. Neighbouring keys of one video are decoded together."""
        results: list[Fetched | FetchFailed] = []
        for film, group in groupby(keys, lambda key: (video.parse_key(key) or ("",))[0]):
            some = list(group)
            results += self._fetch_frames(film, some, max_bytes) if film else self.inner.fetch(some, max_bytes)
        return results

    def exists(self, key: str) -> bool:
        """See Store."""
        parsed = video.parse_key(key)
        return self.inner.exists(key) if parsed is None else isinstance(self.fetch([key])[0], Fetched)

    def child(self, name: str) -> "VideoStore":
        """See Store."""
        return VideoStore(self.inner.child(name), self._choice, self._cache)

    def _frames(self, film: Entry, unlisted: NotListed | None) -> Iterator[Entry]:
        got = self._cache.fetch(self.inner, film.key)
        if isinstance(got, FetchFailed) and not got.is_verdict and (got.transient or unlisted is None):
            raise Outage(f"{self.inner.url}/{film.key} cannot be read: {got.reason}")
        clip = FetchFailed(film.key, got.reason) if isinstance(got, FetchFailed) else self._clip(got)
        if isinstance(clip, FetchFailed):
            if unlisted is not None:
                unlisted(film.key + "/", f"its frames cannot be listed: {clip.reason}")
            yield film
            return
        for key in sorted({video.frame_key(film.key, moment) for moment in clip.times}):
            yield Entry(key, clip.frame_bytes, film.etag)

    def _clip(self, film: Fetched) -> video.Clip | FetchFailed:
        """The frames of a video, or why there are none."""
        try:
            clip = shared(VIDEOS).read_clip(film.data, self._choice)
        except MissingPackage:
            raise
        except MaepressError as e:
            return FetchFailed(film.key, e.message)
        return clip if clip.times else FetchFailed(film.key, "it has no frames")

    def _fetch_frames(self, film: str, keys: list[str], max_bytes: int | None) -> list[Fetched | FetchFailed]:
        got = self._cache.fetch(self.inner, film)
        if isinstance(got, FetchFailed):
            return [replace(got, key=key) for key in keys]
        times = {parsed[1]: key for key in keys if (parsed := video.parse_key(key))}
        frames, failed = shared(VIDEOS).read_frames(got.data, sorted(times))
        found = {times[moment]: data for moment, data in frames.items()}
        reason = failed or "the video has no frame at this time"
        return [self._one(key, found.get(key), got.etag, reason, max_bytes) for key in keys]

    @staticmethod
    def _one(key: str, data: bytes | None, etag: str, reason: str, max_bytes: int | None) -> Fetched | FetchFailed:
        if data is None:
            return FetchFailed(key, reason)
        large = too_large(len(data), max_bytes)
        return FetchFailed(key, large) if large else Fetched(key, data, etag)
