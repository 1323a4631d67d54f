"""`python -m jobs.demo.server COMMAND ...`: run a command while the demo's S3 server is up."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.s3 import s3_server

FOLDER = Path("demo") / "s3"
"""Where the server keeps the demo's buckets."""


def main(command: list[str]) -> int:
    """Run the command with the server's address and credentials in its environment; returns its exit status."""
    if not command:
        print("usage: python -m jobs.demo.server COMMAND ...", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server does not outlive this process
    with s3_server(FOLDER) as server, server.environment():
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
