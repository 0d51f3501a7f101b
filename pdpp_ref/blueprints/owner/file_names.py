"""Names of downloaded files, which every system allows, whatever the names of what is in them."""

import hashlib
import re
from collections.abc import Iterable

_LONGEST = 40
_OTHER = re.compile(r"[^a-z0-9_]+")


def file_name(names: Iterable[str], moment: str, kind: str) -> str:
    """Such as `pdpp-laptop-notes-2026-01-31T08-00-00Z.zip`."""
    words = ["pdpp", *map(_word, names), f"{moment[:19].replace(':', '-')}Z"]
    return f"{'-'.join(words)}.{kind}"


def _word(name: str) -> str:
    """The name if it is plain.  Otherwise its plain part and a digest, so that no two names become one.

    Letters are small: some systems do not distinguish them from large ones.
    """
    plain = _OTHER.sub("-", name.lower()).strip("-")[:_LONGEST].rstrip("-")
    if plain == name:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest
