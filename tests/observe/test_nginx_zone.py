"""Local time: lists of directories and logs have the zone of the process, as those of nginx on the same file."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from helpers.nginx import get
from helpers.wait import wait_for
from helpers.www import same, tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.nginx import Pair

CONF = """
log_format times '$time_local $time_iso8601';
server {
    listen 127.0.0.1:PORT;
    root DIR/www;
    access_log DIR/times-PORT.log times;
    error_log DIR/errors-PORT.log;
    location /list/ { autoindex on; autoindex_localtime on; }
    location /json/ { alias DIR/www/list/; autoindex on; autoindex_localtime on; autoindex_format json; }
    location /xml/ { alias DIR/www/list/; autoindex on; autoindex_localtime on; autoindex_format xml; }
    location /utc/ { alias DIR/www/list/; autoindex on; }
}
"""
STAMPS = re.compile(r"^(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d ([+-]\d{4})) (\S+?([+-]\d\d:\d\d))$", re.MULTILINE)


@pytest.mark.parametrize(
    ("zone", "offset"),
    [
        ("Asia/Kolkata", timedelta(hours=5, minutes=30)),
        ("America/New_York", None),  # with daylight saving time
        ("America/St_Johns", None),
        ("XXX-12:45", timedelta(hours=12, minutes=45)),
        ("", timedelta(0)),
    ],
)
def test_times_are_local(
    tmp_path: Path,
    run_pair: Callable[[str], Pair],
    monkeypatch: pytest.MonkeyPatch,
    zone: str,
    offset: timedelta | None,
) -> None:
    monkeypatch.setenv("TZ", zone)
    tree(tmp_path)
    pair = run_pair(CONF)
    pages = [same(pair, target).body for target in ["/list/", "/utc/", "/json/", "/xml/"]]
    if offset != timedelta(0):
        assert pages[0] != pages[1].replace(b"/utc/", b"/list/")
    pair.both(get("/missing"))
    offsets = []
    for server in (pair.nginx, pair.buchner):
        log, errors = tmp_path / f"times-{server.port}.log", tmp_path / f"errors-{server.port}.log"
        wait_for(lambda log=log: log.exists() and log.read_text().count("\n") == 5, "five lines of the log")  # type: ignore[misc]
        wait_for(lambda errors=errors: errors.exists() and errors.read_text(), "a line of the error log")  # type: ignore[misc]
        found = STAMPS.findall(log.read_text())
        assert len(found) == 5, log.read_text()
        stamp = datetime.strptime(found[-1][0], "%d/%b/%Y:%H:%M:%S %z")
        assert stamp == datetime.fromisoformat(found[-1][2])
        assert abs(stamp - datetime.now(UTC)) < timedelta(minutes=2)
        assert offset in (None, stamp.utcoffset())
        offsets.append((found[-1][1], found[-1][3]))
        written = datetime.strptime(errors.read_text()[:19], "%Y/%m/%d %H:%M:%S").replace(tzinfo=stamp.tzinfo)
        assert abs(written - stamp) < timedelta(minutes=2)
    assert offsets[0] == offsets[1]
