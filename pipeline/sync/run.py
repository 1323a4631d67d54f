"""Sync: make an archive the image of its source. The nightly job.

    listing + archive --plan--> new, changed, gone, stale --press--> archive

It is an encode that may also take away and renew:

- Rows whose source is gone leave the archive, unless that would be more than a set share of it: a source that lost a
  tenth of itself over night is more likely broken than cleared out. Then none of them leaves, everything else is done,
  and the result says so. A listing that fails or is empty ends the run before anything is planned.
- Rows that another model or another target pressed are pressed again when asked for, a bounded number or time a night.
- Every so many nights, if asked to, the codec learns from the source first (`pipeline.sync.model_adaptation`).
- Of two runs one gives way at once (`pipeline.archive.lease`).
"""

from dataclasses import asdict, dataclass

from deltalake.exceptions import TableNotFoundError

from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.delta_table import open_table
from pipeline.archive.model_store import local_model
from pipeline.encode.run import EncodeResult, RunOptions, plan_options, run_encode
from pipeline.planning.planner import EncodePlan, make_plan
from pipeline.storage.open import open_source
from pipeline.sync.model_adaptation import Trial, tonights_model
from pipeline.sync.settings import SyncSettings

__all__ = ["SyncResult", "SyncSettings", "sync"]


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync found and did.

    Attributes:
        plan: what was to be done.
        done: what was done; None for a dry run.
        retire_share: the limit that applied.
        adapted: what came of adapting; None when it was not its night.
    """

    plan: EncodePlan
    done: EncodeResult | None
    retire_share: float
    adapted: Trial | None = None

    @property
    def warning(self) -> str | None:
        """Why rows that are gone were not retired; None when they were."""
        if not self.plan.withheld or not self.retire_share:
            return None
        return (
            f"{self.plan.gone:,} of {self.plan.rows:,} rows are gone from the source, more than "
            f"{self.retire_share:.0%}: none was retired; if the source is right, run again with --retire-share 1"
        )

    def to_dict(self) -> dict[str, object]:
        """The plan, what was done, and the warning, as JSON can hold them."""
        plan = {
            name: value for name, value in asdict(self.plan).items() if name not in ("required_parts", "optional_parts")
        }
        plan["withheld"] = self.plan.withheld
        return {
            "plan": plan,
            "done": self.done and self.done.to_dict(),
            "warning": self.warning,
            "adapted": self.adapted and asdict(self.adapted),
        }


def sync(settings: SyncSettings, *, quiet: bool = False) -> SyncResult:
    """Press what is new or changed, retire what is gone, and press again what is stale.

    Running it again goes on from what is committed. Uses the Ray that is connected, or starts one; a dry run does not.

    Args:
        settings: what, where, how, and within which limits.
        quiet: show no progress.

    Raises:
        MaepressError: in one line, as an encode does; also when another sync, compaction or restore is at work on the
            archive, and when the listing is empty.
    """
    options = RunOptions(
        job="sync",
        exclusive=True,
        retire_share=settings.retire_share,
        stale_objects=settings.repress_objects,
        stale_minutes=settings.repress_minutes,
    )
    model, trial = tonights_model(settings, quiet=quiet)
    settings = settings.model_copy(update={"model": model})
    if settings.dry_run:
        return SyncResult(_plan(settings, options), None, settings.retire_share)
    done, plan = run_encode(settings, options, quiet=quiet)
    return SyncResult(plan, done, settings.retire_share, trial)


def _plan(settings: SyncSettings, options: RunOptions) -> EncodePlan:
    """The plan alone; nothing is written anywhere."""
    source = open_source(settings.source)
    archive: Archive | None = Archive(settings.archive)
    try:
        open_table(Archive(settings.archive).images)
    except TableNotFoundError:
        archive = None  # it would be made
    fingerprint = Codec.load(local_model(settings.model)).fingerprint
    return make_plan(source, archive, None, plan_options(settings, fingerprint, options))
