"""`python -m jobs.demo [--s3]`: learn, press, verify, restore, each by the command that a user would type."""

import argparse
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

from jobs.demo.photos import demo_files
from jobs.demo.report import report
from jobs.demo.server import FOLDER as SERVER_FOLDER
from pipeline.storage.open import open_target
from tests.s3 import s3_server

ROOT = Path("demo")
MINUTES = 2
QUALITY = 40


class StepFailed(Exception):
    """A command of the demo did not end well; `status` is its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Places:
    """Where the demo's things are: folders below demo/, or prefixes of a bucket."""

    base: str

    @property
    def photos(self) -> str:
        """The images to press."""
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
        """The images given back."""
        return f"{self.base}/restored"


def step(title: str, *arguments: str) -> dict[str, Any]:
    """Show and run one `maepress` command; returns the result that it prints as JSON."""
    maepress = Path(sys.executable).with_name("maepress")
    command = [*arguments, "--json"]
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}", flush=True)
    print(f"$ maepress {shlex.join(command)}", flush=True)
    done = subprocess.run([str(maepress), *command], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise StepFailed(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def make_photos(places: Places) -> None:
    """Write the demo's files to where the source shall be."""
    print("cutting photographs that scikit-image and scikit-learn ship into an archive's worth of files", flush=True)
    store = open_target(places.photos)
    count = 0
    for file in demo_files():
        store.put(file.key, file.data)
        count += 1
    print(f"{count} files in {places.photos}")


def run(places: Places) -> None:
    """The main job, then the table.

    Raises:
        StepFailed: when a command does not end well.
    """
    started = time.monotonic()
    make_photos(places)
    step(
        f"1. adapt a model to these photographs: {MINUTES} minutes, two DDP workers",
        *("train", places.photos, "--out", places.model, "--workers", "2", "--max-minutes", str(MINUTES)),
    )
    pressed = step(
        "2. press the photographs into an archive",
        *("encode", places.photos, places.archive, "--model", places.model, "--quality", str(QUALITY)),
    )
    verified = step("3. check every payload against its source", "verify", places.archive, "--source", places.photos)
    restored = step("4. give the images back", "decode", places.archive, places.restored)
    status = step("5. what is in the archive now", "status", places.archive)
    report(pressed, verified, restored, status, seconds=time.monotonic() - started)


def suggestions(places: Places, prefix: str) -> list[str]:
    """Commands to try next; each works as it stands."""
    return [
        f"{prefix}.venv/bin/maepress status {places.archive}",
        f"{prefix}.venv/bin/maepress decode {places.archive} {places.base}/animals --keys '*/animals/*' --format png",
        f"{prefix}.venv/bin/maepress compress {places.photos}/2021/people/astronaut-00.jpg {places.base}/astronaut.mae "
        f"--model {places.model}",
    ]


def main() -> int:
    """Run the demo; returns the exit status of the first command that failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m jobs.demo", description="the main job on sample photographs")
    parser.add_argument("--s3", action="store_true", help="read and write s3:// on a server started for the occasion")
    on_s3 = parser.parse_args().s3
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server does not outlive the demo
    for name in ("photos", "model", "archive", "restored", "animals", "s3"):
        shutil.rmtree(ROOT / name, ignore_errors=True)
    places = Places("s3://maepress-demo" if on_s3 else str(ROOT))
    try:
        with ExitStack() as stack:
            if on_s3:
                print("starting an S3 server on this machine", flush=True)
                server = stack.enter_context(s3_server(SERVER_FOLDER))
                stack.enter_context(server.environment())
                server.make_bucket("maepress-demo")
            run(places)
    except StepFailed as e:
        print("\nthe demo stopped because this command failed", file=sys.stderr)
        return e.status
    except KeyboardInterrupt:
        return 130
    print("\ntry next:")
    for line in suggestions(places, ".venv/bin/python -m jobs.demo.server " if on_s3 else ""):
        print(f"  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
