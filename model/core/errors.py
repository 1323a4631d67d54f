"""Errors whose message is written for the user: one line that names the thing and the remedy."""


class MaepressError(Exception):
    """Root of every error that a user can cause. Its text is one clear line, fit to be printed as it is."""


class DamagedPayload(MaepressError):
    """The bytes are not a whole, intact payload: wrong magic, cut short, failed checksum, impossible sizes."""


class WrongModel(MaepressError):
    """A payload was pressed by another model than the one that should decode it; the message names both."""


class UnsupportedImage(MaepressError):
    """The image is of a kind that the codec does not code (16-bit, CMYK, no pixels ...)."""
