"""A list of web addresses through encode, nights, verify, release, estimate and decode, on the local executor."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode.run import EncodeSettings, encode
from pipeline.estimate.run import EstimateSettings, estimate
from pipeline.release.run import ReleaseSettings, release
from pipeline.storage.open import open_store
from pipeline.sync.run import SyncSettings, sync
from pipeline.verify.run import VerifySettings, verify
from tests.pipeline.making import image_file
from tests.pipeline.source_views.web_server import Answer, web_server


def picture(seed: int) -> Answer:
    return Answer(image_file("PNG", seed=seed), {"ETag": f'"{seed}"'})


def put_list(bucket: str, tmp_path: Path, urls: list[str]) -> None:
    pq.write_table(pa.table({"url": urls, "caption": [""] * len(urls)}), tmp_path / "list.parquet")
    open_store(bucket).put("list.parquet", (tmp_path / "list.parquet").read_bytes())


def test_addresses_are_fetched_once_follow_their_servers_and_come_back(
    bucket: str, tmp_path: Path, tiny_model_folder: Path
) -> None:
    with web_server() as web:
        web.answers |= {f"/{n}.png?size=large": picture(n) for n in range(4)}
        urls = [f"{web.url}/{n}.png?size=large" for n in range(4)]
        put_list(bucket, tmp_path, [*urls, f"{web.url}/none.png"])
        source, archive = f"{bucket}/list.parquet#urls&private", str(tmp_path / "archive")
        job = {"source": source, "archive": archive, "model": str(tiny_model_folder), "executor": "local"}
        first = encode(EncodeSettings.model_validate(job), quiet=True)
        assert (first.latents + first.originals, first.rejections) == (4, {"its server answered N Not Found": 1})
        web.took("GET")
        again = encode(EncodeSettings.model_validate(job), quiet=True)
        assert (again.unchanged, again.rejected_before) == (4, 1) and web.took("GET") == []

        # One image changes, one disappears from its server (the row stays), and one from the list (it is retired).
        web.answers |= {"/1.png?size=large": picture(11), "/2.png?size=large": Answer(status=410)}
        put_list(bucket, tmp_path, urls[:3])
        night = sync(SyncSettings.model_validate(job | {"retire_share": 0.5}), quiet=True)
        assert (night.plan.changed, night.plan.retire, night.plan.unchanged) == (2, 1, 1)
        assert web.took("GET") == ["/1.png?size=large", "/2.png?size=large"]
        keys = [f"{web.key}/{n}.png?size=large" for n in range(3)]
        assert [row.key for row in Archive.open(archive).rows_by_key()] == keys

        report = verify(VerifySettings(archive=archive, sample="all", source=source, executor="local"), quiet=True)
        assert not report.problems
        assert (report.source_objects, report.absent, report.outdated, report.rejected) == (3, 0, 0, 1)
        with pytest.raises(MaepressError, match="an image cannot be deleted from the server that it is on"):
            release(
                ReleaseSettings(source=source, archive=archive, delete=True, yes=True, executor="local"), quiet=True
            )
        planned = estimate(EstimateSettings(source=source, model=str(tiny_model_folder), compare=0))
        assert planned.objects == 3

    decode(DecodeSettings(archive=archive, dest=str(tmp_path / "out"), executor="local"), quiet=True)
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*?size=large*"))
    assert len(found) == 3 and all(name.startswith(web.key) for name in found)
