"""Whether a path that a user has named is a tar: by its name, and by how the file begins.

Knows nothing of what is in it.
"""

from __future__ import annotations

from capcli.inputs.kinds import HEAD_BYTES, head_of, is_foreign, sniff

_SUFFIXES = (".tar", ".tar.gz", ".tgz")
GZIP = b"\x1f\x8b"
_BLOCK = 512


def is_tar(path: str) -> bool:
    """Whether a file is called like a tar, and does not begin like something else that is known."""
    if not path.lower().endswith(_SUFFIXES):
        return False
    start = head_of(path, _BLOCK)
    if start is None:
        return False
    if start.startswith(GZIP):
        return True
    # It takes a while to import, and most arguments are no tars.
    import tarfile

    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        # What is nothing else is a damaged tar, or an empty one: nothing but zeros.
        head = start[:HEAD_BYTES]
        return bool(head) and sniff(head) is None and not is_foreign(head)
    return True
