"""Traces of keys outside the tables: records of runs, plans of killed ones, unfinished files, working folders."""

import functools
import json
from collections.abc import Iterator
from typing import Any

from model.core.boundary import Fault, attempt
from model.core.model_files import CONFIG
from pipeline.archive.archive import Archive
from pipeline.archive.ledgers.erasures import BarredKeys
from pipeline.archive.ledgers.origin import FOLDER as ORIGIN
from pipeline.runs.checks import FOLDER as CHECKS
from pipeline.runs.checks import files_with_keys
from pipeline.runs.heartbeat import list_runs
from pipeline.runs.record import FOLDER, is_sealed, with_checksum
from pipeline.storage.base import Fetched
from pipeline.storage.places import store_at

ERASED = "(removed by an erasure)"
_WORK_FOLDERS = ("adapting", ORIGIN)
"""A half-trained model, and what a replica keeps of its archive's logs, which the next replication copies again."""
_MOST_BYTES = 16 << 20
_WITHOUT_KEYS = frozenset({"run", "model", "model_name", "codecs"})
"""Members of a run's result that never quote what its source holds."""
_GLOBS = frozenset({"include", "exclude"})
"""Settings that may name folders of a person."""


def clean_records(archive: Archive, barred: BarredKeys) -> int:
    """Remove keys from the records of runs, and all texts that may quote them. Returns the number of changed records.

    Of an erasure that was interrupted nothing but the hashes of its keys is left. So a text that is a key goes if it is
    an erased one; errors, reasons, names of folders and globs, in which no key can be looked for, go as a whole.

    Args:
        archive: of the records.
        barred: all erased keys.
    """
    folder = archive.root.child(FOLDER)
    if not folder.root_exists():
        return 0
    names = [entry.key for entry in folder.entries()]
    changed = 0
    for got in folder.fetch(names, _MOST_BYTES):
        facts = _facts(got)
        sealed = isinstance(got, Fetched) and is_sealed(got.data)
        if facts is None or not sealed:  # who knows what it names, and where
            folder.delete(got.key)
            changed += 1
            continue
        cleaned = _cleaned(facts, barred)
        if cleaned != facts:
            folder.put(got.key, with_checksum(cleaned))
            changed += 1
    return changed


def remove_checks(archive: Archive) -> int:
    """Delete records of checks that name keys, or may, as they are damaged: their shards count as never checked.

    Returns the number.
    """
    found = files_with_keys(archive.root)
    for name in found:
        archive.root.delete(f"{CHECKS}/{name}")
    return len(found)


def _facts(got: object) -> dict[str, Any] | None:
    facts = attempt(lambda: json.loads(got.data)) if isinstance(got, Fetched) else None
    return facts if isinstance(facts, dict) else None


def _cleaned(facts: dict[str, Any], barred: BarredKeys) -> dict[str, Any]:
    """A record without traces; its members keep their names, by which others read it."""
    facts = facts | ({"error": ERASED} if facts.get("error") else {})
    for part, clean in (("settings", _clean_setting), ("result", _clean_member)):
        if isinstance(members := facts.get(part), dict):
            facts[part] = {name: clean(name, value, barred) for name, value in members.items()}
    return facts


def _clean_setting(name: str, value: Any, barred: BarredKeys) -> Any:
    if name in _GLOBS:
        return [ERASED] if value else value
    return ERASED if isinstance(value, str) and value in barred else value


def _clean_member(name: str, value: Any, barred: BarredKeys) -> Any:
    """A member of a result: a text, a list of keys, or counts and texts by reason or folder."""
    if name in _WITHOUT_KEYS:
        return value
    if isinstance(value, list):
        return [ERASED if not isinstance(key, str) or key in barred else key for key in value]
    if isinstance(value, dict):
        counts = [count for count in value.values() if isinstance(count, int)]
        return {ERASED: sum(counts) if counts else ERASED} if value else value
    return ERASED if isinstance(value, str) else value


def remove_leftovers(archive: Archive, run: str) -> int:
    """Delete what killed runs left: plans, which list keys, unfinished files, half-trained models. Returns the number.

    Args:
        archive: no other run is at work on it.
        run: this one.
    """
    root = archive.root
    gone = [key for other in list_runs(root) if other.run != run for key in other.files]
    for folder in _WORK_FOLDERS:
        work = root.child(folder)
        if work.root_exists():
            gone += [f"{folder}/{entry.key}" for entry in work.entries()]
    for key in gone:
        root.delete(key)
    unfinished = [one for one in root.unfinished() if not one.key.startswith((f"plans/{run}/", "leases/"))]
    for one in unfinished:
        root.discard(one)
    return len(gone) + len(unfinished)


def adapted_models(archive: Archive) -> Iterator[str]:
    """Fingerprints of models in the archive that were trained on a source of it, as far as models and records tell."""
    sources = {place for record in _records(archive) if (place := _place(record.get("settings", {}).get("source")))}
    for fingerprint in archive.models():
        config = attempt(functools.partial(_config, archive, fingerprint))
        notes = config.get("notes") if isinstance(config, dict) else None
        trained_on = _place(notes.get("images")) if isinstance(notes, dict) else None
        if trained_on is not None and trained_on in sources:
            yield fingerprint


def _config(archive: Archive, fingerprint: str) -> Any:
    return json.loads(archive.root.get(f"models/{fingerprint}/{CONFIG}", _MOST_BYTES))


def _records(archive: Archive) -> Iterator[dict[str, Any]]:
    folder = archive.root.child(FOLDER)
    if folder.root_exists():
        for got in folder.fetch([entry.key for entry in folder.entries()], _MOST_BYTES):
            facts = _facts(got)
            if facts is not None and isinstance(facts.get("settings"), dict):
                yield facts


def _place(url: object) -> tuple[str, ...] | None:
    """Where a URL leads; None for what is no URL."""
    found = attempt(lambda: store_at(url).place()) if isinstance(url, str) else None
    return None if isinstance(found, Fault) else found
