"""Finding the app when none is named, as `flask run` does."""

from __future__ import annotations

import os
from pathlib import Path

from buchner.errors import ConfigError


def load_dotenv() -> None:
    """Set what .env and .flaskenv say, where Flask and python-dotenv are installed (FLASK_SKIP_DOTENV turns it off)."""
    here = Path.cwd()
    if os.environ.get("FLASK_SKIP_DOTENV", "").lower() in ("1", "true", "yes", "on"):
        return
    if not any((directory / name).is_file() for directory in (here, *here.parents) for name in (".env", ".flaskenv")):
        return
    try:
        from flask.cli import load_dotenv as flask_load_dotenv
    except ImportError:
        return
    flask_load_dotenv()


def find_app(named: str | None) -> str:
    """The target to serve: the one named, FLASK_APP's, or wsgi.py or app.py here (flask.cli.ScriptInfo).

    Raises:
        ConfigError: There is none.
    """
    target = named or os.environ.get("FLASK_APP")
    if target:
        return target
    for name in ("wsgi.py", "app.py"):
        if Path(name).is_file():
            return name
    raise ConfigError(
        f"no app to serve: name it (buchner serve shop:app, or FLASK_APP=shop), or start in a directory with an "
        f"app.py or wsgi.py ({os.getcwd()} has neither)"
    )
