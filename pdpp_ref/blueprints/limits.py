"""The largest bodies of requests, in bytes.  A larger body is 413 `body_too_large`."""

from ..canonical.blobs import MAX_BYTES as MAX_BLOB_BYTES

__all__ = ["MAX_BLOB_BYTES", "MAX_FORM_BYTES", "MAX_INGEST_BYTES", "MAX_UNPACKED_BYTES"]

# Of forms and small JSON, and of any request without a token that may write.
MAX_FORM_BYTES = 1024 * 1024
MAX_INGEST_BYTES = 1024**3
# Of a compressed body of ingest, unpacked.
MAX_UNPACKED_BYTES = 8 * 1024**3
