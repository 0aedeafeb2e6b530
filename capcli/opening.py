"""A model that is being opened: its files are checked and its graphs read by another thread while Python goes on.

Hashing files and reading graphs take most of a cold start and leave Python free, so that what else a caption needs can
be imported meanwhile. Importing this loads little itself.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from capcli.bundle.bundle import Bundle, load_bundle
from capcli.runtime.cores import available_cores
from capcli.settings import MOST_THREADS, whole_number

if TYPE_CHECKING:
    from capcli.runtime.sessions import Session

# Lanes for many images. With two cores 96 photos take 7 % less time in two lanes than with both cores in one (5 % with
# AVX2 alone): what is Python, and what cannot be shared out evenly, leaves a core idle there. More lanes take memory
# for the maps of each.
LANES_FOR_MANY = 2


class OpeningModel:
    """A bundle whose graphs are being opened.

    Args:
        model: a bundle's name or folder, or a bundle that was read and verified.
        provider: "auto" (CUDA where it works, else the CPU), "cpu" or "cuda".
        threads: CPU threads; by default one for each core this process may use.
        lanes: batches that are captioned at the same time on the CPU and share the threads; no more than there are
            threads. Two are faster for many images, and slower for one.
    Raises:
        ProviderError: ONNX Runtime is broken, or the provider cannot be used.
        UsageError: no such provider, or `threads` or `lanes` is out of range.
        TypeError: it is no number.
    """

    def __init__(
        self, model: str | os.PathLike[str] | Bundle, provider: str, threads: int | None, lanes: int = 1
    ) -> None:
        self.threads = available_cores() if threads is None else whole_number("threads", threads, most=MOST_THREADS)
        self.lanes = min(whole_number("lanes", lanes), self.threads)
        pool = ThreadPoolExecutor(1)
        self._bundle = pool.submit(lambda: model if isinstance(model, Bundle) else load_bundle(model))
        # Only now: it loads NumPy.
        from capcli.runtime.sessions import find_target

        self._target = find_target(provider)
        # Trying CUDA holds what the whole process prints, so that it is left to the thread that prints.
        self._sessions = None if self._target.tries_cuda else pool.submit(self._open)
        pool.shutdown(wait=False)

    def bundle(self) -> Bundle:
        """The bundle, read and verified.

        Raises:
            BundleError: not found, damaged, or not understood.
        """
        return self._bundle.result()

    def sessions(self) -> list[Session]:
        """Its encoder and its decoder.

        Raises:
            BundleError: the bundle or a graph is damaged.
            ProviderError: the provider cannot be used, or memory is not enough.
        """
        return self._open() if self._sessions is None else self._sessions.result()

    def _open(self) -> list[Session]:
        from capcli.runtime.sessions import open_sessions

        bundle = self.bundle()
        # What is found out with the encoder holds for the decoder too.
        graphs = [bundle.path("encoder"), bundle.path("decoder")]
        # Every lane brings a thread of its own.
        return open_sessions(graphs, self._target, self.threads - self.lanes + 1)
