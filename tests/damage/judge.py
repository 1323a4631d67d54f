"""The findings of `verify`, without Ray: thousands of damaged archives are judged in one process."""

import itertools

import pyarrow as pa

from pipeline.archive.archive import Archive
from pipeline.execution.packing import unpack
from pipeline.verify.archive_checks import CHECKS, images_log, model_problems
from pipeline.verify.result import Finding
from pipeline.verify.run import _check
from pipeline.verify.survey import survey as survey_of


def problems_of(url: str, *, models: bool = True) -> list[str]:
    """What `verify` would name, one line each; an error that ends it is a problem as well.

    No picture is decoded: payloads with their hashes and checksums, and models with their
    fingerprints, decode to what they were.

    Args:
        url: of the archive.
        models: load the models; False where their files are known to be sound.
    """
    try:
        archive = Archive.open(url)
        checks = [check for check in CHECKS if models or check is not model_problems]
        files, named = images_log(archive)
        found = [
            f"{what}: {problem}" for what, problem in itertools.chain(named, *(check(archive) for check in checks))
        ]
        survey = survey_of(archive, [file.shard for file in files], "0", None)
        found += [f"{key}: twice" for key in survey.repeated]
        known = frozenset(archive.models())
        for file in files:
            for table in _check(pa.table({"shard": [file.to_json()]}), archive, known, survey.sample):
                finding = unpack(table["item"][0])
                if isinstance(finding, Finding) and finding.problem:
                    found.append(f"{finding.key}: {finding.problem}")
    except Exception as e:
        return [f"{type(e).__name__}: {e}"]
    return found
