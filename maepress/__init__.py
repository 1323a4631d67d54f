"""The public Python API of maepress. What is listed here stays; everything behind it may move.

    import maepress

    codec = maepress.Codec.load("base")
    (payload,) = codec.compress([maepress.Picture(pixels)], quality=40)

    maepress.encode(maepress.EncodeSettings(source="photos", archive="archive"))
    picture = maepress.read_image(maepress.Archive.open("archive"), "2024/cat.jpg")

`import maepress` loads nothing heavy. A name's module, and with it torch, Ray or PyArrow, is imported when the name is
first used (PEP 562). `import maepress.pillow_plugin` teaches Pillow to read and write `.mae` files.

Functions that need Ray use the Ray that is connected, or start one on this machine. Every error that a user can cause
is a `MaepressError` whose text is one line.
"""

import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

from maepress import _packages

if TYPE_CHECKING:
    from jobs.web.viewer.app import make_app as make_app
    from jobs.web.viewer.signing import signed_address as signed_address
    from model.codec import Codec as Codec
    from model.core.errors import DamagedPayload as DamagedPayload
    from model.core.errors import MaepressError as MaepressError
    from model.core.errors import UnsupportedImage as UnsupportedImage
    from model.core.errors import WrongModel as WrongModel
    from model.core.picture import Picture as Picture
    from model.core.target import Target as Target
    from pipeline.archive.archive import Archive as Archive
    from pipeline.archive.archive import ArchiveMissing as ArchiveMissing
    from pipeline.archive.log.commits import CommitConflict as CommitConflict
    from pipeline.archive.reader import read_image as read_image
    from pipeline.dataset.cache import LatentCache as LatentCache
    from pipeline.dataset.ray_dataset import read_archive as read_archive
    from pipeline.dataset.torch_dataset import ArchiveImages as ArchiveImages
    from pipeline.decode.export import ExportResult as ExportResult
    from pipeline.decode.export import export as export
    from pipeline.decode.run import DecodeResult as DecodeResult
    from pipeline.decode.run import decode as decode
    from pipeline.decode.settings import DecodeSettings as DecodeSettings
    from pipeline.decode.settings import ExportSettings as ExportSettings
    from pipeline.duplicates.result import DuplicatesResult as DuplicatesResult
    from pipeline.duplicates.run import duplicates as duplicates
    from pipeline.duplicates.settings import DuplicatesSettings as DuplicatesSettings
    from pipeline.encode.run import EncodeResult as EncodeResult
    from pipeline.encode.run import encode as encode
    from pipeline.encode.settings import EncodeSettings as EncodeSettings
    from pipeline.estimate.run import EstimateResult as EstimateResult
    from pipeline.estimate.run import estimate as estimate
    from pipeline.estimate.settings import EstimateSettings as EstimateSettings
    from pipeline.evaluate.result import Evaluation as Evaluation
    from pipeline.evaluate.run import evaluate as evaluate
    from pipeline.evaluate.settings import EvaluateSettings as EvaluateSettings
    from pipeline.forget.run import ForgetResult as ForgetResult
    from pipeline.forget.run import forget as forget
    from pipeline.forget.settings import ForgetSettings as ForgetSettings
    from pipeline.maintain.compact import CompactResult as CompactResult
    from pipeline.maintain.compact import compact as compact
    from pipeline.maintain.history import HistoryEntry as HistoryEntry
    from pipeline.maintain.history import history as history
    from pipeline.maintain.replicate import ReplicateResult as ReplicateResult
    from pipeline.maintain.replicate import replicate as replicate
    from pipeline.maintain.restore import RestoreResult as RestoreResult
    from pipeline.maintain.restore import restore as restore
    from pipeline.maintain.settings import CompactSettings as CompactSettings
    from pipeline.maintain.settings import HistorySettings as HistorySettings
    from pipeline.maintain.settings import ReplicateSettings as ReplicateSettings
    from pipeline.maintain.settings import RestoreSettings as RestoreSettings
    from pipeline.maintain.settings import StatusSettings as StatusSettings
    from pipeline.maintain.settings import VacuumSettings as VacuumSettings
    from pipeline.maintain.status import ArchiveStatus as ArchiveStatus
    from pipeline.maintain.status import status as status
    from pipeline.maintain.vacuum import VacuumResult as VacuumResult
    from pipeline.maintain.vacuum import vacuum as vacuum
    from pipeline.probe.fitting import answers as answers
    from pipeline.probe.fitting import fit as fit
    from pipeline.probe.heads import ClassHead as ClassHead
    from pipeline.probe.heads import DenseHead as DenseHead
    from pipeline.probe.heads import Head as Head
    from pipeline.probe.heads import Trunk as Trunk
    from pipeline.probe.run import ProbeResult as ProbeResult
    from pipeline.probe.run import probe as probe
    from pipeline.probe.settings import ProbeSettings as ProbeSettings
    from pipeline.release.result import ReleaseResult as ReleaseResult
    from pipeline.release.run import release as release
    from pipeline.release.settings import ReleaseSettings as ReleaseSettings
    from pipeline.runs.lease import LeaseHeld as LeaseHeld
    from pipeline.storage.base import StorageError as StorageError
    from pipeline.sync.run import SyncResult as SyncResult
    from pipeline.sync.run import sync as sync
    from pipeline.sync.settings import SyncSettings as SyncSettings
    from pipeline.train.run import TrainResult as TrainResult
    from pipeline.train.run import train as train
    from pipeline.train.settings import TrainSettings as TrainSettings
    from pipeline.verify.run import VerifyResult as VerifyResult
    from pipeline.verify.run import verify as verify
    from pipeline.verify.settings import VerifySettings as VerifySettings

_NAMES_OF = {
    "jobs.web.viewer.app": ("make_app",),
    "jobs.web.viewer.signing": ("signed_address",),
    "model.codec": ("Codec",),
    "model.core.errors": ("DamagedPayload", "MaepressError", "UnsupportedImage", "WrongModel"),
    "model.core.picture": ("Picture",),
    "model.core.target": ("Target",),
    "pipeline.archive.archive": ("Archive", "ArchiveMissing"),
    "pipeline.archive.log.commits": ("CommitConflict",),
    "pipeline.release.result": ("ReleaseResult",),
    "pipeline.release.run": ("release",),
    "pipeline.release.settings": ("ReleaseSettings",),
    "pipeline.runs.lease": ("LeaseHeld",),
    "pipeline.archive.reader": ("read_image",),
    "pipeline.dataset.cache": ("LatentCache",),
    "pipeline.dataset.ray_dataset": ("read_archive",),
    "pipeline.dataset.torch_dataset": ("ArchiveImages",),
    "pipeline.decode.run": ("DecodeResult", "decode"),
    "pipeline.decode.settings": ("DecodeSettings", "ExportSettings"),
    "pipeline.duplicates.result": ("DuplicatesResult",),
    "pipeline.duplicates.run": ("duplicates",),
    "pipeline.duplicates.settings": ("DuplicatesSettings",),
    "pipeline.encode.run": ("EncodeResult", "encode"),
    "pipeline.encode.settings": ("EncodeSettings",),
    "pipeline.estimate.run": ("EstimateResult", "estimate"),
    "pipeline.estimate.settings": ("EstimateSettings",),
    "pipeline.evaluate.result": ("Evaluation",),
    "pipeline.evaluate.run": ("evaluate",),
    "pipeline.decode.export": ("ExportResult", "export"),
    "pipeline.evaluate.settings": ("EvaluateSettings",),
    "pipeline.forget.run": ("ForgetResult", "forget"),
    "pipeline.forget.settings": ("ForgetSettings",),
    "pipeline.maintain.compact": ("CompactResult", "compact"),
    "pipeline.maintain.history": ("HistoryEntry", "history"),
    "pipeline.maintain.replicate": ("ReplicateResult", "replicate"),
    "pipeline.maintain.restore": ("RestoreResult", "restore"),
    "pipeline.maintain.settings": (
        "CompactSettings",
        "HistorySettings",
        "ReplicateSettings",
        "RestoreSettings",
        "StatusSettings",
        "VacuumSettings",
    ),
    "pipeline.maintain.status": ("ArchiveStatus", "status"),
    "pipeline.maintain.vacuum": ("VacuumResult", "vacuum"),
    "pipeline.probe.fitting": ("answers", "fit"),
    "pipeline.probe.heads": ("ClassHead", "DenseHead", "Head", "Trunk"),
    "pipeline.probe.run": ("ProbeResult", "probe"),
    "pipeline.probe.settings": ("ProbeSettings",),
    "pipeline.storage.base": ("StorageError",),
    "pipeline.sync.run": ("SyncResult", "sync"),
    "pipeline.sync.settings": ("SyncSettings",),
    "pipeline.train.run": ("TrainResult", "train"),
    "pipeline.train.settings": ("TrainSettings",),
    "pipeline.verify.run": ("VerifyResult", "verify"),
    "pipeline.verify.settings": ("VerifySettings",),
}
"""The public names of each module; a test compares them with the imports above, which type checkers read."""
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}

__all__ = list(_MODULE_OF)

_packages.bind()
_hidden_ones_named = False


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("maepress")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'maepress' has no attribute {name!r}")
    _check_packages()
    try:
        found = getattr(importlib.import_module(_MODULE_OF[name]), name)
    except ModuleNotFoundError as e:
        from model.core.extras import missing_package

        if (lacking := missing_package(e)) is None:
            raise
        raise ImportError(f"maepress.{name}: {lacking}", name=e.name) from e
    globals()[name] = found  # the next use does not come here
    return found


def _check_packages() -> None:
    """Refuse to work with somebody else's package of our name; warn, once, that one on the path is hidden.

    Raises:
        ImportError: one line that names the module and the remedy.
    """
    global _hidden_ones_named
    if (problem := _packages.intruder()) is not None:
        raise ImportError(problem)
    if not _hidden_ones_named and (hidden := _packages.hidden(sys.path)) is not None:
        warnings.warn(hidden, stacklevel=3)
    _hidden_ones_named = True


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF, "__version__"})
