"""What requests to S3 carry beside credentials: who pays, how objects are encrypted, in which class they are stored.

    MAEPRESS_S3_REQUEST_PAYER=requester          buckets whose reader pays (a source, mostly)
    MAEPRESS_S3_SSE=aws:kms                      also AES256, aws:kms:dsse
    MAEPRESS_S3_SSE_KMS_KEY_ID=arn:aws:kms:...
    MAEPRESS_S3_STORAGE_CLASS=INTELLIGENT_TIERING

They come from the environment, like the endpoint, and hold for all buckets of a process. A botocore event adds them to
every request that knows the parameter, ours and those of s3fs. deltalake, which writes the log, takes the first three;
the log stays in the standard class.
"""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.storage.base import StorageError

PAYER, SSE, KEY, CLASS = (f"MAEPRESS_S3_{name}" for name in ("REQUEST_PAYER", "SSE", "SSE_KMS_KEY_ID", "STORAGE_CLASS"))
VARIABLES = (PAYER, SSE, KEY, CLASS)
_ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")
_CLASSES = ("STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "REDUCED_REDUNDANCY")
"""Classes whose objects can be read at once; others would make an archive that nothing can read."""
SMALLEST_BYTES = 128 << 10
"""Smaller objects stay in the standard class: others bill at least this much for each."""


@dataclass(frozen=True, slots=True)
class S3Options:
    """The options of a process; empty texts for what is not set."""

    payer: str = ""
    encryption: str = ""
    kms_key: str = ""
    storage_class: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> "S3Options":
        """The options in the environment.

        Raises:
            StorageError: for a value that S3 does not know, or that would make objects unreadable.
        """
        payer, encryption, key, class_ = (environ.get(name, "") for name in VARIABLES)
        for name, value, known in (
            (PAYER, payer, ("requester",)),
            (SSE, encryption, _ENCRYPTIONS),
            (CLASS, class_, _CLASSES),
        ):
            if value and value not in known:
                raise StorageError(f"{name}={value}: must be {' or '.join(known)}")
        if key and not encryption.startswith("aws:kms"):
            raise StorageError(f"{KEY} needs {SSE}=aws:kms")
        return cls(payer, encryption, key, class_)

    def add_to(self, parameters: dict[str, Any], known: Mapping[str, Any], operation: str) -> None:
        """Add the options to a request, where it knows them and does not have them.

        Args:
            parameters: of the request, changed in place.
            known: the names that the operation takes.
            operation: such as "PutObject".
        """
        wanted = {"RequestPayer": self.payer}
        if operation in ("PutObject", "CreateMultipartUpload", "CopyObject"):
            wanted |= {"ServerSideEncryption": self.encryption, "SSEKMSKeyId": self.kms_key}
            if operation != "PutObject" or _size(parameters.get("Body")) >= SMALLEST_BYTES:
                wanted["StorageClass"] = self.storage_class
        for name, value in wanted.items():
            if value and name in known:
                parameters.setdefault(name, value)

    def for_deltalake(self) -> dict[str, str]:
        """The same for deltalake's object store."""
        options = {"aws_request_payer": "true"} if self.payer else {}
        if self.encryption:
            options["aws_server_side_encryption"] = self.encryption
        if self.kms_key:
            options["aws_sse_kms_key_id"] = self.kms_key
        return options


def _size(body: object) -> int:
    """Bytes of a request's body, which botocore makes a file of."""
    return body.getbuffer().nbytes if isinstance(body, io.BytesIO) else len(body) if isinstance(body, bytes) else 0
