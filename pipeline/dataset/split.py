"""The split into training and validation images, by a hash of the key."""

import hashlib


def is_held_out(key: str, share: float) -> bool:
    """Whether a key belongs to the validation split; adding or removing other images never changes that."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) < share * 2**64


def split(keys: list[str], share: float) -> tuple[list[str], list[str]]:
    """Keys to train on and keys held out; neither is empty if there are two keys or more."""
    held_out = [k for k in keys if is_held_out(k, share)] or keys[:1]
    kept = [k for k in keys if k not in set(held_out)]
    return (kept, held_out) if kept else (keys[1:], keys[:1])
