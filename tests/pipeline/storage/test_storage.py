"""The interface of stores, on a local disk and on a real S3 server.

It is one long module because both kinds of store must pass the same tests.
"""

import errno
import os
import pickle
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.demo.s3_server import S3Server
from pipeline.sources.open import open_source
from pipeline.sources.video_store import PROCESS_CACHE, VideoCache, VideoStore
from pipeline.storage import modified
from pipeline.storage.keys import problem_with
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.storage.local.store import LocalStore
from pipeline.storage.open import Fetched, FetchFailed, Occupied, StorageError, open_store, open_target, storage_options
from pipeline.storage.s3.sessions import PROCESS_SESSIONS, S3Sessions
from pipeline.storage.s3.store import S3Store
from tests.proxy import Answer, Proxy, Request

TICK = 0.02
"""Seconds in which two changes of a file may get the same time: Linux before 6.13 counts in ticks of up to 0.01."""
TRICKY = ["a!", "a-b", "a.b/c", "a/x", "a/z-", "a/z/1", "b/1", "zz+ %?#.jpg", "é/ü"]
"""In byte order, which is not the order of a tree walk."""


def test_every_store_lists_in_byte_order_what_was_put(place: str) -> None:
    store = open_target(place)
    for key in reversed(TRICKY):
        store.put(key, key.encode())
    listed = list(store.entries())
    assert [entry.key for entry in listed] == TRICKY
    assert [entry.size for entry in listed] == [len(key.encode()) for key in TRICKY]


KEPT = [".maepress-0123456789abcdef/a.jpg", ".maepress-0123456789abcdef0", ".maepress-notes", "a.jpg"]
TEMPORARIES = [".maepress-fedcba9876543210", ".maepress-fedcba9876543210-Na\u00efve", "b/.maepress-fedcba9876543210"]


def test_every_listing_leaves_out_temporary_files_and_nothing_else(place: str) -> None:
    store = open_target(place)
    assert store.is_empty()
    for key in TEMPORARIES:
        store.put(key, b"x")
    assert store.is_empty()
    for key in KEPT:
        store.put(key, b"x")
    assert [entry.key for entry in store.entries()] == KEPT


def test_unfinished_files_of_a_folder_are_found_and_not_listed(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    kept, unfinished = KEPT, TEMPORARIES
    for key in (*kept, *unfinished):
        store.put(key, b"x")
    with store.open_output("new.jpg") as file:
        file.write(b"x")
        assert [entry.key for entry in store.entries()] == kept
        assert len(list(store.unfinished())) == len(unfinished) + 1
    assert sorted(found.name for found in store.unfinished()) == unfinished


def test_fetched_objects_have_the_etag_of_the_listing_and_come_in_the_requested_order(place: str) -> None:
    store = open_target(place)
    for key in TRICKY:
        store.put(key, key.encode() * 100)
    etags = {entry.key: entry.etag for entry in store.entries()}
    for key, got in zip(TRICKY[::-1], store.fetch(TRICKY[::-1]), strict=True):
        assert got == Fetched(key, key.encode() * 100, etags[key])


def test_an_etag_changes_with_the_content(place: str) -> None:
    store = open_target(place)
    store.put("k", b"one")
    (before,) = store.entries()
    time.sleep(TICK)  # of equal size, they differ only by their time on a disk
    store.put("k", b"two")
    (after,) = store.entries()
    assert before.etag != after.etag


def test_a_missing_object_gives_a_reason_and_the_others_are_read(place: str) -> None:
    store = open_target(place)
    store.put("here", b"x")
    here, missing = store.fetch(["here", "missing"])
    assert isinstance(here, Fetched)
    assert isinstance(missing, FetchFailed) and not missing.transient
    assert missing.reason in ("the object does not exist", "No such file or directory")


def test_an_object_keeps_the_time_that_it_was_given(place: str) -> None:
    when = 1_234_567_890_123_456_789
    store = open_store(place)
    store.put("put", b"x", when)
    store.put_new("new", b"x", when)
    store.put("now", b"x")
    times = [got.modified_ns for got in store.fetch(["put", "new", "now"]) if isinstance(got, Fetched)]
    assert times[:2] == [when, when]
    assert times[2] is not None and abs(times[2] / 1e9 - time.time()) < 60


def test_times_of_objects_are_read_as_rclone_writes_them() -> None:
    uploaded = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    for text, nanoseconds in (("1.5", 1_500_000_000), ("-2.000000001", -2_000_000_001), ("7", 7 * 10**9)):
        assert modified.of_object({"mtime": text}, uploaded) == nanoseconds
    for wrong in ("", "yesterday", "1e99", "9" * 40):
        assert modified.of_object({"mtime": wrong}, uploaded) == 1_714_979_289 * 10**9
    assert modified.of_object({}, None) is None
    for exact in (0, -1, 10**18 + 7):
        assert modified.of_object(modified.as_metadata(exact), None) == exact


def test_an_object_is_deleted_only_while_it_has_its_etag(place: str) -> None:
    store = open_target(place)
    store.put("k", b"one")
    (before,) = store.entries()
    store.put("k", b"two!")
    assert not store.delete_unchanged("k", before.etag) and store.get("k") == b"two!"
    (after,) = store.entries()
    assert store.delete_unchanged("k", after.etag) and not store.exists("k")
    assert store.delete_unchanged("k", after.etag)  # it is gone, whoever did it
    assert store.refuses_stale_deletes() == place.startswith("s3://") and list(store.entries()) == []


def test_a_versioned_bucket_is_known_by_its_settings(s3: S3Server) -> None:
    url = s3.make_bucket("versions")
    below, folder = open_store(f"{url}/below"), open_store("/tmp")
    assert not below.keeps_versions() and below.may_hold_versions() is False
    s3.client().put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    assert below.keeps_versions() and below.may_hold_versions()
    assert not folder.keeps_versions() and folder.may_hold_versions() is False
    s3.client().put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Suspended"})
    assert not below.keeps_versions() and below.may_hold_versions()  # those that it has stay
    missing = open_store(f"{url}-that-is-not-there/below")
    assert not missing.keeps_versions() and missing.may_hold_versions() is None  # as for who may not ask


@pytest.mark.parametrize("url", ["memory://container/a", "abfs://container@account.dfs.core.windows.net/a"])
def test_who_cannot_be_asked_for_versions_is_not_said_to_have_none(url: str) -> None:
    assert open_store(url).may_hold_versions() is None


def test_a_new_object_never_replaces_another_and_an_equal_one_is_fine(place: str) -> None:
    store = open_target(place)
    store.put_new("k", b"one")
    store.put_new("k", b"one")
    for data in (b"two", b"", b"one and more"):
        with pytest.raises(Occupied, match=r"k exists"):
            store.put_new("k", data)
    assert store.get("k") == b"one"
    with pytest.raises(Occupied), store.open_output("k", new=True) as file:
        file.write(b"two")
    with store.open_output("fresh", new=True) as file:
        file.write(b"three")
    assert (store.get("k"), store.get("fresh")) == (b"one", b"three")
    assert [entry.key for entry in store.entries()] == ["fresh", "k"]


def test_of_many_that_write_one_new_object_at_once_one_wins_and_the_others_are_told(place: str) -> None:
    store = open_target(place)
    begin = threading.Barrier(6)

    def write(number: int) -> bool:
        begin.wait()
        try:
            store.put_new("k", b"%d" % number)
        except Occupied:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        wrote = list(pool.map(write, range(6)))
    assert sum(wrote) == 1
    assert store.get("k") == b"%d" % wrote.index(True)


def test_an_object_that_appears_while_another_is_written_is_kept(place: str) -> None:
    store = open_target(place)
    with pytest.raises(Occupied), store.open_output("k", new=True) as file:
        file.write(b"slow")
        store.put("k", b"fast")
    assert store.get("k") == b"fast" and [entry.key for entry in store.entries()] == ["k"]


def test_a_folder_without_hard_links_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    store = LocalStore(str(tmp_path))
    store.put_new("k", b"one")
    with pytest.raises(Occupied):
        store.put_new("k", b"two")
    assert store.get("k") == b"one" and os.listdir(tmp_path) == ["k"]


def test_an_fsspec_store_never_replaces_another_object() -> None:
    store = open_store(f"memory://{os.urandom(4).hex()}")
    store.put_new("a/k", b"one")
    store.put_new("a/k", b"one")
    with pytest.raises(Occupied):
        store.put_new("a/k", b"two")
    assert store.get("a/k") == b"one"


def test_a_large_object_appears_only_when_it_is_whole(place: str) -> None:
    store = open_target(place)
    part = os.urandom(9 << 20)
    with store.open_output("large") as file:
        file.write(part)
        file.write(part)
        assert not store.exists("large")
    assert store.exists("large")
    with store.open_input("large") as file:
        file.seek((9 << 20) - 5)
        assert file.read(10) == part[-5:] + part[:5]


def test_an_object_whose_writer_fails_never_appears(place: str) -> None:
    store = open_target(place)
    with pytest.raises(KeyError), store.open_output("half") as file:
        file.write(os.urandom(18 << 20))
        raise KeyError
    assert not store.exists("half")
    assert list(store.entries()) == []


def test_a_deleted_object_is_gone_and_deleting_it_again_is_fine(place: str) -> None:
    store = open_target(place)
    store.put("k", b"x")
    store.delete("k")
    store.delete("k")
    assert not store.exists("k")


def test_a_pickled_store_is_little_more_than_its_url(place: str) -> None:
    store = open_target(place)
    store.put("k", b"x")
    next(iter(store.entries()))  # connections are open now
    assert pickle.loads(pickle.dumps(store)).get("k") == b"x"


def test_a_store_knows_its_location_and_which_keys_it_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    local, bucket, memory = open_store("photos"), open_store("s3://bucket/photos"), open_store("memory://photos-none")
    assert [store.local_path() for store in (local, bucket, memory)] == [tmp_path / "photos", None, None]
    assert [store.absolute_url for store in (local, bucket)] == [str(tmp_path / "photos"), "s3://bucket/photos"]
    assert local.problem_with_key("../x") and local.problem_with_key("a//b") and not local.problem_with_key("a/b")
    assert not bucket.problem_with_key("../x")


@pytest.mark.parametrize("url", ["photos", "memory://photos-made-later"])
def test_a_root_exists_once_something_is_in_it(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(url)
    assert not store.root_exists()
    store.put("k", b"x")
    assert store.root_exists()


def test_a_view_of_videos_judges_a_frames_key_by_its_videos(tmp_path: Path) -> None:
    view = VideoStore(open_store(tmp_path), 30)
    assert view.local_path() is None and view.root_exists()
    assert view.problem_with_key("../a.mp4/00001.480s.ppm") and not view.problem_with_key("a.mp4/00001.480s.ppm")


def test_a_store_in_another_process_uses_the_connections_of_that_process() -> None:
    own = S3Sessions()
    store = S3Store("s3://bucket/photos", own)
    assert store.child("2024")._sessions is own
    assert pickle.loads(pickle.dumps(store))._sessions is PROCESS_SESSIONS


def test_stores_share_a_connection_until_the_environment_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = S3Sessions()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    first = sessions.current()
    assert sessions.current() is first
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "two")
    assert sessions.current() is not first
    for number in range(5):  # only the latest few are kept
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(number))
        sessions.current()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    assert sessions.current() is not first


def test_a_videos_bytes_are_kept_for_the_next_frames_and_not_for_longer(tmp_path: Path) -> None:
    store = open_target(tmp_path)
    for key in ("a.mp4", "b.mp4"):
        store.put(key, b"before")
    now = [0.0]
    cache = VideoCache(60.0, lambda: now[0])

    def data_of(key: str) -> bytes:
        got = cache.fetch(store, key)
        assert isinstance(got, Fetched)
        return got.data

    assert data_of("a.mp4") == b"before"
    store.put("a.mp4", b"after")
    now[0] = 59.0
    assert data_of("a.mp4") == b"before"
    now[0] = 61.0
    assert data_of("a.mp4") == b"after"
    data_of("b.mp4")
    store.put("a.mp4", b"later")
    assert data_of("a.mp4") == b"later", "one video is kept, the last"
    assert pickle.loads(pickle.dumps(VideoStore(store, 1, cache)))._cache is PROCESS_CACHE


def test_a_memory_store_works_like_the_others() -> None:
    store = open_target("memory://test-storage")
    for key in TRICKY:
        store.put(key, key.encode())
    assert [entry.key for entry in store.entries()] == TRICKY
    etags = {entry.key: entry.etag for entry in store.entries()}
    assert store.fetch(["a/x"]) == [Fetched("a/x", b"a/x", etags["a/x"])]


def test_a_listing_of_many_pages_is_complete(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.storage.s3.store.PAGE_KEYS", 7)
    store = S3Store(bucket)
    keys = [f"{folder}/{i:02d}" for folder in "abcdefghij" for i in range(8 if folder == "b" else 2)]
    for key in keys:
        store.put(key, b"")
    assert [entry.key for entry in store.entries()] == keys
    assert list(store.entries_flat()) == list(store.entries_by_folder())


def test_a_flat_listing_of_many_small_folders_is_complete(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pages of 7 keys it is divided into ranges, each requested with the key before it."""
    monkeypatch.setattr("pipeline.storage.s3.store.PAGE_KEYS", 7)
    store = S3Store(bucket)
    keys = sorted([*(f"{i:02d}/{j}" for i in range(30) for j in range(2)), "29/ä/b", "30-file"])
    for key in keys:
        store.put(key, b"")
    assert [entry.key for entry in store.entries_flat()] == keys


def test_a_key_that_ends_with_a_slash_is_an_object_unless_it_is_empty(
    bucket: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amazon's server stores such keys, the test server does not, so the answer is changed here."""

    def as_amazon(request: Request, answer: Answer) -> Answer:
        return Answer(answer.head, re.sub(rb"(full/</Key>.*?<Size>)0", rb"\g<1>5", answer.body, flags=re.DOTALL))

    store = S3Store(bucket)
    for key in ("a", "empty/", "full/", "z"):
        store.put(key, b"")
    with Proxy(s3.endpoint) as proxy:
        proxy.after = as_amazon
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        for entries in (store.entries_flat(), store.entries_by_folder()):
            assert [(entry.key, entry.size) for entry in entries] == [("a", 0), ("full/", 5), ("z", 0)]


def test_a_flat_listing_of_a_server_that_sorts_by_path_is_refused(bucket: str) -> None:
    store = S3Store(bucket)
    for key in ("a-b", "a/b"):
        store.put(key, b"")
    with pytest.raises(StorageError, match="not in key order"):
        list(store.entries_flat())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("/no/such/folder", "/no/such/folder does not exist"),
        (__file__, "is not a folder"),
        ("s3://", "names no bucket"),
        ("", "an empty path or URL names nothing: perhaps a variable in the command is not set"),
        ("#members", "an empty path or URL names nothing"),
        ("nope://x", "knows no nope://"),
        ("s3://key:secret@bucket/x", "must not carry credentials"),
        ("memory://nothing-here", "does not exist"),
    ],
)
def test_an_invalid_source_is_refused_in_one_line(url: str, says: str) -> None:
    with pytest.raises(StorageError, match=says) as error:
        open_source(url)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_an_empty_source_is_refused(place: str) -> None:
    store = open_target(place)
    with pytest.raises(StorageError, match="is empty"):
        open_source(store.url)


def test_a_missing_bucket_is_named(s3: S3Server) -> None:
    with pytest.raises(StorageError, match="there is no bucket 'no-such-bucket'"):
        open_source("s3://no-such-bucket/x")


def test_a_forbidden_bucket_is_named(s3: S3Server, bucket: str) -> None:
    open_target(bucket).put("k", b"x")
    with s3.environment(reader=True):
        assert open_source(bucket).get("k") == b"x"
        with pytest.raises(StorageError, match=f"access to {bucket}/p is forbidden"):
            open_target(bucket + "/p")


def test_wrong_credentials_are_not_accepted_and_not_repeated(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-wrong-secret")
    with pytest.raises(StorageError, match="does not accept these credentials") as error:
        open_source(bucket)
    assert "very-wrong-secret" not in str(error.value)


def test_an_unreachable_endpoint_is_reported_within_seconds(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(StorageError, match="unreachable: check AWS_ENDPOINT_URL"):
        open_source("s3://bucket")
    assert time.monotonic() - started < 10


def test_fetching_from_an_unreachable_endpoint_blames_the_store_and_not_the_object(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.storage.retry.LONGEST_WAIT", 0.01)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert S3Store(bucket).fetch(["k"]) == [FetchFailed("k", "the S3 endpoint is unreachable", transient=True)]


def test_deltalake_may_use_plain_http_only_for_an_http_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert storage_options("s3://b")["allow_http"] == "true"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://example.org")
    assert storage_options("s3://b")["allow_http"] == "false"
    assert storage_options("/a/path") == {}


# Behaviour of file systems only.


def test_a_loop_of_links_is_not_followed_and_a_link_to_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f").write_bytes(b"x")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "sub" / "f")
    assert [entry.key for entry in LocalStore(str(tmp_path)).entries()] == ["link", "sub/f"]


def test_a_link_that_leads_nowhere_is_listed_and_fails_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    store = LocalStore(str(tmp_path))
    assert [entry.key for entry in store.entries()] == ["dead"]
    assert store.fetch(["dead"]) == [FetchFailed("dead", "No such file or directory")]


def test_what_may_lie_behind_a_link_that_leads_nowhere_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "2023").symlink_to(tmp_path / "unmounted")
    (tmp_path / "a").write_bytes(b"x")
    listing = SourceListing(LocalStore(str(tmp_path)))
    assert [entry.key for entry in listing] == ["2023", "a"]
    assert listing.hides("2023/x.jpg") and not listing.hides("2024/x.jpg")
    assert listing.unlisted == {"2023/": "it is a link that cannot be followed: No such file or directory"}


def test_a_pipe_is_left_out_because_reading_it_might_never_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"x")
    assert [entry.key for entry in LocalStore(str(tmp_path)).entries()] == ["file"]


def test_a_file_name_that_is_not_utf8_has_a_key_that_is(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))).write_bytes(b"x")
    store = LocalStore(str(tmp_path))
    (entry,) = store.entries()
    assert entry.key == "caf\ufffdE9.jpg" and entry.key.encode()
    assert store.get(entry.key) == b"x" and store.exists(entry.key)
    store.put(entry.key, b"y")
    store.put("new/caf\ufffdE9.jpg", b"z")
    assert sorted(os.listdir(os.fsencode(tmp_path))) == [b"caf\xe9.jpg", b"new"]
    assert os.listdir(os.fsencode(tmp_path / "new")) == [b"caf\xe9.jpg"]


def test_a_half_written_file_of_a_killed_writer_is_not_listed(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    with store.open_output("sub/file") as file:
        file.write(b"x")
        assert list(store.entries()) == []
    assert [entry.key for entry in store.entries()] == ["sub/file"]


def test_files_are_written_with_the_users_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    LocalStore(str(tmp_path)).put("ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


BAD_KEYS = ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/./b", "a\0b", "x" * 256, "é" * 128]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_no_key_leads_out_of_a_folder_or_breaks_it(key: str, tmp_path: Path) -> None:
    assert problem_with(key)
    with pytest.raises(StorageError, match="cannot be a file here"):
        LocalStore(str(tmp_path / "inside")).put(key, b"x")
    assert not list(tmp_path.rglob("*"))


def test_an_ordinary_key_has_no_problem() -> None:
    assert [problem_with(key) for key in (*TRICKY, "x" * 255, "..a/b..", "a/...")] == [None] * (len(TRICKY) + 3)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        open_target(tmp_path / "file" / "folder")


def test_a_store_is_opened_from_a_path_and_from_a_file_url(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "k").write_bytes(b"x")
    for url in (tmp_path / "a b", str(tmp_path / "a b") + "/", f"file://{tmp_path}/a b"):
        assert open_store(url).get("k") == b"x"
