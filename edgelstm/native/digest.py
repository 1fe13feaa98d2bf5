"""The hash that names and verifies what the cache holds."""

try:
    from _blake2 import blake2b  # hashlib's own, without OpenSSL, which takes milliseconds to load
except ImportError:
    from hashlib import blake2b

SIZE = 32


def digest(content: bytes) -> bytes:
    """The digest of content."""
    return blake2b(content, digest_size=SIZE).digest()


def name(*words: str) -> str:
    """A file name made of everything that determines the file's content."""
    return digest("\0".join(words).encode()).hex()
