"""The worker's end of its control socket, and what a worker imports."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from buchner.supervisor.messages import FromWorker, StaticFolder, WorkerReady
from buchner.worker import control
from buchner.worker.options import Options, parse


def test_the_supervisor_understands_what_a_worker_says() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        folder: dict[str, Any] = {
            "url_path": "/s",
            "folder": "/srv/é",
            "cache_control": None,
            "leave": [".gz"],
            "precompressed": True,
        }
        control.send(theirs, "ready", pid=7, app="shop:app", slots=2, static=[folder])
        message = msgspec.json.decode(ours.recv(4096), type=FromWorker)
    assert message == WorkerReady(pid=7, app="shop:app", slots=2, static=[StaticFolder(**folder)])


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[]", b"1", b"null"])
def test_what_is_no_message_is_one_without_a_name(payload: bytes) -> None:
    assert control.decode(payload) == {}


@pytest.mark.parametrize("value", ["1", True, 1.5, None])
def test_a_number_is_a_whole_number(value: object) -> None:
    assert control.number({"slots": 3}, "slots") == 3
    assert control.number({}, "slots", 5) == 5
    with pytest.raises(ValueError, match="slots"):
        control.number({"slots": value}, "slots")
    with pytest.raises(ValueError, match="slots"):
        control.number({}, "slots")


def test_the_command_line_is_read() -> None:
    words = [
        "--threads",
        "4",
        "--no-static",
        "--pythonpath",
        "/a",
        "--pythonpath",
        "/b",
        "--control-fd",
        "9",
        "--preload",
    ]
    words += ["--max-age", "1.5", "--identity", "1:2:3", "shop:create(debug=True)"]
    assert parse(words) == Options(
        "shop:create(debug=True)", 9, identity="1:2:3", pythonpath=["/a", "/b"], threads=4, max_age=1.5, static=False,
        preload=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "words", [[], ["shop:app"], ["--control-fd", "9"], ["--control-fd", "x", "a"], ["--what", "a"]]
)
def test_a_command_line_of_somebody_else_is_refused_in_words(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words)
    assert ended.value.code == 2
    assert "The supervisor starts it" in capsys.readouterr().err


def test_a_worker_imports_nothing_of_the_supervisors_that_is_large() -> None:
    """Each worker pays for it in memory and in time until it is ready."""
    script = "import sys, buchner.worker.main; print(*{'msgspec', 'argparse', 'click', 'asyncio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
