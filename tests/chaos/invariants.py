"""The invariants of an archive that hold after any kill, as checks that list violations."""

import hashlib
import io
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from model.codec import Codec
from model.core.model_files import FILES
from model.metrics.psnr import psnr
from pipeline.archive.archive import Archive
from pipeline.archive.log.delta_table import files_of, open_table
from pipeline.archive.model_store import SUMS
from pipeline.archive.schema import IMAGES, LATENT, ORIGINAL
from pipeline.archive.shards.payload_references import named_by
from pipeline.archive.shards.shard_reader import scan_shard
from pipeline.maintain.settings import VacuumSettings
from pipeline.maintain.vacuum import vacuum
from pipeline.runs.heartbeat import list_runs
from pipeline.runs.lease import Lease, holder_of
from tests.chaos.photos import Photos

PSNR_MARGIN = 0.02
"""dB by which the PSNR of a decoded payload may differ from its row's."""


class Row(NamedTuple):
    """The facts of a row that must not change while its source does not."""

    etag: str
    run: str
    encoded_at: datetime
    shard: str


@dataclass
class Invariants:
    """Compares an archive with its source and with its own past.

    Attributes:
        archive: the archive to check.
        photos: the record of its source.
        codec: of the model that compressed.
        rearranged: shards are written again to store copies once.
    """

    archive: Archive
    photos: Photos
    codec: Codec
    rearranged: bool = False
    _past: dict[str, Row] = field(default_factory=dict)
    _whole: set[tuple[str, datetime]] = field(default_factory=set)

    def remember(self) -> tuple[int, list[str]]:
        """Record the committed rows; returns their number, and the violated invariants."""
        rows, broken = self._rows()
        broken += self._compressed_again(rows)
        self._past = rows
        return len(rows), broken

    def check(self, *, gone_stay: bool) -> list[str]:
        """The violated invariants after a successful run; empty if all hold.

        Args:
            gone_stay: whether rows whose source is gone are still there, as after an encode.
        """
        _, broken = self.remember()
        keys, wanted = self._past.keys(), self.photos.good.keys() | self.photos.broken.keys()
        broken += [f"{key} has no row" for key in sorted(wanted - keys)]
        broken += [f"{key} has a row and no source" for key in sorted(keys - wanted) if not gone_stay]
        rejected = Counter((r.key, r.etag, r.stage) for r in self.archive.rejections_by_key())
        broken += [f"{key} is rejected {count} times" for (key, *_), count in rejected.items() if count > 1]
        broken += [f"{key} is rejected" for key in sorted(self.hidden())]
        return broken

    def hidden(self) -> set[str]:
        """Keys whose present object was rejected and has no row: a run that keeps everything must try them again."""
        etags = {key: hashlib.md5(data).hexdigest() for key, data in (self.photos.good | self.photos.broken).items()}
        rejected = {(rejection.key, rejection.etag) for rejection in self.archive.rejections_by_key()}
        rejected -= {(row.key, row.etag) for row in self.archive.rows_by_key()}
        return {key for key, etag in etags.items() if (key, etag) in rejected}

    def clean_up(self) -> list[str]:
        """Make the files of dead runs look old, vacuum, and list files that are left over or missing."""
        root = self.archive.root
        for run in list_runs(root):
            root.put(f"plans/{run.run}/alive.json", json.dumps({"started": 1.0, "seen": 1.0}).encode())
        vacuum(VacuumSettings.model_construct(archive=self.archive.url, hours=0.0, dry_run=False))
        needed = {f"models/{self.codec.fingerprint}/{name}" for name in (*FILES, SUMS)}
        for table in (self.archive.images, self.archive.rejections):
            folder = table.url.removeprefix(f"{root.url}/")
            needed |= {f"{folder}/{shard.path}" for shard in files_of(open_table(table))}
        needed |= {f"images/{key}" for key in named_by(self.archive.images, (s.path for s in self.archive.shards()))}
        logs = re.compile(r"(images|rejections|leases)/_delta_log/|runs/")
        left = [entry.key for entry in root.entries() if not logs.match(entry.key)]
        broken = [f"{key} is left over" for key in left if key not in needed]
        broken += [f"an upload of {upload.key} is left over" for upload in root.unfinished()]
        return broken + [f"{key} is gone" for key in sorted(needed - set(left))]

    def end_lease(self) -> None:
        """End the lease of a dead run instead of waiting until it expires."""
        held = holder_of(open_table(self.archive.root.child("leases")))
        with Lease(self.archive.root, held.run, held.job):
            pass  # the block's end releases it

    def _rows(self) -> tuple[dict[str, Row], list[str]]:
        """Every row by key, and the problems found in them; each payload is decoded once."""
        rows: dict[str, Row] = {}
        broken: list[str] = []
        for shard in self.archive.shards():
            for batch in scan_shard(self.archive.images, shard.path, IMAGES.names):
                for row in batch.to_pylist():
                    key, stamp = row["key"], (row["key"], row["encoded_at"])
                    if key in rows:
                        broken.append(f"{key} is in {rows[key].shard} and in {shard.path}")
                    rows[key] = Row(row["etag"], row["run"], row["encoded_at"], shard.path)
                    if stamp not in self._whole:
                        self._whole.add(stamp)
                        broken += self._damage(row)
        return rows, broken

    def _damage(self, row: dict[str, Any]) -> list[str]:
        """The damage of one row by itself; its etag is the MD5 of its source, as S3 computes it."""
        source = (self.photos.good | self.photos.broken).get(row["key"], b"")
        if hashlib.md5(source).hexdigest() != row["etag"]:
            return []  # compressed before its source changed or was removed
        if (hashlib.sha256(source).hexdigest(), len(source)) != (row["source_sha256"], row["source_bytes"]):
            return [f"{row['key']} has the etag of its source, but not its checksum"]
        if row["status"] == ORIGINAL:
            return [] if row["payload"] == source else [f"{row['key']} is not its original"]
        if row["status"] != LATENT:
            return [f"{row['key']} has the status {row['status']}"]
        (picture,) = self.codec.decompress([row["payload"]])
        true = psnr(np.asarray(Image.open(io.BytesIO(source)).convert("RGB")), picture.pixels)
        if abs(true - row["psnr"]) > PSNR_MARGIN:
            return [f"{row['key']} decodes to {true:.2f} dB, its row says {row['psnr']:.2f}"]
        return []

    def _compressed_again(self, rows: dict[str, Row]) -> list[str]:
        """Rows that were compressed again, and shards that were written again, without need."""
        broken = []
        same: dict[str, bool] = {}  # by earlier shard: whether all of its rows are unchanged
        for key, before in self._past.items():
            now = rows.get(key)
            unchanged = now is not None and now.etag == before.etag
            same[before.shard] = same.get(before.shard, True) and unchanged
            if now is not None and unchanged and now[:3] != before[:3]:
                broken.append(f"{key} was compressed again by {now.run}, after {before.run}")
        for key, before in self._past.items():
            if same[before.shard] and rows[key].shard != before.shard and not self.rearranged:
                broken.append(f"{before.shard} was written again without need")
                same[before.shard] = False
        return broken
