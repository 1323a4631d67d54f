"""Sync: bring an archive in line with its source, removals included. The nightly job.

    listing + archive --plan--> new, changed, gone, stale --encode--> archive

A sync is an encode that may also remove and renew rows:

- Rows whose source is gone are retired, unless they are more than a set share of those compared: a
  source that lost a tenth of its objects overnight is more likely broken than cleared out. In that
  case no row is retired, all other work is done, and the result contains a warning. A listing that
  fails or is empty ends the run before anything is planned.
- Rows made by another model or to another target are compressed again if asked for, up to a number
  or a time per run.
- Every few nights, if asked for, the codec is trained on the source first
  (`pipeline.sync.model_adaptation`).
- Of two runs at the same time the second ends at once (`pipeline.runs.lease`).
"""

from dataclasses import asdict, dataclass

from deltalake.exceptions import TableNotFoundError

from model.core.model_files import claimed_fingerprint
from pipeline.archive.archive import Archive
from pipeline.archive.log.delta_table import open_table
from pipeline.archive.model_store import local_model
from pipeline.encode.run import EncodeResult, RunOptions, checked_source, opened_source, plan_options, run_encode
from pipeline.planning.planner import EncodePlan, make_plan
from pipeline.sync.model_adaptation import AdaptationTrial, choose_model
from pipeline.sync.settings import SyncSettings

__all__ = ["SyncResult", "SyncSettings", "sync"]


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The result of a sync.

    Attributes:
        plan: the totals of its plan.
        done: the result of its encode; None for a dry run.
        retire_share: the limit on retired rows, as a share of those compared with the source.
        adapted: the result of adapting the model; None when no trial was due.
    """

    plan: EncodePlan
    done: EncodeResult | None
    retire_share: float
    adapted: AdaptationTrial | None = None

    @property
    def warning(self) -> str | None:
        """Why gone rows were not retired; None when they were, or when none may be retired."""
        if not self.plan.withheld or not self.retire_share:
            return None
        return (
            f"{self.plan.gone:,} of {self.plan.compared:,} rows are gone from the source, more than "
            f"{self.retire_share:.0%}: none was retired; if the source is right, run again with --retire-share 1"
        )

    def to_dict(self) -> dict[str, object]:
        """The plan, the results and the warning as JSON values."""
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
    """Compress what is new or changed, retire what is gone, and compress again what is stale.

    Running it again continues from the last commit. Uses the Ray that is connected, or starts one;
    a dry run needs no Ray.

    Args:
        settings: source, archive, model, target and limits.
        quiet: show no progress.

    Raises:
        MaepressError: in one line, as an encode does; also while another sync, a compaction or a
            restore of the archive runs, and when the listing is empty.
    """
    options = RunOptions(
        job="sync",
        exclusive=True,
        retire_share=settings.retire_share,
        stale_objects=settings.repress_objects,
        stale_minutes=settings.repress_minutes,
    )
    if not settings.dry_run:
        checked_source(settings)  # before a model is trained, as that takes long
    trial = None
    if settings.needs_model:
        model, trial = choose_model(settings, quiet=quiet)
        settings = settings.model_copy(update={"model": model})
    if settings.dry_run:
        return SyncResult(_plan(settings, options), None, settings.retire_share)
    done, plan = run_encode(settings, options, quiet=quiet)
    return SyncResult(plan, done, settings.retire_share, trial)


def _plan(settings: SyncSettings, options: RunOptions) -> EncodePlan:
    """The plan alone; nothing is written."""
    source = opened_source(settings)
    archive: Archive | None = Archive(settings.archive)
    try:
        open_table(Archive(settings.archive).images)
    except TableNotFoundError:
        archive = None  # a real run would create it
    fingerprint = claimed_fingerprint(local_model(settings.model)) if settings.needs_model else ""
    return make_plan(source, archive, None, plan_options(settings, fingerprint, options))
