"""Where an app's own files lie: what `X-Sendfile` may name unless `sendfile_roots` says otherwise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

_CODE = [".*", "__pycache__", "*.py", "*.pyc", "*.pyi", "*.pyx", "*.pxd", "*.so", "*.ipynb"]


def own_folders(app: object) -> list[str]:
    """The folder of a Flask app's module; none for an app that is not Flask's.

    Flask's `send_file` names a file below `root_path` in just this form, so the path is not resolved further.
    """
    flask_app = _flask(app)
    if flask_app is None or not flask_app.root_path.startswith("/"):
        return []
    return [flask_app.root_path]


def hidden(app: object) -> list[str]:
    """What `X-Sendfile` may not name below the app's folder: its code, its templates, its instance folder."""
    flask_app = _flask(app)
    if flask_app is None:
        return []
    folders = [flask_app.instance_path, *_template_folders(flask_app)]
    absolute = [folder for folder in folders if folder.startswith("/")]
    resolved = [os.path.realpath(folder) for folder in absolute]
    return [*_CODE, *dict.fromkeys([*absolute, *resolved])]


def wants_sendfile(app: object) -> bool:
    """Whether the app's config has Flask's `USE_X_SENDFILE`."""
    config = getattr(app, "config", None)
    return isinstance(config, dict) and bool(config.get("USE_X_SENDFILE"))


def _template_folders(app: Flask) -> list[str]:
    owners: list[Any] = [app, *app.blueprints.values()]
    return [
        os.fspath(Path(owner.root_path, owner.template_folder)) for owner in owners if owner.template_folder is not None
    ]


def _flask(app: object) -> Flask | None:
    try:
        import flask  # noqa: PLC0415  -- an app need not be Flask's
    except ImportError:
        return None
    return app if isinstance(app, flask.Flask) else None
