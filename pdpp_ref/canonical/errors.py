"""Why a write was refused.  Each error has the `code` that the API answers with."""


class Refused(Exception):
    """The write can't be carried out; nothing was stored."""

    code: str


class NotFound(Refused):
    """The target of the write does not exist."""


class ConnectionNotFound(NotFound):
    code = "connection_not_found"


class StreamNotFound(NotFound):
    code = "stream_not_found"


class RecordNotFound(NotFound):
    code = "record_not_found"


class ConnectorMismatch(Refused):
    """The connection belongs to another connector, `owner`."""

    code = "connector_mismatch"

    def __init__(self, owner: str) -> None:
        self.owner = owner
        super().__init__(owner)


class BlobTooLarge(Refused):
    """The file is over the limit."""

    code = "body_too_large"


class DigestMismatch(Refused):
    """The bytes received do not have the announced digest."""

    code = "digest_mismatch"


class TempStorageFull(Refused):
    """The temporary folder has no room for the file."""

    code = "storage_unavailable"
