"""Listing and fetching from Azure and Cloud Storage: fsspec's drivers, our store of Azure, and obstore alone.

    python -m bench.object_stores                       # 4,000 objects of 30 kB, 1,000 of them fetched
    python -m bench.object_stores --objects 1000 --fetched 200

The servers are those of the tests, Azurite and fake-gcs-server, on this machine. Each client lists everything and
fetches the same keys, 16 at a time, in turns. Processor time is this process's alone, without the server's.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import obstore
from obstore.store import AzureStore, GCSStore
from rich.console import Console
from rich.table import Table

from pipeline.storage.base import Fetched, Store
from pipeline.storage.fsspec_store import FsspecStore
from pipeline.storage.open import open_store
from tests.clouds import ACCOUNT, ACCOUNT_KEY, azurite, cloud_storage

READERS = 16
FOLDERS = 40


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.object_stores", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--objects", type=int, default=4_000)
    parser.add_argument("--fetched", type=int, default=1_000)
    parser.add_argument("--kilobytes", type=int, default=30)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(argv)
    table = Table("cloud", "what", "client", "s", "processor s", title=f"medians of {options.runs} runs")
    for cloud, server, scheme in (("Azure", azurite, "abfs"), ("Cloud Storage", cloud_storage, "gs")):
        with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as container:
            url = f"{scheme}://{container}/photos"
            stores: dict[str, Store] = {"fsspec": FsspecStore(url)}
            if cloud == "Azure":
                stores["ours"] = open_store(url)
            keys = _fill(stores["fsspec"], options.objects, options.kilobytes)
            theirs = _obstore(cloud, container)
            wanted = keys[:: max(1, options.objects // options.fetched)]
            for what, clients in (
                ("list", _listing(stores, theirs)),
                ("fetch", _fetching(stores, theirs, wanted)),
            ):
                for client, took in _in_turns(clients, options.runs).items():
                    table.add_row(cloud, what, client, *(f"{statistics.median(times):.2f}" for times in took))
    Console().print(table)
    return 0


def _obstore(cloud: str, container: str) -> Any:
    if cloud == "Azure":
        endpoint = f"{os.environ['AZURITE_BLOB_STORAGE_URL']}/{ACCOUNT}"
        settings: dict[str, Any] = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY, "endpoint": endpoint}
        return AzureStore(container, prefix="photos", client_options={"allow_http": True}, **settings)
    account = {"gcs_base_url": os.environ["STORAGE_EMULATOR_HOST"], "disable_oauth": True}
    account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    settings = {"client_options": {"allow_http": True}, "service_account_key": json.dumps(account)}
    return GCSStore(container, prefix="photos", **settings)


def _in_turns(clients: dict[str, Callable[[], int]], runs: int) -> dict[str, tuple[list[float], list[float]]]:
    took: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in clients}
    counts = set()
    for _ in range(runs):
        for name, work in clients.items():
            wall, busy = time.perf_counter(), time.process_time()
            counts.add(work())
            took[name][0].append(time.perf_counter() - wall)
            took[name][1].append(time.process_time() - busy)
    assert len(counts) == 1, f"the clients disagree: {counts}"
    return took


def _fill(store: Store, objects: int, kilobytes: int) -> list[str]:
    keys = [f"{number % FOLDERS:02d}/{number:06d}.jpg" for number in range(objects)]
    data = os.urandom(1000 * kilobytes)
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(lambda key: store.put(key, data), keys))
    return keys


def _listing(stores: dict[str, Store], theirs: Any) -> dict[str, Callable[[], int]]:
    """What each client does, by its name; it returns a count that must be the same for all."""
    work: dict[str, Callable[[], int]] = {
        name: partial(lambda store: sum(1 for _ in store.entries()), store) for name, store in stores.items()
    }
    return {**work, "obstore": lambda: sum(len(page) for page in obstore.list(theirs, chunk_size=1000))}


def _fetching(stores: dict[str, Store], theirs: Any, keys: Sequence[str]) -> dict[str, Callable[[], int]]:
    def fetched(store: Store) -> int:
        return sum(len(got.data) for got in store.fetch(keys) if isinstance(got, Fetched))

    def fetched_by_obstore() -> int:
        with ThreadPoolExecutor(READERS) as pool:
            return sum(pool.map(lambda key: len(obstore.get(theirs, key).bytes()), keys))

    work: dict[str, Callable[[], int]] = {name: partial(fetched, store) for name, store in stores.items()}
    return {**work, "obstore": fetched_by_obstore}


if __name__ == "__main__":
    sys.exit(main())
