"""Commands without their start: each is a process of its own, forked from one that has loaded the modules already.

Most tests of the command line wait for nothing but imports. What starts look like, and what loader processes do, is for
those that start a process themselves, or give one another environment.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_MODULES = (
    "capcli.cli.app",
    "capcli.cli.caption",
    "capcli.captioner",
    "capcli.captioning",
    "capcli.outputs.row_file",
    "onnxruntime",
)
_SERVER = "import sys; from tests.warm_start import serve; serve(int(sys.argv[1]))"
_LARGEST_REQUEST = 1 << 20


class WarmCommand:
    """The command `program`, whose starts are forks; what it loads is loaded with `environment`."""

    def __init__(self, program: Path, environment: dict[str, str]) -> None:
        self._program = program
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-c", _SERVER, str(theirs.fileno())],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
            )

    def run(
        self,
        arguments: list[bytes],
        environment: dict[str, str],
        *,
        cwd: Path | None,
        stdin: bytes | None,
        timeout: float,
        killed_when: Callable[[], bool] | None = None,
    ) -> tuple[int, bytes, bytes]:
        """Exit code as `subprocess` has it, and what was printed.

        Args:
            killed_when: asked all the time; kill -9 comes when it says so, unless the command has ended.
        """
        request = {
            "arguments": [os.fsdecode(each) for each in (os.fsencode(self._program), *arguments)],
            "cwd": str(cwd or Path.cwd()),
            "environment": environment,
        }
        inward, outward, errors = os.pipe(), os.pipe(), os.pipe()
        printed: dict[int, bytes] = {}

        def read(end: int) -> None:
            with open(end, "rb") as file:
                printed[end] = file.read()

        def write() -> None:
            try:
                with open(inward[1], "wb") as file:
                    file.write(stdin or b"")
            except BrokenPipeError:
                pass

        theirs = [inward[0], outward[1], errors[1]]
        socket.send_fds(self._socket, [json.dumps(request).encode()], theirs)
        for end in theirs:
            os.close(end)
        threads = [threading.Thread(target=read, args=(end,)) for end in (outward[0], errors[0])]
        threads.append(threading.Thread(target=write))
        for thread in threads:
            thread.start()
        self._socket.settimeout(timeout)
        try:
            child = int(self._socket.recv(64))
            while killed_when is not None and not select.select([self._socket], [], [], 0.0005)[0]:
                if killed_when():
                    os.kill(child, signal.SIGKILL)
                    break
            status = int(self._socket.recv(64))
        except TimeoutError:
            self.close()
            raise
        for thread in threads:
            thread.join()
        return os.waitstatus_to_exitcode(status), printed[outward[0]], printed[errors[0]]

    def close(self) -> None:
        """Ends the process that is forked, and a command that still runs."""
        self._socket.close()
        self._server.kill()
        self._server.communicate()


def serve(number: int) -> None:
    """Forks for each request on a socket; returns in the forked process alone, as the command ends."""
    import importlib

    from PIL import Image

    from capcli.runtime.telemetry import disable_telemetry

    disable_telemetry()
    for name in _MODULES:
        importlib.import_module(name)
    Image.init()
    connection = socket.socket(fileno=number)
    while True:
        request, given, _, _ = socket.recv_fds(connection, _LARGEST_REQUEST, 3)
        if not request:
            os._exit(0)
        child = os.fork()
        if not child:
            break
        for end in given:
            os.close(end)
        connection.send(str(child).encode())
        connection.send(str(os.waitpid(child, 0)[1]).encode())
    connection.close()
    for place, end in enumerate(given):
        os.dup2(end, place)
        os.close(end)
    wanted = json.loads(request)
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.argv = wanted["arguments"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from capcli.cli import main
    from capcli.inputs import loaders

    # Their starts are starts, too: photos are read by threads, as those of a photo named alone are.
    loaders.Loaders = lambda count: None  # type: ignore[assignment,misc]
    main()
