"""Finding and importing the app, as `flask run` does, for any WSGI app.

A target is `module`, `module:app`, `module:factory()`, `module:factory("literal", debug=True)`, `module:package.app`,
or a path to a .py file or package directory in place of the module.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from buchner.errors import AppImportError

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_USUAL_NAMES = ("app", "application", "create_app", "make_app")


def split_target(target: str) -> tuple[str, str | None]:
    """Split `module:expression`; a colon in a factory's arguments does not count."""
    head, parenthesis, tail = target.partition("(")
    module, colon, expression = head.partition(":")
    return (module, expression + parenthesis + tail) if colon else (target, None)


def load_app(target: str, pythonpath: Iterable[str] = ()) -> WsgiApp:
    """Import the app.

    Args:
        target: What to import, see above.
        pythonpath: Directories put before `sys.path`; the working directory when empty.

    Raises:
        AppImportError: With the traceback of the app's own code where it failed.
    """
    sys.path[:0] = list(pythonpath) or [os.getcwd()]
    name, expression = split_target(target)
    module_name = _prepare(name)
    root = sys.path[0]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not os.access(os.__file__, os.R_OK):
            raise AppImportError(
                f"the workers' user (uid {os.geteuid()}) may not read Python's own files in "
                f"{Path(os.__file__).parent}: install Python where that user can read it, or set another `user`"
            ) from None
        if error.name == module_name or (error.name and module_name.startswith(error.name + ".")):
            raise AppImportError(
                f'there is no module "{module_name}" in {os.getcwd()} or on the import path. Is the name right, and is '
                "this the app's directory?"
            ) from None
        raise AppImportError(
            f'"{module_name}" needs the module "{error.name}", which is not installed', _trace()
        ) from None
    except (Exception, SystemExit) as error:
        raise AppImportError(f'importing "{module_name}" failed: {_in_words(error)}', _trace()) from None
    _check_file(module_name, root)
    try:
        app = _by_expression(module, expression) if expression else _by_usual_name(module)
    except AppImportError:
        raise
    except (Exception, SystemExit) as error:
        raise AppImportError(f'"{target}" failed: {_in_words(error)}', _trace()) from None
    if not callable(app):
        raise AppImportError(f'"{target}" is {type(app).__name__}, not a WSGI app: it cannot be called')
    if _is_asgi(app):
        raise AppImportError(
            f'"{target}" is an ASGI app, and workers serve WSGI apps: run it in an ASGI server behind a `proxy` route, '
            "or make a WSGI app of it (a2wsgi: `ASGIMiddleware(app)`)"
        )
    return app  # type: ignore[no-any-return]


def _check_file(module_name: str, root: str) -> None:
    """Refuse a module of the standard library where `root` has a file of its name: it was imported before that.

    Raises:
        AppImportError: The app's file is called `site.py`, or the like.
    """
    top = module_name.partition(".")[0]
    files = [Path(root, top, "__init__.py"), Path(root, f"{top}.py")]
    wanted = next((file for file in files if file.is_file()), None)
    imported = getattr(sys.modules.get(top), "__file__", None) or ""
    if wanted is None or top not in sys.stdlib_module_names or imported.startswith(os.path.join(root, "")):
        return
    raise AppImportError(
        f'"{module_name}" is {imported or "a built-in module"}, of Python\'s own standard library, and not {wanted}: '
        "Python had imported it under that name already; rename the file"
    )


def _is_asgi(app: Any) -> bool:
    """Whether an app is one for ASGI: a coroutine function, or a callable of (scope, receive, send)."""
    call = app if inspect.isroutine(app) else getattr(type(app), "__call__", None)  # noqa: B004 - the method itself
    if inspect.iscoroutinefunction(call):
        return True
    with contextlib.suppress(TypeError, ValueError):
        return list(inspect.signature(app).parameters) == ["scope", "receive", "send"]
    return False


def _prepare(name: str) -> str:
    """Turn a path into a module name and put its directory on the import path (flask.cli.prepare_import)."""
    if not (name.endswith(".py") or os.sep in name or Path(name).is_dir()):
        return name
    path = Path(name).resolve()
    if not path.exists():
        raise AppImportError(f'there is no file "{name}" in {os.getcwd()}')
    if path.suffix == ".py":
        path = path.with_suffix("")
    if path.name == "__init__":
        path = path.parent
    parts = []
    while True:
        parts.append(path.name)
        path = path.parent
        if not (path / "__init__.py").exists():
            break
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
    return ".".join(reversed(parts))


def _by_expression(module: ModuleType, expression: str) -> Any:
    """Evaluate `name`, `name.attribute` or `name(literals)`."""
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError:
        raise AppImportError(f'"{expression}" is neither a name nor a call such as create_app()') from None
    call = tree if isinstance(tree, ast.Call) else None
    named = call.func if call else tree
    try:
        found: Any = module
        for part in ast.unparse(named).split("."):
            found = getattr(found, part)
    except AttributeError:
        names = ", ".join(sorted(name for name, value in vars(module).items() if _looks_like_app(value))) or "none"
        raise AppImportError(
            f'"{module.__name__}" has no "{ast.unparse(named)}" (apps and factories there: {names})'
        ) from None
    if call is None:
        return _called_if_factory(found)
    try:
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except ValueError:
        raise AppImportError(f'"{expression}": only literal arguments can be given (strings, numbers, …)') from None
    return found(*arguments, **keywords)


def _looks_like_app(value: Any) -> bool:
    # Of the class: a module that imports flask.request has a proxy there, which raises outside of a request.
    return hasattr(type(value), "wsgi_app") or (isinstance(value, FunctionType) and value.__name__ in _USUAL_NAMES)


def _called_if_factory(found: Any) -> Any:
    """`module:create_app` without parentheses: a function that takes no argument is a factory (as in flask.cli)."""
    code = getattr(found, "__code__", None)
    if code is not None and code.co_argcount == 0 and code.co_kwonlyargcount == 0 and not code.co_flags & 0x0C:
        return found()
    return found


def _by_usual_name(module: ModuleType) -> Any:
    """The module's one Flask app or factory (flask.cli.find_best_app), else its `app` or `application`."""
    try:
        from flask.cli import NoAppException, find_best_app
    except ImportError:
        pass
    else:
        try:
            return find_best_app(module)
        except NoAppException as error:
            if not any(callable(getattr(module, name, None)) for name in _USUAL_NAMES[:2]):
                raise AppImportError(str(error)) from None
    for name in _USUAL_NAMES:
        found = getattr(module, name, None)
        if callable(found):
            return found() if name in _USUAL_NAMES[2:] else found
    raise AppImportError(
        f'"{module.__name__}" has no app, application, create_app or make_app; say which one it is: '
        f'"{module.__name__}:name"'
    )


def _trace() -> str:
    """The traceback without this file's frames and those of importlib."""
    error = sys.exc_info()[1]
    if error is None:
        return ""
    lines = traceback.TracebackException.from_exception(error)
    _strip(lines)
    return "".join(lines.format())


def _strip(trace: traceback.TracebackException) -> None:
    frames = list(trace.stack)
    own = (__file__, "<frozen importlib")
    while frames and (frames[0].filename.startswith(own) or "importlib/__init__" in frames[0].filename):
        frames.pop(0)
    trace.stack = traceback.StackSummary.from_list(frames)
    for inner in (trace.__cause__, trace.__context__):
        if inner is not None:
            _strip(inner)


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
