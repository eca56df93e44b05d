"""How tests compare files of megabytes: pytest would print their difference for hours."""

import hashlib


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
