"""The checksum of a file: SHA-256."""

import sys
from collections.abc import Sequence
from importlib import import_module

try:
    _sha256 = import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256
except ImportError:
    from hashlib import sha256 as _sha256

LITTLE = 1 << 19  # bytes that Python's own code hashes while OpenSSL, which is faster, is being loaded


def hex_digest(parts: Sequence[memoryview | bytes]) -> str:
    """The digest of parts that follow each other."""
    digest = _hash(sum(map(len, parts)))()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _hash(size: int):
    if size <= LITTLE:
        return _sha256
    from hashlib import sha256

    return sha256
