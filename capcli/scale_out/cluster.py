"""A Ray cluster for a job: one that is started here, or one that is there, if it has what the job needs.

Ray's statistics of usage are switched off, as capcli promises. Knows nothing of photos.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from capcli.errors import BundleError, CapcliError, ProviderError, UsageError
from capcli.runtime.native_output import captured

# Only paths and captions pass through it: pictures stay in the actors that read them.
_STORE_BYTES = 256 << 20
_PATIENCE_S = 120
# Ray itself would wait without end for a cluster that is not there.
_ANSWER_S = 15
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:/\s]+):(\d{1,5})")


@dataclass(frozen=True)
class Need:
    """What a job asks a cluster for: actors, CPUs and GPUs of each, and a CPU for all that is no actor."""

    actors: int
    cpus: int
    gpus: float

    @property
    def cpus_in_all(self) -> int:
        return self.actors * self.cpus + 1


@contextmanager
def signals_as_raised() -> Iterator[None]:
    """A context that ends with what a signal's handler has raised, where Ray's compiled parts made an error of it.

    Raises:
        BaseException: what the handler has raised.
    """
    try:
        yield
    except SystemError as error:
        cause: BaseException | None = error
        while isinstance(cause, Exception):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise cause from None


@contextmanager
def cluster(address: str | None, need: Need) -> Iterator[None]:
    """A context in which Ray runs.

    Args:
        address: of a cluster, HOST:PORT or "auto"; None takes the one that this process is connected to, or starts one
            here, with as many logical CPUs as the job needs.
        need: of the job.
    Raises:
        UsageError: there is no cluster, or it has less than the job needs.
    """
    if address is None and ray.is_initialized():
        check_need(need, "hand")
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Otherwise it warns of its own ways, of which nobody here can do anything.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    here = {"num_cpus": need.cpus_in_all, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    terminate = signal.getsignal(signal.SIGTERM)
    with captured():
        if address not in (None, "auto"):
            check_answers(address)
        try:
            # "local", since without an address it would join a cluster that an environment variable names.
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                **({} if address else here),
            )
        except Exception as error:  # of many kinds: no connection, no room in shared memory, another version
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            if "AF_UNIX" in reason:
                folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
                reason = (
                    f"the path of {folder} is too long for its sockets; set RAY_TMPDIR to a shorter one, such as /tmp"
                )
            raise UsageError(
                f"no Ray cluster at {address}: {reason}" if address else f"Ray does not start: {reason}"
            ) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if threading.current_thread() is threading.main_thread():
        # Ray has put its own in its place.
        signal.signal(signal.SIGTERM, terminate)
    try:
        check_need(need, address)
        # Of a worker that is lost, whose work it does again, Ray tells at length, and on stdout; and of fewer photos
        # than actors could caption it warns.
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray\.")
            yield
    finally:
        with captured():
            ray.shutdown()


def check_answers(address: str) -> None:
    """Asks whether a cluster answers.

    Raises:
        UsageError: none does, or it is no address.
    """
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None:
        raise UsageError(f"{address!r} is no address of a Ray cluster; give HOST:PORT, as ray start shows it, or auto")
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"no Ray cluster at {address}: {reason.lower()}") from error
    # What listens there may be something else, for which Ray waits too.
    asking = threading.Thread(target=_ask, args=(address, answered := threading.Event()), daemon=True)
    asking.start()
    if not answered.wait(_ANSWER_S):
        raise UsageError(f"no Ray cluster at {address}: what listens there does not answer")


def _ask(address: str, answered: threading.Event) -> None:
    try:
        ray._raylet.GcsClient(address=address)
    except ray.exceptions.RpcError:
        return
    except Exception:  # of another version, say: `ray.init` tells
        pass
    answered.set()


def check_need(need: Need, address: str | None) -> None:
    """Asks the cluster whether it has as much as a job needs.

    Raises:
        UsageError: it has not.
    """
    where = "this machine" if address is None else f"the cluster at {address}"
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    if cpus < need.cpus_in_all:
        raise UsageError(
            f"{where} has {cpus:g} CPUs; {need.actors} actors with {need.cpus} each and one for all else need "
            f"{need.cpus_in_all}"
        )
    if gpus < need.actors * need.gpus:
        raise UsageError(f"{where} has {gpus:g} GPUs; {need.actors} actors with {need.gpus:g} each need more")
    room = room_for_actors(nodes, need)
    if room < need.actors:
        each = f"{need.cpus} CPUs" + (f" and {need.gpus:g} GPUs" if need.gpus else "")
        raise UsageError(
            f"{where} has room for {room} of {need.actors} actors: none lies on two nodes or GPUs, with {each}"
        )


def room_for_actors(nodes: Iterable[Mapping[str, float]], need: Need) -> int:
    """How many actors nodes can hold, with a CPU left over; none lies on two nodes, and part of a GPU is of one.

    Args:
        nodes: their resources, as Ray names them.
        need: of the job.
    """
    room = spare = 0
    for node in nodes:
        cpus = int(node.get("CPU", 0))
        held = cpus // need.cpus
        if need.gpus:
            gpus = int(node.get("GPU", 0))
            held = min(held, int(gpus // need.gpus) if need.gpus >= 1 else gpus * int(1 / need.gpus + 1e-9))
        room += held
        spare += cpus - held * need.cpus
    return room if spare else room - 1


def check_bundle(folder: str, fingerprint: str, provider: str, need: Need) -> None:
    """Asks every node whether it has the bundle, and one whether it has the provider.

    Raises:
        BundleError, ProviderError: one has not.
        CapcliError: one has no capcli.
    """
    asked = {
        f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})": ray.remote(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        )(_lacks_bundle).remote(folder, fingerprint)
        for node in ray.nodes()
        if node["Alive"]
    }
    for node, answer in asked.items():
        try:
            reason = ray.get(answer, timeout=_PATIENCE_S)
        except ray.exceptions.RayError as error:
            raise CapcliError(f"node {node} cannot caption: {last_line(error)}") from error
        if reason is not None:
            raise BundleError(f"node {node} does not have the model as it is here, which every node must: {reason}")
    if provider == "cuda":
        reason = ray.get(ray.remote(num_cpus=need.cpus, num_gpus=need.gpus)(_lacks_provider).remote(folder, provider))
        if reason is not None:
            raise ProviderError(reason)


def last_line(error: BaseException) -> str:
    """What an error of Ray's, which tells whole traces, ends with."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _lacks_bundle(folder: str, fingerprint: str) -> str | None:
    from capcli.bundle.bundle import load_bundle

    try:
        found = load_bundle(folder).says
    except CapcliError as error:
        return str(error)
    return None if found == fingerprint else f"{folder}: another version of it"


def _lacks_provider(folder: str, provider: str) -> str | None:
    from capcli.captioner import Captioner

    try:
        Captioner(folder, provider=provider, threads=1)
    except CapcliError as error:
        return str(error)
    return None
