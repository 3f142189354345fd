"""A lock that the system drops however its holder ends, on POSIX and on Windows."""

from __future__ import annotations

import errno
import os
from typing import IO, Any

_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}


def take(file: IO[Any]) -> bool:
    """Lock an open file until it is closed, without waiting; false where its file system has no locks (NFS and Lustre
    may be mounted so).

    Raises:
        BlockingIOError: somebody else holds it.
    """
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise BlockingIOError(error.errno, "somebody else holds it") from None
        return False
    return True
