"""Before an ipc path is bound: libzmq deletes whatever is there, a regular file or a live server's socket alike.

A lock file beside the path says that it is ours; a socket that still accepts belongs to somebody; anything that is
not a socket is not touched.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from contextlib import suppress

from ..errors import AddressInUse, ConfigurationError


class IpcPath:
    """Claims a path for binding; raises AddressInUse or ConfigurationError instead of taking what is not ours."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock: int | None = None
        if path == "*" or path.startswith("@"):
            return  # libzmq makes a fresh path, or the name is abstract: there is no file
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise ConfigurationError(f"ipc://{path}: the folder {folder!r} does not exist; make it first (mode 0700)")
        try:
            self._lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigurationError(f"ipc://{path}: {error.strerror}; choose a folder you may write to") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._lock), os.stat(f"{path}.lock")):
                raise FileNotFoundError  # its last owner has removed the file meanwhile: this lock says nothing
        except OSError:
            self._drop_lock()
            raise AddressInUse(f"ipc://{path} is bound by another server; stop it, or choose another path") from None
        try:
            self._check(path)
        except BaseException:
            self.release()
            raise

    @staticmethod
    def _check(path: str) -> None:
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ConfigurationError(f"ipc://{path} is not a socket, and binding would delete it; choose another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            with suppress(ConnectionRefusedError, FileNotFoundError):
                probe.connect(path)
                raise AddressInUse(f"ipc://{path} is bound by another process; stop it, or choose another path")

    def bound(self) -> None:
        """The socket exists now: only its owner may connect."""
        if self._lock is not None:
            with suppress(OSError):
                os.chmod(self._path, 0o700)

    def release(self) -> None:
        """Give the path back."""
        if self._lock is not None:
            with suppress(OSError):
                os.unlink(f"{self._path}.lock")
            self._drop_lock()

    def _drop_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
