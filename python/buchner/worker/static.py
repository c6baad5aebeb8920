"""Which static folders of a Flask app the gateway may serve itself.

Only if nothing in the app could change the response. A folder is left to the app when

- the app's `wsgi_app` is wrapped by middleware, or the app is no `flask.Flask` of plain kind;
- the app looks at hosts: TRUSTED_HOSTS, host matching, or subdomain matching with a SERVER_NAME;
- a receiver is connected to one of Flask's signals of a request's start or end, or of an app context's;
- a `before_request`, `after_request` or `url_value_preprocessor` function is registered for the whole app or for
  the blueprint the folder belongs to: it may check a login or set headers;
- the `static` view function was replaced or decorated, or `send_static_file` or `get_send_file_max_age` overridden;
- the route is bound to a host or subdomain, or another route of the app lies below the folder's path.

A file that does not exist there goes to the app, which answers 404 in its own way; so do other methods than GET and
HEAD, and names whose media type the app has changed (`mimetypes.add_type`) or for which Flask sends a
Content-Encoding (`a.js.gz`).
"""

from __future__ import annotations

import mimetypes
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

_SUFFIX = "/<path:filename>"
_METHODS = (
    "__call__",
    "full_dispatch_request",
    "dispatch_request",
    "preprocess_request",
    "process_response",
    "make_response",
    "finalize_request",
    "create_url_adapter",
    "request_context",
    "app_context",
)
_SIGNALS = ("request_started", "request_finished", "appcontext_pushed")


@dataclass
class StaticFolder:
    """A folder the gateway may serve itself; the fields are those of `supervisor.messages.StaticFolder`."""

    url_path: str
    folder: str
    cache_control: str
    leave: list[str] = field(default_factory=list)
    precompressed: bool = False


def static_folders(app: object, *, precompressed: bool = False) -> list[StaticFolder]:
    """The folders the gateway may serve itself; none for an app that is not Flask's."""
    try:
        import flask
    except ImportError:
        return []
    if not isinstance(app, flask.Flask) or not _is_plain(app, flask.Flask) or _looks_at_hosts(app) or _is_watched(app):
        return []
    folders = []
    for rule in app.url_map.iter_rules():
        with app.app_context():
            found = _folder_of(app, rule)
        if found is not None and not _is_guarded(app, rule) and not _is_overlaid(app, rule):
            found.precompressed = precompressed
            folders.append(found)
    leave = _left_to_the_app() if folders else []
    for folder in folders:
        folder.leave = leave
    return folders


def max_content_length(app: object) -> int | None:
    """The app's MAX_CONTENT_LENGTH in bytes, where it is a Flask app that sets one."""
    config = getattr(app, "config", None)
    value = config.get("MAX_CONTENT_LENGTH") if isinstance(config, dict) else None
    return value if isinstance(value, int) else None


def _is_plain(app: Flask, base: type[Flask]) -> bool:
    """Whether neither the class of the app nor the app itself overrides a step on a request's way."""
    return getattr(app.wsgi_app, "__func__", None) is base.wsgi_app and all(
        name not in vars(app) and getattr(type(app), name, None) is getattr(base, name, None) for name in _METHODS
    )


def _looks_at_hosts(app: Flask) -> bool:
    return bool(
        app.config.get("TRUSTED_HOSTS")
        or getattr(app.request_class, "trusted_hosts", None)
        or app.url_map.host_matching
        or (app.subdomain_matching and app.config.get("SERVER_NAME"))
    )


def _is_watched(app: Flask) -> bool:
    """Whether a receiver of a signal sees each request of this app: it may abort it, or change the response."""
    from flask import signals

    return any(getattr(signals, name).has_receivers_for(app) for name in _SIGNALS)


def _left_to_the_app() -> list[str]:
    """Ends of names whose type the app has changed, or for which Flask sends a Content-Encoding."""
    if not mimetypes.inited:
        mimetypes.init()
    usual = mimetypes.MimeTypes().types_map[True]
    changed = {ending: kind for ending, kind in mimetypes.types_map.items() if usual.get(ending) != kind}
    for name in mimetypes.knownfiles:
        if changed and os.path.isfile(name):
            _drop_usual(changed, name)
    return sorted({*changed, *mimetypes.encodings_map, *mimetypes.suffix_map})


def _drop_usual(changed: dict[str, str], name: str | os.PathLike[str]) -> None:
    """Take out the types that are those of a mime.types file; line by line, since it may be a large one."""
    with open(name, encoding="utf-8", errors="replace") as file:
        for line in file:
            kind, *endings = line.partition("#")[0].split() or [""]
            for ending in endings:
                if changed.get(f".{ending}") == kind:
                    del changed[f".{ending}"]


def _folder_of(app: Flask, rule: Rule) -> StaticFolder | None:
    """The folder behind a rule, if the rule's view is Flask's own for static files."""
    if not rule.rule.endswith(_SUFFIX) or rule.rule == _SUFFIX or rule.host or rule.subdomain:
        return None
    if rule.arguments != {"filename"} or rule.websocket:
        return None
    url_path = rule.rule.removesuffix(_SUFFIX)
    view = app.view_functions.get(rule.endpoint)
    owner: Any = _owner_of_view(app, rule.endpoint, view)
    if owner is None or not owner.has_static_folder or owner.static_folder is None:
        return None
    if "<" in url_path or not os.path.isdir(owner.static_folder):
        return None
    seconds = owner.get_send_file_max_age("x")
    control = "no-cache" if seconds is None else f"public, max-age={seconds}"
    folder = os.path.realpath(owner.static_folder)
    return StaticFolder(url_path=url_path, folder=folder, cache_control=control)


def _owner_of_view(app: Flask, endpoint: str, view: Any) -> Any:
    """The app or blueprint whose untouched `send_static_file` the view is."""
    import flask
    import flask.app

    if endpoint == "static":
        made_by_flask = getattr(getattr(view, "__code__", None), "co_filename", None) == flask.app.__file__
        owner: Any = app
        bases: tuple[Any, ...] = (flask.Flask,)
        if not made_by_flask or hasattr(view, "__wrapped__"):
            return None
    else:
        owner = getattr(view, "__self__", None)
        bases = (flask.Blueprint,)
        if not isinstance(owner, flask.Blueprint):
            return None
        if getattr(view, "__func__", None) is not flask.Blueprint.send_static_file:
            return None
    overridden = any(name in vars(owner) for name in ("send_static_file", "get_send_file_max_age"))
    kept = all(
        getattr(type(owner), name) is getattr(base, name)
        for base in bases
        for name in ("send_static_file", "get_send_file_max_age")
    )
    return owner if kept and not overridden else None


def _is_guarded(app: Flask, rule: Rule) -> bool:
    names: list[str | None] = [None]
    blueprint = rule.endpoint.rpartition(".")[0]
    while blueprint:
        names.append(blueprint)
        blueprint = blueprint.rpartition(".")[0]
    hooks: tuple[Any, ...] = (app.before_request_funcs, app.after_request_funcs, app.url_value_preprocessors)
    return any(hook.get(name) for hook in hooks for name in names)


def _is_overlaid(app: Flask, rule: Rule) -> bool:
    prefix = rule.rule.removesuffix("<path:filename>")
    return any(other is not rule and other.rule.startswith(prefix) for other in app.url_map.iter_rules())
