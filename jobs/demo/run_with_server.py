"""`python -m jobs.demo.run_with_server COMMAND ...`: run a command while the demo's S3 server is up."""

import signal
import subprocess
import sys
from pathlib import Path

from jobs.demo.s3_server import s3_server
from jobs.framework.job import guard

FOLDER = Path("demo") / "s3"
"""Where the server keeps the demo's buckets."""


def main(command: list[str]) -> int:
    """Run the command with the server's address and credentials in its environment.

    Returns:
        The command's exit status; 2 when there is no command.
    """
    if not command:
        print("usage: python -m jobs.demo.run_with_server COMMAND ...", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the server as well
    with s3_server(FOLDER) as server, server.environment():
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(guard(lambda: main(sys.argv[1:])))
