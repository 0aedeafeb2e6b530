"""What a cluster is asked before a job is given to it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs the ray extra")

from capcli import UsageError
from capcli.scale_out.cluster import Need, check_answers, cluster, room_for_actors, signals_as_raised


@pytest.mark.parametrize(
    ("nodes", "need", "room"),
    [
        ([{"CPU": 5.0}], Need(4, 1, 0), 4),
        ([{"CPU": 4.0}], Need(4, 1, 0), 3),
        ([{"CPU": 3.0}, {"CPU": 3.0}], Need(3, 2, 0), 2),
        ([{"CPU": 9.0, "GPU": 8.0}], Need(8, 1, 1), 8),
        ([{"CPU": 9.0, "GPU": 2.0}], Need(3, 1, 0.6), 2),
        ([{"CPU": 9.0, "GPU": 1.0}], Need(4, 1, 0.25), 4),
        ([{"CPU": 11.0, "GPU": 1.0}], Need(10, 1, 0.1), 10),
        ([{"CPU": 9.0, "GPU": 3.0}], Need(2, 1, 2), 1),
        ([{"CPU": 9.0}, {"memory": 1.0}], Need(1, 1, 1), 0),
    ],
)
def test_actors_lie_on_one_node_and_one_gpu(nodes: list[dict[str, float]], need: Need, room: int) -> None:
    assert room_for_actors(nodes, need) == room


def test_a_cluster_that_is_not_there_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UsageError, match=f"no Ray cluster at 127.0.0.1:{port}: connection refused"):
        check_answers(f"127.0.0.1:{port}")
    for address in ("", "local", "ray://a:1", "host", "host:port", "a b:1", "host:123456"):
        with pytest.raises(UsageError, match="is no address of a Ray cluster; give HOST:PORT"):
            check_answers(address)
    with pytest.raises(UsageError, match=r"no Ray cluster at 127\.0\.0\.1:99999"):
        check_answers("127.0.0.1:99999")


def test_a_temporary_folder_too_deep_for_sockets_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 80)
    deep.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_TMPDIR", str(deep))
    with (
        pytest.raises(UsageError, match=r"Ray does not start: the path of .*x is too long.*set RAY_TMPDIR"),
        cluster(None, Need(1, 1, 0)),
    ):
        pass


def test_what_a_signal_has_raised_is_not_hidden() -> None:
    with pytest.raises(KeyboardInterrupt), signals_as_raised():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise SystemError("returned a result with an exception set") from error
    with pytest.raises(SystemError, match="another"), signals_as_raised():
        raise SystemError("another")
