"""`maepress forget`: erase images from every version of an archive, and bar their keys."""

import sys
from typing import TYPE_CHECKING

from jobs.framework.asking import require_consent
from jobs.framework.job import DONE, FAILED, Job
from jobs.framework.output import Cell, Output, complain

if TYPE_CHECKING:
    from pipeline.archive.ledgers.erasures import ErasureReceipt
    from pipeline.forget.run import ForgetResult
    from pipeline.forget.settings import ForgetSettings


def _settings() -> "type[ForgetSettings]":
    from pipeline.forget.settings import ForgetSettings

    return ForgetSettings


def _run(settings: "ForgetSettings", output: Output) -> int:
    from pipeline.forget.run import forget

    if not settings.dry_run:
        would = forget(settings.model_copy(update={"dry_run": True}))
        require_consent(
            f"erase {would.keys:,} keys from {settings.archive} for good, and all older versions of the archive"
            + (f" ({would.absent:,} of these keys are not in it)" if would.absent else ""),
            yes=settings.yes,
        )
    result = forget(settings)
    output.result(result.to_dict())
    if result.receipt is None:
        output.line(f"{result.keys:,} keys would be erased")
        complain(*_absent(result))
        return DONE if result.ok else FAILED
    rows = [("keys barred", f"{result.keys:,}"), *_in_words(result.receipt)]
    output.table("erased", [(name, value) for name, value in rows if value])
    if result.finished:
        output.line(f"\n{result.finished:,} erasures that were interrupted are done now")
    complain(*_absent(result), *result.receipt.remarks)
    return DONE if result.ok else FAILED


def _absent(result: "ForgetResult") -> list[str]:
    what = f"{result.absent:,} of these keys are not in the archive, perhaps mistyped: encode will pass over them, too"
    return [what] if result.absent else []


def _in_words(receipt: "ErasureReceipt") -> list[tuple[str, Cell]]:
    return [
        ("images", receipt.images),
        ("rejections", receipt.rejections),
        ("entries of the ledger of releases", receipt.releases),
        ("shards written anew", receipt.shards),
        ("files removed", receipt.files),
        ("models adapted on the source", ", ".join(receipt.models)),
        ("receipt", f"erasures/{receipt.run}.json"),
    ]


JOB: "Job[ForgetSettings]" = Job(
    name="forget",
    about="Erases images: their rows leave every version of the archive, with all older versions and unneeded files, "
    "and their keys may not come back. The receipt in erasures/ holds salted hashes instead of keys, and names models "
    "that were adapted on the source. If it is interrupted, the same command, or the next erasure, finishes it.",
    example="maepress forget s3://archive/photos --keys '2024/party/*' --dry-run",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("archive",),
    metavars={"keys": "GLOB|@FILE"},
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
