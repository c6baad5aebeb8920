"""What the development page shows of an exception: its type and text first, then the app's own code, then the rest.

The gateway puts this into its page; all that comes from the app or the client is escaped here.
"""

from __future__ import annotations

import linecache
import sysconfig
import traceback
from html import escape
from itertools import groupby
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

_CONTEXT = 4
"""Lines of source before and after the one that failed."""
_MOST_BYTES = 48 << 10
_MOST_FRAMES = 60
_MOST_VALUE = 400
_PATHS = sysconfig.get_paths()
_LIBRARIES = tuple(f"{_PATHS[name]}/" for name in ("stdlib", "platstdlib", "purelib", "platlib"))

_Frame = tuple[FrameType, int]


def page(error: BaseException, environ: dict[str, Any]) -> str:
    """The page's inside for an exception and the request that led to it; empty if it cannot be made."""
    try:
        for context, most in ((_CONTEXT, _MOST_FRAMES), (1, 20), (0, 5)):
            made = f"<main>{_exceptions(error, context, most)}</main><aside>{_request(environ)}</aside>"
            if len(made.encode("utf-8", "replace")) <= _MOST_BYTES:
                return made
    except Exception:  # noqa: BLE001 - an exception that cannot be shown must not hide the one that happened
        return ""
    return ""


def _exceptions(error: BaseException, context: int, most: int) -> str:
    parts = []
    seen: set[int] = set()
    why = ""
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < 5:  # noqa: PLR2004
        seen.add(id(current))
        parts.append(_exception(current, why, context, most))
        if current.__cause__ is not None:
            current, why = current.__cause__, "The direct cause was"
        elif current.__context__ is not None and not current.__suppress_context__:
            current, why = current.__context__, "It happened while this was handled"
        else:
            current = None
    return "".join(parts)


def _exception(error: BaseException, why: str, context: int, most: int) -> str:
    kind = type(error)
    name = kind.__name__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    first, _, more = _text(error).partition("\n")
    heading = "h2" if why else "h1"
    told = f"<p class=why>{why}</p>" if why else ""
    text = f"<p class=text>{escape(first)}</p>" if first else ""
    rest = f"<pre class=more>{escape(more.strip())}</pre>" if more.strip() else ""
    notes = "".join(f"<pre class=more>{escape(str(note))}</pre>" for note in getattr(error, "__notes__", ()))
    place = f"<pre class=more>{escape(_syntax(error))}</pre>" if isinstance(error, SyntaxError) else ""
    return (
        f"<section>{told}<{heading}>{escape(name)}</{heading}>{text}{rest}{notes}{place}"
        f"{_frames(error.__traceback__, context, most)}</section>"
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as other:  # noqa: BLE001 - the app's own __str__
        return f"<its text cannot be had: {type(other).__name__}>"


def _syntax(error: SyntaxError) -> str:
    return "".join(traceback.format_exception_only(SyntaxError, error))


def _frames(trace: TracebackType | None, context: int, most: int) -> str:
    """The frames, the one that raised first; those of libraries are folded."""
    frames = list(traceback.walk_tb(trace))[-most:]
    frames.reverse()
    own = [_is_own(frame) for frame, _ in frames]
    if frames and not any(own):
        own[0] = True
    parts = []
    at = 0
    for is_own, group in groupby(own):
        count = len(list(group))
        some = frames[at : at + count]
        at += count
        if is_own:
            parts += [_own_frame(frame, line, context) for frame, line in some]
        else:
            parts.append(_folded(some))
    return f"<div class=frames>{''.join(parts)}</div>" if parts else ""


def _is_own(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    is_library = name.startswith(_LIBRARIES) or "site-packages" in name or "dist-packages" in name
    return not (is_library or name.startswith("<frozen"))


def _own_frame(frame: FrameType, line: int, context: int) -> str:
    name = frame.f_code.co_filename
    lines = linecache.getlines(name, frame.f_globals)
    first = max(1, line - context)
    shown = lines[first - 1 : line + context]
    indent = min((len(text) - len(text.lstrip()) for text in shown if text.strip()), default=0)
    rows = "".join(
        f"<span class={'here' if number == line else 'near'}><i>{number}</i>{escape(text.rstrip()[indent:])}\n</span>"
        for number, text in enumerate(shown, first)
    )
    code = f"<pre class=code>{rows}</pre>" if rows else ""
    return f"<details open><summary>{_place(frame, line)}</summary>{code}</details>"


def _folded(frames: list[_Frame]) -> str:
    packages = dict.fromkeys(str(frame.f_globals.get("__name__", "?")).partition(".")[0] for frame, _ in frames)
    count = "1 frame" if len(frames) == 1 else f"{len(frames)} frames"
    rows = "".join(
        f"<li>{_place(frame, line)}<code>{escape(linecache.getline(frame.f_code.co_filename, line).strip())}</code>"
        for frame, line in frames
    )
    named = escape(", ".join(packages))
    return f"<details class=library><summary>{count} in {named}</summary><ol>{rows}</ol></details>"


def _place(frame: FrameType, line: int) -> str:
    code = frame.f_code
    name = code.co_filename
    short = name.removeprefix(f"{Path.cwd()}/")
    function = getattr(code, "co_qualname", code.co_name)
    return f"<b>{escape(function)}</b> <span class=file>{escape(short)}:{line}</span>"


def _request(environ: dict[str, Any]) -> str:
    method, query = environ.get("REQUEST_METHOD", ""), environ.get("QUERY_STRING", "")
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}" + (f"?{query}" if query else "")
    facts = {
        "from": environ.get("REMOTE_ADDR", ""),
        "mounted at": environ.get("SCRIPT_NAME", ""),
        "body": f"{environ['CONTENT_LENGTH']} bytes" if environ.get("CONTENT_LENGTH") else "",
        "request id": environ.get("HTTP_X_REQUEST_ID", ""),
    }
    headers = {"Content-Type": environ.get("CONTENT_TYPE", "")} | {
        name.removeprefix("HTTP_").replace("_", "-").title(): value
        for name, value in sorted(environ.items())
        if name.startswith("HTTP_") and name not in ("HTTP_X_REQUEST_ID", "HTTP_TRACEPARENT")
    }
    line = f"{escape(str(method))} {escape(_latin1(path))}"
    return f"<h2>Request</h2><p class=line>{line}</p>{_table(facts)}{_table(headers)}"


def _latin1(text: str) -> str:
    """The text that a native string stands for (PEP 3333)."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def _table(values: dict[str, Any]) -> str:
    rows = "".join(
        f"<dt>{escape(name)}<dd>{escape(_latin1(str(value))[:_MOST_VALUE])}" for name, value in values.items() if value
    )
    return f"<dl>{rows}</dl>" if rows else ""
