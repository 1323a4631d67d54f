"""The list of jobs with a line about each, and how a job's name leads to its module.

Nothing is imported before a job is loaded, so that `maepress --help` answers at once.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.framework.job import Job

SUMMARIES = {
    "train": "train a codec on images, or adapt one to them",
    "encode": "encode new and changed images into an archive",
    "sync": "the nightly job: encode new and changed images, retire rows whose source is gone",
    "decode": "write an archive's images to files",
    "export": "leave maepress: every key in a standard format, and a list of what each file lacks",
    "status": "show counts, bytes, ratio, quality, models, rejections, versions",
    "verify": "check every payload, and decode a sample to its recorded fidelity",
    "history": "list an archive's versions: time, job, number of rows",
    "restore": "go back to an older version of rows and rejections",
    "vacuum": "remove files that no recent version and no running job needs",
    "release": "check that an archive can replace its originals, and delete those that it can",
    "forget": "erase images from every version of an archive, and bar their keys",
    "compact": "join small shards; nothing is compressed again",
    "replicate": "keep a second copy of an archive, which is an archive itself",
    "duplicates": "list images that an archive holds more than once, with the bytes to save",
    "estimate": "predict savings, time and cost of encoding a source, from a sample",
    "evaluate": "compare a model with JPEG, WebP, AVIF and JPEG XL in an HTML report",
    "browse": "serve a web page over an archive: search, thumbnails, source beside compressed image",
    "probe": "classify images by their latents, without decoding: precision, recall, F1 per class",
    "tune": "search for the best training settings",
    "submit": "run any of these jobs on a cluster",
    "compress": "compress one image into a file",
    "decompress": "decode one .mae file to an image",
    "demo": "try all of it on sample photographs, or the codec alone",
}
"""Names of the jobs, in the order of the overview, and one line about each."""
NAMES = tuple(SUMMARIES)


def load(name: str) -> "Job[object]":  # type: ignore[type-var]  # each job has its own settings class
    """The job of that name."""
    job: Job[object] = importlib.import_module(f"jobs.commands.{name}").JOB  # type: ignore[type-var]
    return job
