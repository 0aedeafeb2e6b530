"""The blocks of code that README.md shows, word for word, and a shell that runs them as a reader would.

A test names a block by something that is in no other one, so that README.md and its tests cannot differ.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Finished, command, environment

README = Path(__file__).resolve().parents[2] / "README.md"
_BLOCK = re.compile(r"^```(?:sh|console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def block(part: str, placeholders: Mapping[str, str] | None = None) -> str:
    """The one block that holds `part`; of a session in a console, what is typed there.

    Args:
        placeholders: what a reader changes, such as an address, and what it is for the test.
    """
    found = [each for each in _BLOCK.findall(README.read_text("utf-8")) if part in each]
    assert len(found) == 1, f"README.md: {len(found)} blocks of code have {part!r}, not one"
    code: str = found[0]
    if code.startswith("$ "):
        code = "".join(line[2:] for line in code.splitlines(keepends=True) if line.startswith("$ "))
    for example, ours in (placeholders or {}).items():
        assert code.count(example) == 1, f"README.md: {example!r} is not once in the block with {part!r}"
        code = code.replace(example, ours)
    return code


def need(*tools: str) -> None:
    """Skips the test where one of the programs is not there."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")


@dataclass(frozen=True)
class Shell:
    """Bash in a folder of its own, where `capcli` is the installed command and `model` its default model."""

    folder: Path
    model: Path

    def run(self, code: str, **env: str) -> Finished:
        """Runs lines to their end; the first that fails is the last."""
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", code],
            cwd=self.folder,
            env={**self._environment(), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, code: str) -> Generator[subprocess.Popen[bytes]]:
        """Runs lines that have no end but SIGTERM, which comes at the end of the block."""
        # A group of its own, as an interactive shell gives each line.
        with subprocess.Popen(
            ["bash", "-c", code], cwd=self.folder, env=self._environment(), start_new_session=True
        ) as process:
            try:
                yield process
                # Ctrl-C is not heard by what tests in the background start.
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def _environment(self) -> dict[str, str]:
        programs = self.folder.parent / "programs"
        models = self.folder.parent / "models"
        for place in (programs, models):
            place.mkdir(exist_ok=True)
        fd = shutil.which("fdfind")
        if fd is not None and not (programs / "fd").exists():
            # Debian calls it otherwise.
            (programs / "fd").symlink_to(fd)
        if not (models / "default").exists():
            (models / "default").symlink_to(self.model)
        paths = [str(programs), str(command().parent), os.environ["PATH"]]
        return environment(
            PATH=os.pathsep.join(paths),
            CAPCLI_MODELS=str(models),
            XDG_CACHE_HOME=str(self.folder.parent / "cache"),
        )


def wait_until(true: Callable[[], bool]) -> None:
    """Waits for what another process does, for up to a minute."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
