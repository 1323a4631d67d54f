"""`python -m jobs.demo.server COMMAND ...`: run a command while the demo's S3 server is up."""

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
    with s3_server(FOLDER) as server, server.environment():
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
