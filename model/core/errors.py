"""Errors caused by input; the message is one line for the user that names the thing and the remedy."""


class MaepressError(Exception):
    """Base of every error that a user can cause. Its text is one line, printed unchanged."""


class DamagedPayload(MaepressError):
    """The bytes are not an intact payload: wrong magic, truncated, failed checksum, impossible sizes."""


class WrongModel(MaepressError):
    """A payload was encoded by another model than the one that should decode it; the message names both."""


class UnsupportedImage(MaepressError):
    """The image is of a kind that the codec does not encode (16-bit, CMYK, no pixels ...)."""
