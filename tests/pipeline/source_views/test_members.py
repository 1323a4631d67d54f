"""Tars and zips as folders of their members: real writers, every kind of damage, and what a listing says of it."""

import io
import os
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import webdataset

from pipeline.sources.members import member_index, zip_index
from pipeline.sources.members.container_file import ContainerFile
from pipeline.sources.members.member_index import Builder, Member
from pipeline.sources.members.member_store import MemberStore
from pipeline.sources.open import open_source
from pipeline.storage.base import Entry, Fetched, FetchFailed, Ranges, StorageError
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.storage.open import open_store


def tar_of(*members: "tarfile.TarInfo | tuple[str, bytes]", form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar; a member is a name with its bytes, or a header without any."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size, info.mtime = len(member[1]), 1_600_000_000
                tar.addfile(info, io.BytesIO(member[1]))
    return file.getvalue()


def zip_of(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, data in members:
            out.writestr(zipfile.ZipInfo(name, (2020, 1, 2, 3, 4, 6)), data, method)
    return file.getvalue()


def header(name: str, kind: bytes, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


def listed(place: str, **objects: bytes) -> tuple[MemberStore, list[Entry], dict[str, str]]:
    """The view of a place, after these objects were put there: its entries, and what could not be listed."""
    inner = open_store(place)
    for name, data in objects.items():
        inner.put(name, data)
    store = open_source(f"{place}#members")
    assert isinstance(store, MemberStore)
    listing = SourceListing(store)
    entries = list(listing)
    assert [e.key for e in entries] == sorted({e.key for e in entries})
    return store, entries, listing.unlisted


def reasons(store: MemberStore, entries: list[Entry]) -> dict[str, str]:
    """The members that cannot be read, with the reasons."""
    return {got.key: got.reason for got in store.fetch([e.key for e in entries]) if isinstance(got, FetchFailed)}


def test_members_of_a_webdataset_come_between_other_objects_in_key_order(place: str, tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "shard.tar")) as out:
        for number in range(3):
            out.write({"__key__": f"{number:06d}", "jpg": bytes([number]) * 1000, "cls": number})
    shard = (tmp_path / "shard.tar").read_bytes()
    others = {"s.tar.jpg": b"a", "s.tar-x": b"b", "s.tas": b"c", "a": b"d"}
    store, entries, unlisted = listed(place, **{"s.tar": shard}, **others)
    names = [f"s.tar/{n:06d}.{kind}" for n in range(3) for kind in ("cls", "jpg")]
    assert [e.key for e in entries] == ["a", "s.tar-x", "s.tar.jpg", *names, "s.tas"] and not unlisted
    got = {result.key: result for result in store.fetch([e.key for e in entries])}
    for entry in entries:
        result = got[entry.key]
        assert isinstance(result, Fetched) and (len(result.data), result.etag) == (entry.size, entry.etag)
    one = got["s.tar/000001.jpg"]
    assert isinstance(one, Fetched) and one.data == b"\x01" * 1000 and one.modified_ns


def test_a_tar_is_read_by_ranges_and_indexed_once_per_version(
    s3: object, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tar_of(*((f"{n}.raw", bytes([n]) * 2_000_000) for n in range(6)))
    store, entries, _ = listed(bucket, **{"t.tar": large})
    asked: list[int] = []
    inner = store.inner
    read = type(inner).read_ranges

    def counting(self: object, key: str, ranges: list[tuple[int, int]], etag: str | None = None) -> object:
        found = read(self, key, ranges, etag)  # type: ignore[arg-type]
        assert isinstance(found, Ranges)
        asked.append(sum(len(part) for part in found.parts))
        return found

    monkeypatch.setattr(type(inner), "read_ranges", counting)
    assert [e.size for e in entries] == [2_000_000] * 6
    assert len(list(store.entries())) == 6 and asked == [], "the index of this version is known"
    store.fetch(["t.tar/3.raw"])
    assert sum(asked) == 2_000_000
    asked.clear()
    inner.put("t.tar", large + bytes(512))
    assert len(list(store.entries())) == 6 and 0 < sum(asked) < 600_000


def test_long_names_pax_headers_and_names_of_old_systems_are_keys(place: str) -> None:
    long = "/".join(["folder" * 20] * 3) + "/ünï.jpg"
    latin = tarfile.TarInfo("caf\udce9.jpg")
    tars = {
        "gnu.tar": tar_of((long, b"gnu"), ("./b.jpg", b"dot"), form=tarfile.GNU_FORMAT),
        "pax.tar": tar_of((long, b"pax"), header("folder", tarfile.DIRTYPE), latin),
        "ustar.tar": tar_of(("a/b.jpg", b"ustar"), form=tarfile.USTAR_FORMAT),
        "empty.tar": tar_of(),
    }
    store, entries, unlisted = listed(place, **tars)
    assert [e.key for e in entries] == [
        *("gnu.tar/b.jpg", f"gnu.tar/{long}", "pax.tar/caf\ufffdE9.jpg", f"pax.tar/{long}", "ustar.tar/a/b.jpg")
    ]
    assert not unlisted and not reasons(store, entries)
    assert [store.get(e.key) for e in entries] == [b"dot", b"gnu", b"", b"pax", b"ustar"]


def test_what_gnu_tar_writes_is_read_sparse_files_and_links_have_verdicts(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.jpg").write_bytes(b"picture" * 100)
    with (source / "holes.raw").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    (source / "soft.jpg").symlink_to("a.jpg")
    (source / "twin.jpg").hardlink_to(source / "a.jpg")
    for form in ("gnu", "pax"):
        path = tmp_path / "place" / f"{form}.tar"
        path.parent.mkdir(exist_ok=True)
        command = ["tar", "-C", str(source), f"--format={form}", "--sparse", "--sort=name", "-cf", str(path), "."]
        subprocess.run(command, check=True)
    store, entries, unlisted = listed(str(tmp_path / "place"))
    assert not unlisted
    for form in ("gnu", "pax"):
        assert store.get(f"{form}.tar/a.jpg") == store.get(f"{form}.tar/twin.jpg") == b"picture" * 100
    assert reasons(store, entries) == {
        f"{form}.tar/{name}": reason
        for form in ("gnu", "pax")
        for name, reason in (("holes.raw", "it is a sparse file"), ("soft.jpg", "it is a symbolic link"))
    }


def test_what_can_be_read_has_its_name_whatever_had_it_before(place: str) -> None:
    link = header("a.jpg", tarfile.SYMTYPE, link="b.jpg")
    hidden = header("x\0" + "n" * 5000, tarfile.SYMTYPE, link="b.jpg")
    twice = (("e", b"1"), ("e", b"22"), ("e (2)", b"its own"))
    store, entries, unlisted = listed(place, **{"t.tar": tar_of(link, ("a.jpg", b"photo"), *twice, hidden)})
    got = {f.key.removeprefix("t.tar/"): f for f in store.fetch([e.key for e in entries])}
    read = {key: found.data for key, found in got.items() if isinstance(found, Fetched)}
    assert read == {"a.jpg": b"photo", "e": b"22", "e (2)": b"its own"} and not unlisted
    why = {key: found.reason for key, found in got.items() if isinstance(found, FetchFailed)}
    assert why.pop("a.jpg (2)") == why.pop("x\ufffd" + "n" * 4094) == "it is a symbolic link"
    assert why == {"e (2) (2)": "a later member has the same name"}


def test_a_tar_whose_rest_is_not_written_yet_is_damaged_and_one_of_large_records_is_not(tmp_path: Path) -> None:
    whole = tar_of(*((f"{n}.raw", bytes([n]) * 30_000) for n in range(20)))
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    objects = {
        "half.tar": whole[: 10 * 30_720] + bytes(len(whole) - 10 * 30_720),  # as rsync --preallocate leaves it
        "none.tar": bytes(len(whole)),
        "empty.tar": bytes(10240),
        "tape.tar": whole[:end] + bytes(-end % (1 << 18)),
        "mark.tar": tar_of(("a", b"a" * 9216)),
    }
    assert len(objects["mark.tar"]) == 2 * 10240, "its mark ends behind a record"
    _, entries, unlisted = listed(str(tmp_path), **objects)
    assert unlisted.keys() == {"half.tar/", "none.tar/"}
    assert unlisted["half.tar/"] == "it holds nothing but zeros from byte 307,200 on: it may not be copied to its end"
    assert sum(entry.key.startswith("tape.tar/") for entry in entries) == 20


def test_a_folder_with_bytes_is_named(place: str) -> None:
    both = {"t.tar": tar_of(("dir/", b"bytes"), ("empty/", b"")), "z.zip": zip_of(("dir/", b"bytes"), ("empty/", b""))}
    store, entries, _ = listed(place, **both)
    reason = "its name is that of a folder"
    assert reasons(store, entries) == {"t.tar/dir/": reason, "z.zip/dir/": reason}


def test_names_that_lead_out_and_names_that_come_twice_have_one_verdict_each(place: str) -> None:
    members = (("../up.jpg", b"1"), ("/root.jpg", b"2"), ("a/../../b.jpg", b"3"), ("x.jpg", b"old"), ("x.jpg", b"new"))
    devices = (header("null", tarfile.CHRTYPE), header("pipe", tarfile.FIFOTYPE), header("odd", b"Z"))
    store, entries, unlisted = listed(place, **{"t.tar": tar_of(*members, *devices), "z.zip": zip_of(*members)})
    assert not unlisted
    found = reasons(store, entries)
    for name in ("t.tar", "z.zip"):
        assert "leads out" in found.pop(f"{name}/../up.jpg") and "absolute" in found.pop(f"{name}//root.jpg")
        assert "leads out" in found.pop(f"{name}/a/../../b.jpg")
        assert found.pop(f"{name}/x.jpg (2)") == "a later member has the same name"
        assert store.get(f"{name}/x.jpg") == b"new"
    assert sorted(found) == ["t.tar/null", "t.tar/odd", "t.tar/pipe"]


def test_a_damaged_tar_gives_what_is_before_the_damage_and_is_named(place: str) -> None:
    sound = tar_of(("a.jpg", b"a" * 5000), ("b.jpg", b"b" * 5000), ("c.jpg", b"c" * 5000))
    second = 512 + 5120
    cut, broken = sound[: second + 3000], bytearray(sound)
    broken[second : second + 8] = b"\xff" * 8
    claims = header("huge", b"x", 1 << 40).tobuf(tarfile.GNU_FORMAT)
    more = sound + bytes(1 << 20) + b"more"
    objects = {"cut.tar": cut, "broken.tar": bytes(broken), "claims.tar": claims, "goes-on.tar": more}
    objects["no-end.tar"] = sound[:second]
    store, entries, unlisted = listed(place, **objects)
    assert {e.key for e in entries if e.key.startswith("broken")} == {"broken.tar/a.jpg"}
    assert reasons(store, entries) == {"cut.tar/b.jpg": "the tar is cut short in it"}
    assert sorted(unlisted) == ["broken.tar/", "claims.tar/", "cut.tar/", "goes-on.tar/", "no-end.tar/"]
    assert unlisted["broken.tar/"] == "there is no header at byte 5,632"
    assert "claims 1,099,511,627,776 bytes" in unlisted["claims.tar/"]


def test_what_is_no_archive_or_compressed_as_a_whole_is_kept_as_a_file_and_named(place: str) -> None:
    gzip = io.BytesIO()
    with tarfile.open(fileobj=gzip, mode="w:gz"):
        pass
    inner = tar_of(("deep.jpg", b"deep"))
    objects = {"text.tar": b"no tar" * 200, "packed.tar": gzip.getvalue(), "nest.tar": tar_of(("inner.tar", inner))}
    store, entries, unlisted = listed(place, **objects)
    assert [e.key for e in entries] == ["nest.tar/inner.tar", "packed.tar", "text.tar"]
    assert store.get("nest.tar/inner.tar") == inner and store.get("text.tar") == objects["text.tar"]
    assert "unpack it to a .tar" in unlisted["packed.tar/"] and "neither" in unlisted["text.tar/"]


def test_zips_of_every_form_are_read(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)  # so that this small one is written as zip64
    objects = {
        "zip64.zip": zip_of(("a.jpg", b"sixty-four" * 9), ("d/b.jpg", b"b" * 99), method=zipfile.ZIP_STORED),
        "names.zip": zip_of(("ünï.jpg", b"u"), ("./x/", b""), ("x//y.jpg", b"y")),
        "program.zip": b"#!/bin/sh\nexit\n" + zip_of(("a.jpg", b"behind a program")),
        "empty.zip": zip_of(),
    }
    store, entries, unlisted = listed(place, **objects)
    keys = ["names.zip/x/y.jpg", "names.zip/ünï.jpg", "program.zip", "zip64.zip/a.jpg", "zip64.zip/d/b.jpg"]
    assert [e.key for e in entries] == keys and list(unlisted) == ["program.zip/"]
    assert store.get("zip64.zip/a.jpg") == b"sixty-four" * 9 and store.get("names.zip/ünï.jpg") == b"u"


def test_hostile_zips_have_one_verdict_per_member(place: str) -> None:
    plain = bytearray(zip_of(("a.jpg", b"a" * 500), ("b.jpg", b"b" * 500)))
    at = plain.index(b"PK\1\2")
    encrypted, wrong, method = bytearray(plain), bytearray(plain), bytearray(plain)
    encrypted[at + 8] |= 1
    wrong[at + 24 : at + 28] = (400).to_bytes(4, "little")  # a smaller size than what comes out
    method[at + 10] = 99
    overlap = bytearray(plain)
    second = plain.index(b"PK\1\2", at + 4)
    overlap[second + 42 : second + 46] = plain[at + 42 : at + 46]
    objects = {"crypt.zip": encrypted, "wrong.zip": wrong, "method.zip": method, "over.zip": overlap}
    objects |= {"cut.zip": plain[:-30], "list.zip": plain[: second + 3] + b"!" + plain[second + 4 :]}
    store, entries, unlisted = listed(place, **{name: bytes(data) for name, data in objects.items()})
    found = reasons(store, entries)
    assert found.pop("crypt.zip/a.jpg") == "it is encrypted" and "method 99" in found.pop("method.zip/a.jpg")
    assert "not what the zip's directory says" in found.pop("wrong.zip/a.jpg")
    assert set(found) == {"over.zip/a.jpg", "over.zip/b.jpg"} and "bytes of another" in found["over.zip/a.jpg"]
    assert sorted(unlisted) == ["cut.zip/", "list.zip/"]
    assert [e.key for e in entries if e.key.startswith("list")] == ["list.zip/a.jpg"]


def test_a_bomb_is_neither_unpacked_beyond_its_limit_nor_listed_as_small(place: str) -> None:
    bomb = zip_of(("zeros.raw", bytes(3 << 20)))
    lying = bytearray(bomb)
    at = bomb.index(b"PK\1\2")
    lying[at + 24 : at + 28] = (100).to_bytes(4, "little")
    store, entries, _ = listed(place, **{"bomb.zip": bomb, "lying.zip": bytes(lying)})
    assert [e.size for e in entries] == [3 << 20, 100]
    large, wrong = store.fetch([e.key for e in entries], max_bytes=1 << 20)
    assert isinstance(large, FetchFailed) and large.reason == f"{3 << 20} bytes are more than {1 << 20}"
    assert isinstance(wrong, FetchFailed) and wrong.is_verdict


def test_a_member_that_claims_far_fewer_bytes_than_its_packed_ones_is_not_read(tmp_path: Path) -> None:
    lying = bytearray(zip_of(("a.jpg", bytes(range(256)) * 4), ("b.jpg", os.urandom(1 << 20))))
    at = lying.rindex(b"PK\1\2")
    lying[at + 24 : at + 28] = (10).to_bytes(4, "little")
    store, entries, _ = listed(str(tmp_path), **{"lying.zip": bytes(lying)})
    assert reasons(store, entries) == {"lying.zip/b.jpg": "it is packed into far more bytes than it has"}


def test_an_archive_file_that_is_replaced_between_listing_and_reading_gives_the_new_bytes(place: str) -> None:
    store, entries, _ = listed(place, **{"t.tar": tar_of(("a.jpg", b"old"))})
    # Also of another size: tars are padded, and of equal ones the time alone tells, which has its ticks.
    store.inner.put("t.tar", tar_of(("0.jpg", b"first" * 4000), ("a.jpg", b"newer")))
    (got,) = store.fetch(["t.tar/a.jpg"])
    assert isinstance(got, Fetched) and got.data == b"newer" and got.etag != entries[0].etag
    store.inner.delete("t.tar")
    (gone,) = store.fetch(["t.tar/a.jpg"])
    assert isinstance(gone, FetchFailed) and gone.is_verdict


def test_a_zip_of_which_one_member_changed_has_one_new_etag(place: str) -> None:
    before, entries, _ = listed(place, **{"z.zip": zip_of(("a.jpg", b"a"), ("b.jpg", b"b"))})
    _, after, _ = listed(place, **{"z.zip": zip_of(("0.jpg", b"0"), ("a.jpg", b"a"), ("b.jpg", b"B"))})
    assert {e.key for e in after} - {e.key for e in entries if e in after} == {"z.zip/0.jpg", "z.zip/b.jpg"}
    del before


def test_only_what_the_address_names_is_opened_and_a_folder_may_have_an_archives_name(place: str) -> None:
    inner = open_store(place)
    inner.put("train/a.tar", tar_of(("x.jpg", b"x")))
    inner.put("other.tar", tar_of(("x.jpg", b"x")))
    inner.put("train/folder.tar/y.jpg", b"y")
    store = open_source(f"{place}#members=train/*.tar")
    assert [e.key for e in store.entries()] == ["other.tar", "train/a.tar/x.jpg", "train/folder.tar/y.jpg"]
    assert store.get("train/folder.tar/y.jpg") == b"y" and store.get("train/a.tar/x.jpg") == b"x"
    with pytest.raises(StorageError, match="no option 'x'"):
        open_source(f"{place}#members&x=1")


LARGEST = 2**64 - 1


def test_numbers_that_no_file_can_have_end_nothing(place: str) -> None:
    def with_header(at: int, value: bytes) -> bytes:
        tar = bytearray(tar_of(("a.jpg", b"abc")))
        tar[at : at + len(value)], tar[148:156] = value, b" " * 8
        tar[148:156] = b"%06o\0 " % sum(tar[:512])
        return bytes(tar)

    def with_mtime(value: str) -> bytes:
        text = f" mtime={value}\n".encode()
        text = b"%d" % (len(text) + 2) + text
        return header("pax", b"x", len(text)).tobuf() + text.ljust(512, b"\0") + tar_of(("a.jpg", b"abc"))

    def with_zip64(size: int, packed: int, start: int, method: int) -> bytes:
        local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, method, 0, 0, 0, 3, 3, 5, 0) + b"a.jpgabc"
        facts = (b"PK\1\2", 45, 45, 0, method, 0, 0, 0, 2**32 - 1, 2**32 - 1, 5, 28, 0, 0, 0, 0, 2**32 - 1)
        central = struct.pack("<4sHHHHHHIIIHHHHHII", *facts) + b"a.jpg"
        central += struct.pack("<HHQQQ", 1, 24, size, packed, start)
        return local + central + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)

    objects = {
        "future.tar": with_header(136, b"\x80" + b"\xff" * 11),
        "huge.tar": with_header(124, b"\x80" + b"\xff" * 11),
        "odd.tar": with_mtime("1.\u00b2"),
        "late.tar": with_mtime("9999999999.5"),
        "all.zip": with_zip64(LARGEST, LARGEST, LARGEST, 8),
        "bomb.zip": with_zip64(LARGEST, 3, 0, 8),
        "far.zip": with_zip64(3, 3, 2**63, 0),
    }
    store, entries, _ = listed(place, **objects)
    assert {entry.key for entry in entries} == {f"{name}/a.jpg" for name in objects}
    assert all(entry.size <= 3 for entry in entries), "claims that nothing confirms are in no sum of bytes"
    found = reasons(store, entries)
    assert found.keys() == {f"{name}/a.jpg" for name in ("huge.tar", "all.zip", "bomb.zip", "far.zip")}


def test_whatever_a_reader_of_archive_files_raises_is_damage_of_one_file(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: ContainerFile, add: Builder) -> str | None:
        raise RecursionError("no reader is perfect")

    monkeypatch.setattr(zip_index, "build", fails)
    _, entries, unlisted = listed(place, **{"a.zip": zip_of(("a.jpg", b"1")), "b.tar": tar_of(("b.jpg", b"2"))})
    assert "b.tar/b.jpg" in [entry.key for entry in entries]
    assert unlisted == {"a.zip/": "it is damaged: no reader is perfect (RecursionError)"}


def test_many_members_of_one_name_take_work_in_proportion(tmp_path: Path) -> None:
    builder, statements = Builder(tmp_path / "index.sqlite"), list[str]()
    builder._db.set_trace_callback(statements.append)
    for size in range(1000):
        builder.add(Member("a.jpg", size))
    last = builder.find("a.jpg (1000)")
    builder.close()
    assert last is not None and last.problem == "a later member has the same name"
    assert len(statements) < 10 * 1000, "they were 500,000 when each looked for a free number from 2 on"


def test_an_index_that_is_damaged_inside_is_one_line_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keys = [f"t.tar/{n:05d}" for n in range(1000)]
    tar = tar_of(*((key.removeprefix("t.tar/"), b"a") for key in keys))
    store, entries, _ = listed(str(tmp_path / "place"), **{"t.tar": tar})
    (path,) = (tmp_path / "cache" / "maepress" / "indexes").iterdir()
    whole = path.read_bytes()
    for use in (lambda: list(store.entries()), lambda: store.fetch(keys)):
        path.write_bytes(whole[:16384] + bytes(16384) + whole[32768:])
        with pytest.raises(StorageError, match=r"is damaged .* and was removed: run again"):
            use()
        assert list(store.entries()) == entries


def test_a_damaged_index_is_made_again_and_the_cache_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store, entries, _ = listed(str(tmp_path / "place"), **{"t.tar": tar_of(("a.jpg", b"a"))})
    (path,) = (tmp_path / "cache" / "maepress" / "indexes").iterdir()
    for damage in (b"", b"no index", path.read_bytes()[:5000]):
        path.write_bytes(damage)
        assert list(store.entries()) == entries
    monkeypatch.setattr(member_index, "CACHE_BYTES", 1)
    store.inner.put("u.tar", tar_of(("b.jpg", b"b")))
    assert len(list(store.entries())) == 2
