"""Copies the payloads that rows share to a replica, before the shards that name them.

So a shard that is there has its payloads there, at every moment, and only shards that are not there
have to be looked into.
"""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from model.core.boundary import Fault, attempt
from pipeline.archive.log.log_check import LoggedFile
from pipeline.archive.shards.payload_references import named_by, shared_payloads
from pipeline.archive.shards.shared_payloads import name_in, sha256_in
from pipeline.storage.base import Store
from pipeline.storage.copying import copy_object

_COPIERS = 8


def copy_payloads(source: Store, dest: Store, files: Sequence[LoggedFile]) -> tuple[int, int, list[str]]:
    """Copy the payloads that rows of new shards share, where they are missing.

    Args:
        source: root of the images table of the archive.
        dest: the same of the replica.
        files: of the version that is copied.

    Returns:
        The number of copied payloads, their bytes, and problems. A shard that cannot be read is none here: it cannot
        be copied either.
    """
    copied = {entry.key: entry.size for entry in dest.entries()}
    ours = shared_payloads(source)
    fresh = [file.shard.path for file in files if copied.get(file.shard.path) != file.shard.size]
    found = [attempt(functools.partial(named_by, source, [path])) for path in fresh] if fresh else []
    named = {key for keys in found if not isinstance(keys, Fault) for key in keys}
    missing = sorted(key for key in named if key not in ours or copied.get(key) != ours[key])

    def copy(key: str) -> str | None:
        if key not in ours:
            return f"images/{key}: the payload, which rows share, is missing"
        done = attempt(lambda: copy_object(source, dest, key, ours[key], sha256_in(name_in(key))))
        return f"images/{key}: {done.reason}" if isinstance(done, Fault) else None

    with ThreadPoolExecutor(_COPIERS) as pool:
        problems = list(pool.map(copy, missing))
    sizes = [ours[key] for key, problem in zip(missing, problems, strict=True) if problem is None]
    return len(sizes), sum(sizes), [problem for problem in problems if problem is not None]
