"""The report: one HTML page over an audit log, without scripts and without a server."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buchner.waf.record import Record

_TOP = 15
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 960, 260, 48, 28
_DOTS = 2000
"""Requests shown over time; of more, the highest scores of each span."""
_STYLE = """
:root{color-scheme:light dark;--bar:#3b6ea8;--bad:#b3342d;--line:#8886;--soft:#8882}
body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2.2rem}
.numbers{display:flex;flex-wrap:wrap;gap:1rem;padding:0;list-style:none}
.numbers li{background:var(--soft);border-radius:.5rem;padding:.6rem 1rem;min-width:7rem}
.numbers b{display:block;font-size:1.6rem}
table{border-collapse:collapse;width:100%;table-layout:fixed}
td{padding:.2rem .5rem .2rem 0;vertical-align:middle;overflow-wrap:anywhere}
td.n{width:4.5rem;text-align:right;font-variant-numeric:tabular-nums}td.p{width:38%}
.bar{fill:var(--bar)}.bad{fill:var(--bad)}.grid{stroke:var(--line)}.limit{stroke:var(--bad);stroke-dasharray:5 4}
svg{width:100%;height:auto}svg text{font-size:12px;fill:currentColor}
small{opacity:.75}
"""


def report(records: Iterable[Record], title: str = "Firewall report") -> str:
    """Make the page. Everything that a client sent is escaped."""
    found = list(records)
    rules, names, paths, clients = Counter[str](), dict[str, str](), Counter[str](), Counter[str]()
    for record in found:
        paths[f"{record.host}{record.path}"] += 1
        clients[record.client or "(unknown)"] += 1
        for rule in {match.rule for match in record.counted}:
            rules[str(rule)] += 1
        names.update({str(match.rule): match.message for match in record.counted})
    blocked = sum(record.blocked for record in found)
    would = sum(record.would_block and not record.blocked for record in found)
    numbers = [
        (len(found), "requests with a match"), (blocked, "blocked"), (would, "would be blocked"),
        (len(rules), "rules"), (len(clients), "addresses"),
    ]  # fmt: skip
    head = "".join(f"<li><b>{count:,}</b>{escape(what)}</li>" for count, what in numbers)
    parts = [
        f"<h1>{escape(title)}</h1><p><small>{escape(_span(found))}</small></p><ul class=numbers>{head}</ul>",
        "<h2>Score over time</h2>" + _over_time(found),
        "<h2>Rules</h2>" + _bars(rules, names),
        "<h2>Paths</h2>" + _bars(paths, {}),
        "<h2>Addresses</h2>" + _bars(clients, {}),
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width"><meta name="referrer" content="no-referrer">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _span(found: list[Record]) -> str:
    times = [record.time for record in found if record.time]
    if not times:
        return "no request"
    first, last = (
        datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S") for moment in (min(times), max(times))
    )
    return f"{first} to {last} UTC"


def _bars(counts: Counter[str], names: dict[str, str]) -> str:
    """A table with a bar for each of the most frequent."""
    if not counts:
        return "<p>none</p>"
    most = counts.most_common(1)[0][1]
    rows = []
    for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_TOP]:
        label = f"<b>{escape(_shown(name))}</b> <small>{escape(_shown(names.get(name, '')))}</small>"
        bar = f'<svg viewBox="0 0 100 6" preserveAspectRatio="none" height="12" role="img" aria-label="{count}">'
        bar += f'<rect class=bar width="{max(1.0, 100 * count / most):.1f}" height="6"/></svg>'
        rows.append(f"<tr><td>{label}</td><td class=p>{bar}</td><td class=n>{count:,}</td></tr>")
    more = len(counts) - _TOP
    return f"<table>{''.join(rows)}</table>" + (f"<p><small>and {more:,} more</small></p>" if more > 0 else "")


def _shown(text: str) -> str:
    short = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:160])
    return short + ("…" if len(text) > len(short) else "")


def _over_time(found: list[Record]) -> str:
    """Dots: time to the right, score upwards; the threshold is a line."""
    dots = [record for record in found if record.time]
    if not dots:
        return "<p>none</p>"
    first, last = min(record.time for record in dots), max(record.time for record in dots)
    span = max(last - first, 1.0)
    high = max(10, *(record.scores.inbound for record in dots))
    threshold = max(record.scores.inbound_threshold for record in dots)
    if len(dots) > _DOTS:
        best: dict[int, Record] = {}
        for record in sorted(dots, key=lambda record: record.scores.inbound):
            best[int((record.time - first) / span * _DOTS)] = record
        dots = list(best.values())

    def across(moment: float) -> float:
        return _LEFT + (moment - first) / span * (_WIDTH - _LEFT - 12)

    def up(score: int) -> float:
        return _HEIGHT - _BOTTOM - score / high * (_HEIGHT - _BOTTOM - 12)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="score of each request over time">']
    for step in range(5):
        score = round(high * step / 4)
        parts.append(f'<line class=grid x1="{_LEFT}" x2="{_WIDTH}" y1="{up(score):.1f}" y2="{up(score):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{up(score) + 4:.1f}" text-anchor="end">{score}</text>')
    for share, anchor in ((0.0, "start"), (1.0, "end")):
        moment = first + span * share
        text = datetime.fromtimestamp(moment, UTC).strftime("%m-%d %H:%M:%S")
        parts.append(f'<text x="{across(moment):.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{text}</text>')
    for record in dots:
        kind = "bad" if record.would_block else "bar"
        place = f'cx="{across(record.time):.1f}" cy="{up(record.scores.inbound):.1f}"'
        parts.append(f'<circle class={kind} {place} r="3" fill-opacity=".6"/>')
    if threshold:
        parts.append(
            f'<line class=limit x1="{_LEFT}" x2="{_WIDTH}" y1="{up(threshold):.1f}" y2="{up(threshold):.1f}"/>'
        )
    parts.append("</svg><p><small>dashed: the threshold; red: requests that reach it</small></p>")
    return "".join(parts)
