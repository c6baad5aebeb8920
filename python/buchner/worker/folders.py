"""Where an app's own files lie: what `X-Sendfile` may name unless `sendfile_roots` says otherwise."""

from __future__ import annotations


def own_folders(app: object) -> list[str]:
    """The folder of a Flask app's module and its instance folder; none for an app that is not Flask's.

    Flask's `send_file` names a file below `root_path` in just this form, so the path is not resolved further.
    """
    try:
        import flask  # noqa: PLC0415  -- an app need not be Flask's
    except ImportError:
        return []
    if not isinstance(app, flask.Flask):
        return []
    folders = [app.root_path, app.instance_path]
    return [folder for index, folder in enumerate(folders) if folder.startswith("/") and folder not in folders[:index]]
