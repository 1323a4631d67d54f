"""`maepress browse`: a web page over an archive."""

import socket
import sys

from pydantic import ConfigDict, Field

from jobs.framework.job import DONE, Job
from jobs.framework.output import Output
from model.core.errors import MaepressError
from pipeline.sources.settings import SourceView


class BrowseSettings(SourceView):
    """Settings of `maepress browse`: archive, address, and limits on decoding and memory."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    archive: str = Field(description="the archive (a folder or bucket prefix)")
    source: str = Field(
        "", description="folder or bucket that the images came from, shown beside them; empty: not shown"
    )
    host: str = Field(
        "127.0.0.1",
        description="address to listen on; others than loopback let everybody who reaches it read the archive",
    )
    port: int = Field(8757, ge=0, le=65535, description="port to listen on; 0: any free port")
    workers: int | None = Field(None, ge=1, le=256, description="images decoded at once; one per core if not given")
    cache_mib: int = Field(256, ge=1, le=1 << 20, description="MiB of memory for decoded images, as files")


def _run(settings: BrowseSettings, output: Output) -> int:
    # Imported here because torch takes two seconds, which `maepress --help` should not.

    from jobs.web.viewer.app import make_app
    from jobs.web.viewer.headers import LOOPBACK
    from jobs.web.viewer.server import viewer_server
    from jobs.web.viewer.signing import VARIABLE, key_of
    from pipeline.archive.apart import require_source_apart

    here, key = settings.host in LOOPBACK, key_of()
    if settings.source:
        require_source_apart(settings.source, settings.archive)
    app = make_app(
        settings.archive,
        source=settings.source or None,
        workers=settings.workers,
        cache_bytes=settings.cache_mib << 20,
        hosts=LOOPBACK if here else (),
        url_key=key,
    )
    listener = _listen(settings.host, settings.port)
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    output.line(f"http://{name}:{listener.getsockname()[1]}/  (Ctrl-C stops it)")
    sys.stdout.flush()
    if key:
        output.progress(f"only signed addresses of images are answered, as {VARIABLE} is set")
    elif not here:
        output.progress("everybody who reaches this address can read the archive: there is no password")
    try:
        viewer_server(app).run([listener])
    except KeyboardInterrupt:  # the way to end it
        raise KeyboardInterrupt("the archive is no longer served") from None
    return DONE


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as e:
        raise MaepressError(f"cannot listen on {host}:{port} ({e.strerror or e}): choose another --port") from None


JOB = Job(
    name="browse",
    about="Serves a page over an archive until it is interrupted: totals and savings per folder, search, thumbnails "
    "decoded on demand, and each image at full size with its data and, with --source, a slider over its "
    "source. Nothing is written. GET /image/KEY?format=webp&width=640 is a stable address of an image.",
    example="maepress browse s3://archive/photos --source s3://photos",
    settings=lambda: BrowseSettings,
    run=_run,
    extra="viewer",
    positionals=("archive",),
    has_json=False,
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
