"""The demo of the whole: train, encode, verify, decode, each by the command that a user would type."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.demo import MINUTES
from jobs.demo.report import report
from jobs.demo.run_with_server import FOLDER as SERVER_FOLDER
from jobs.demo.s3_server import s3_server
from model.core.extras import require
from pipeline.storage.open import open_target

ROOT = Path("demo")
QUALITY = 40


class StepFailed(Exception):
    """A command of the demo failed; `status` is its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class DemoUrls:
    """The demo's folders below demo/, or its prefixes in a bucket."""

    base: str

    @property
    def photos(self) -> str:
        """The source images."""
        return f"{self.base}/photos"

    @property
    def model(self) -> str:
        """The adapted model."""
        return f"{self.base}/model"

    @property
    def archive(self) -> str:
        """The archive."""
        return f"{self.base}/archive"

    @property
    def restored(self) -> str:
        """The decoded images."""
        return f"{self.base}/restored"


def step(title: str, *arguments: str) -> dict[str, Any]:
    """Show and run one `maepress` command.

    Returns:
        The result that it prints as JSON.

    Raises:
        StepFailed: when the command fails.
    """
    command = [*arguments, "--json"]
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}", flush=True)
    print(f"$ maepress {shlex.join(command)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "maepress", *command], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise StepFailed(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def make_photos(urls: DemoUrls) -> None:
    """Write the demo's files to the source folder or bucket.

    Raises:
        MaepressError: when the packages that carry the photographs are not installed.
    """
    require("demo", "the demo")
    from jobs.demo.photos import demo_files

    print("cutting photographs from scikit-image and scikit-learn into files", flush=True)
    store = open_target(urls.photos)
    count = 0
    for file in demo_files():
        store.put(file.key, file.data)
        count += 1
    print(f"{count} files in {urls.photos}")


def run(urls: DemoUrls, minutes: float) -> None:
    """Run all steps and print the table of results.

    Raises:
        StepFailed: when a command fails.
        MaepressError: when the photographs' packages are not installed.
    """
    started = time.monotonic()
    make_photos(urls)
    step(
        f"1. adapt a model to these photographs: {minutes:g} min, two DDP workers",
        *("train", urls.photos, "--out", urls.model, "--workers", "2", "--max-minutes", f"{minutes:g}"),
    )
    encoded = step(
        "2. encode the photographs into an archive",
        *("encode", urls.photos, urls.archive, "--model", urls.model, "--quality", str(QUALITY)),
    )
    verified = step("3. check every payload against its source", "verify", urls.archive, "--source", urls.photos)
    restored = step("4. decode the images into files", "decode", urls.archive, urls.restored)
    status = step("5. count what the archive holds", "status", urls.archive)
    report(encoded, verified, restored, status, seconds=time.monotonic() - started)


def suggestions(urls: DemoUrls, on_s3: bool) -> list[str]:
    """Complete commands to try next."""
    python = Path(sys.executable)
    python = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    maepress = f"{python} -m jobs.demo.run_with_server {python} -m maepress" if on_s3 else f"{python} -m maepress"
    return [
        f"{maepress} status {urls.archive}",
        f"{maepress} decode {urls.archive} {urls.base}/animals --keys '*/animals/*' --format png",
        f"{maepress} compress {urls.photos}/2021/people/astronaut-00.jpg {urls.base}/astronaut.mae "
        f"--model {urls.model}",
    ]


def run_demo(*, on_s3: bool, minutes: float = MINUTES) -> int:
    """Run the demo in the folder `demo`, whose earlier results it removes.

    Args:
        on_s3: read and write s3:// on a server that the demo starts and ends.
        minutes: of training.

    Returns:
        The exit status of the first command that failed, else 0.

    Raises:
        MaepressError: when the photographs' packages are not installed.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the server as well
    for name in ("photos", "model", "archive", "restored", "animals", "s3"):
        shutil.rmtree(ROOT / name, ignore_errors=True)
    urls = DemoUrls("s3://maepress-demo" if on_s3 else str(ROOT))
    try:
        with ExitStack() as stack:
            if on_s3:
                print("starting an S3 server on this machine", flush=True)
                server = stack.enter_context(s3_server(SERVER_FOLDER))
                stack.enter_context(server.environment())
                server.make_bucket("maepress-demo")
            run(urls, minutes)
    except StepFailed as e:
        print("\nthe demo stopped because this command failed", file=sys.stderr)
        return e.status
    except KeyboardInterrupt:
        return 130
    print("\ntry next:")
    for line in suggestions(urls, on_s3):
        print(f"  {line}")
    return 0
