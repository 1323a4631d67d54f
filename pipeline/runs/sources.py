"""The sources that the last runs of an archive encoded."""

import os
import platform
from collections.abc import Iterator

from pipeline.runs.record import latest_records
from pipeline.storage.base import StorageError, Store
from pipeline.storage.places import store_at

_RECORDS = 20


def recorded_sources(root: Store) -> Iterator[Store]:
    """The sources in the records of an archive's last runs, as far as this machine can reach them.

    Args:
        root: of the archive.
    """
    for record in latest_records(root, _RECORDS):
        settings = record.get("settings")
        url = settings.get("source") if isinstance(settings, dict) else None
        if not isinstance(url, str) or not ("://" in url or os.path.isabs(url)):
            continue
        try:
            source = store_at(url)
        except StorageError:  # of a kind that this machine cannot open
            continue
        if source.local_path() is not None and record.get("host") != platform.node():
            continue  # another machine's folder
        yield source
