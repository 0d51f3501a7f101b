"""How files are named, and where a record names one."""

import re

import msgspec

BLOB_ID_PREFIX = "blob_sha256_"
_BLOB_ID = re.compile(rf"(?:{BLOB_ID_PREFIX})?([0-9a-fA-F]{{64}})", re.ASCII)


class _BlobRef(msgspec.Struct):
    blob_id: str


class _WithFile(msgspec.Struct):
    blob_ref: _BlobRef


_decoder = msgspec.json.Decoder(_WithFile)


def digest_in(blob_id: str) -> str | None:
    """The digest that a file's name has, with or without the prefix; None if it is not such a name."""
    found = _BLOB_ID.fullmatch(blob_id)
    return found[1].lower() if found else None


def file_of(data: str) -> str | None:
    """The digest of the file that a record names: `blob_ref.blob_id`, at the top level of its data."""
    if '"blob_ref"' not in data:  # most records name none
        return None
    try:
        return digest_in(_decoder.decode(data).blob_ref.blob_id)
    except (msgspec.DecodeError, RecursionError):
        return None
