"""Runs commands of capcli that can open no network socket: python -m tests.no_network '[["caption", "a.jpg"], ...]'

One that tries ends the process at once: in Python, whatever the system, by an audit hook; on Linux in any code, and in
all processes that are started, by the kernel. Prints the exit code of each command.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import sys
from typing import Any

NETWORK = 77

# How the kernel calls these machines, and the number of `socket` there.
_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
# Where the kernel shows the machine, the call and its first argument.
_MACHINE, _CALL, _ARGUMENT = 4, 0, 16
# Sockets that are files, and those by which drivers ask the kernel.
_AF_UNIX, _AF_NETLINK = 1, 16


class _Step(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.POINTER(_Step)))


def forbid_network() -> None:
    """Forbids all sockets but local ones, here and in what is started from here."""
    sys.addaudithook(_end_at_a_socket)
    if platform.system() != "Linux" or platform.machine() not in _MACHINES:
        return
    machine, call = _MACHINES[platform.machine()]
    steps = [
        _Step(_LOAD, 0, 0, _MACHINE),
        _Step(_IF_EQUAL, 0, 6, machine),
        _Step(_LOAD, 0, 0, _CALL),
        _Step(_IF_EQUAL, 0, 4, call),
        _Step(_LOAD, 0, 0, _ARGUMENT),
        _Step(_IF_EQUAL, 2, 0, _AF_UNIX),
        _Step(_IF_EQUAL, 1, 0, _AF_NETLINK),
        _Step(_RETURN, 0, 0, _KILL_PROCESS),
        _Step(_RETURN, 0, 0, _ALLOW),
    ]
    program = _Program(len(steps), (_Step * len(steps))(*steps))
    kernel = ctypes.CDLL(None, use_errno=True)
    if kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or kernel.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "no filter of system calls can be set")


def _end_at_a_socket(event: str, arguments: tuple[Any, ...]) -> None:
    local = event == "socket.__new__" and int(arguments[1]) in (_AF_UNIX, _AF_NETLINK)
    if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname") and not local:
        os._exit(NETWORK)


def main() -> None:
    forbid_network()
    from capcli.cli import run

    codes = [run(command) for command in json.loads(sys.argv[1])]
    print(json.dumps(codes), file=sys.stderr)


if __name__ == "__main__":
    main()
