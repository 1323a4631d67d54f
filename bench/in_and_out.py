"""Every kind of source into an archive, and an archive into every kind of destination: objects, bytes, seconds.

    python -m bench.in_and_out FOLDER --images 24

The same images are written by the writers that the tests use, and encoded in this process at quality 40. Seconds are
wall time, most of it compressing; the first line, the plain folder, is what to compare with. Servers run on this
machine, so their distance is not in the figures. A kind whose server is not installed is left out by name.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from PIL import Image
from rich.console import Console
from rich.table import Table

from jobs.demo.s3_server import s3_server
from pipeline.decode.export import export
from pipeline.decode.settings import ExportSettings
from pipeline.encode.run import EncodeSettings, encode
from pipeline.storage.open import open_store
from tests.clouds import azurite, cloud_storage, sftp
from tests.pipeline.source_views.test_inventories import rows_of, write_inventory
from tests.pipeline.source_views.web_server import Answer, web_server

Images = dict[str, bytes]
"""JPEG files by name."""
LAYOUTS = ("files", "imagefolder", "webdataset", "parquet")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.in_and_out", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of JPEG files")
    parser.add_argument("--images", type=int, default=24)
    options = parser.parse_args(argv)
    files = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    images = {f"{number:04d}.jpg": path.read_bytes() for number, path in enumerate(files[: options.images])}
    if not images:
        print(f"bench.in_and_out: no JPEG files in {options.folder}", file=sys.stderr)
        return 2
    table = Table("source or destination", "objects", "bytes", "s", title=f"{len(images)} images, quality 40")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        encoded(work / "warm", dict(list(images.items())[:2]), folder, "warm-up")  # compiles, and opens the model
        for name, make in SOURCES.items():
            try:
                table.add_row(*encoded(work / make.__name__, images, make, name))
            except pytest.skip.Exception as e:
                print(f"{name}: {e}", file=sys.stderr)
        for layout in LAYOUTS:
            table.add_row(*exported(work / sidecars.__name__ / "archive", work / f"to-{layout}", layout))
    Console().print(table)
    return 0


def encoded(
    place: Path,
    images: Images,
    make: Callable[[Path, Images], "contextlib.AbstractContextManager[str]"],
    name: str,
) -> tuple[str, ...]:
    """A row of the table: the images as a kind of source, encoded."""
    place.mkdir()
    with make(place, images) as source:
        began = time.perf_counter()
        settings = {"source": source, "archive": str(place / "archive"), "executor": "local"}
        result = encode(EncodeSettings.model_validate(settings), quiet=True)
        seconds = time.perf_counter() - began
    rows = result.latents + result.transcoded + result.originals
    return name, f"{rows:,}", f"{result.source_bytes:,}", f"{seconds:.1f}"


def exported(archive: Path, dest: Path, layout: str) -> tuple[str, ...]:
    """A row of the table: an archive in a layout."""
    began = time.perf_counter()
    settings = {"archive": str(archive), "dest": str(dest), "layout": layout, "executor": "local"}
    export(ExportSettings.model_validate(settings), quiet=True)
    seconds = time.perf_counter() - began
    files = [path for path in dest.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return f"export, {layout}", f"{len(files):,}", f"{size:,}", f"{seconds:.1f}"


@contextlib.contextmanager
def folder(place: Path, images: Images) -> Iterator[str]:
    """A plain folder."""
    yield str(_written(place / "photos", images))


@contextlib.contextmanager
def sidecars(place: Path, images: Images) -> Iterator[str]:
    """An ImageFolder with a JSON file beside each image."""
    labelled = {f"{'ab'[number % 2]}/{name}": data for number, (name, data) in enumerate(images.items())}
    notes = {name.replace(".jpg", ".json"): b'{"caption": "a picture"}' for name in labelled}
    yield f"{_written(place / 'photos', labelled | notes)}#sidecars"


@contextlib.contextmanager
def bucket(place: Path, images: Images) -> Iterator[str]:
    """A bucket of S3."""
    with s3_server(place / "server") as server, server.environment():
        yield _put(f"{server.bucket}/photos", images)


@contextlib.contextmanager
def inventory(place: Path, images: Images) -> Iterator[str]:
    """A bucket that S3 Inventory lists."""
    with s3_server(place / "server") as server, server.environment():
        url, lists = _put(f"{server.bucket}/photos", images), open_store(f"{server.bucket}/lists/nightly")
        write_inventory(lists, [rows_of(url, list(open_store(url).entries()))], "Parquet")
        yield f"{url}#inventory={lists.url}"


@contextlib.contextmanager
def azure(place: Path, images: Images) -> Iterator[str]:
    """A container of Azure."""
    with azurite(_made(place / "server")) as container:
        yield _put(f"abfs://{container}/photos", images)


@contextlib.contextmanager
def google(place: Path, images: Images) -> Iterator[str]:
    """A bucket of Cloud Storage."""
    with cloud_storage(_made(place / "server")) as name:
        yield _put(f"gs://{name}/photos", images)


@contextlib.contextmanager
def ssh(place: Path, images: Images) -> Iterator[str]:
    """A folder behind SFTP."""
    _written(place / "root" / "photos", images)
    with sftp(place / "root", _made(place / "home")) as address:
        yield f"sftp://{address}/photos"


@contextlib.contextmanager
def web_dataset(place: Path, images: Images) -> Iterator[str]:
    """A shard of WebDataset, by webdataset."""
    import webdataset

    with webdataset.TarWriter(str(_made(place / "shards") / "0.tar")) as out:
        for name, data in images.items():
            out.write({"__key__": name.removesuffix(".jpg"), "jpg": data})
    yield f"{place / 'shards'}#members"


@contextlib.contextmanager
def zipped(place: Path, images: Images) -> Iterator[str]:
    """A zip, by zipfile."""
    with zipfile.ZipFile(_made(place / "zips") / "0.zip", "w") as out:
        for name, data in images.items():
            out.writestr(name, data)
    yield f"{place / 'zips'}#members"


@contextlib.contextmanager
def hugging_face(place: Path, images: Images) -> Iterator[str]:
    """Parquet of Hugging Face, by datasets."""
    import datasets

    features = datasets.Features({"image": datasets.Image()})
    rows = {"image": [{"bytes": data, "path": name} for name, data in images.items()]}
    made = datasets.Dataset.from_dict(rows, features=features)
    made.to_parquet(str(_made(place / "set") / "train.parquet"))
    yield f"{place / 'set'}#table"


@contextlib.contextmanager
def delta(place: Path, images: Images) -> Iterator[str]:
    """A Delta table, by deltalake."""
    write_deltalake(str(place / "table"), pa.table({"key": list(images), "jpg": list(images.values())}))
    yield f"{place / 'table'}#table&key=key"


@contextlib.contextmanager
def web(place: Path, images: Images) -> Iterator[str]:
    """A list of web addresses."""
    with web_server() as server:
        server.answers |= {f"/{name}": Answer(data, {"ETag": f'"{name}"'}) for name, data in images.items()}
        pq.write_table(pa.table({"url": [f"{server.url}/{name}" for name in images]}), place / "list.parquet")
        yield f"{place / 'list.parquet'}#urls&private"


@contextlib.contextmanager
def film(place: Path, images: Images) -> Iterator[str]:
    """A video of the first images, by PyAV, every frame of it."""
    import av

    with av.open(str(_made(place / "clips") / "0.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for data in images.values():
            picture = Image.open(io.BytesIO(data)).convert("RGB").resize((320, 240))
            out.mux(stream.encode(av.VideoFrame.from_image(picture)))
        out.mux(stream.encode())
    yield f"{place / 'clips'}#frames=1"


SOURCES: dict[str, Callable[[Path, Images], "contextlib.AbstractContextManager[str]"]] = {
    "folder": folder,
    "folder with sidecars": sidecars,
    "S3 (SeaweedFS)": bucket,
    "S3 Inventory": inventory,
    "Azure (Azurite)": azure,
    "Cloud Storage (fake-gcs-server)": google,
    "SFTP (asyncssh)": ssh,
    "WebDataset (webdataset)": web_dataset,
    "zip (zipfile)": zipped,
    "Hugging Face (datasets)": hugging_face,
    "Delta (deltalake)": delta,
    "web addresses (http.server)": web,
    "video (PyAV), 320 x 240": film,
}


def _made(place: Path) -> Path:
    place.mkdir(parents=True)
    return place


def _written(place: Path, images: Images) -> Path:
    for name, data in images.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def _put(url: str, images: Images) -> str:
    store = open_store(url)
    for name, data in images.items():
        store.put(name, data)
    return url


if __name__ == "__main__":
    sys.exit(main())
