"""What an image is known by: its file's content, byte for byte, wherever the file lies. Knows nothing of pixels."""

from __future__ import annotations

import hashlib
from io import BufferedReader, BytesIO

# Of a key, which is written in twice as many hexadecimal digits.
KEY_BYTES = 16


def content_key(file: BufferedReader | BytesIO) -> str:
    """The key of a file's content, from where it stands to its end.

    Raises:
        OSError: the file cannot be read.
    """
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=KEY_BYTES)).hexdigest()
