"""Errors caused by input; the message is one line for the user that names the thing and the remedy."""


class MaepressError(Exception):
    """Base of every error that a user can cause. Its text is one line, printed unchanged.

    The text does not depend on `args`, to which Ray Data appends advice on retries.

    Attributes:
        message: the line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class DamagedPayload(MaepressError):
    """The bytes are not an intact payload: wrong magic, truncated, failed checksum, impossible sizes."""


class WrongModel(MaepressError):
    """A payload was encoded by another model than the one that should decode it; the message names both."""


class MissingPackage(MaepressError):
    """An optional package is not installed, or only an unsuitable version; no object is to blame."""


class UnsupportedImage(MaepressError):
    """The image is of a kind that the codec does not encode (16-bit, CMYK, no pixels ...)."""
