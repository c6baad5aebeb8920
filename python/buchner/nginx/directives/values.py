"""Handlers that only put a value into a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.config import units

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Handler, Scope


def time(name: str) -> Handler:
    """Return a handler for a time."""

    def handle(scope: Scope, directive: Directive) -> None:
        try:
            scope.put(name, units.nginx_milliseconds(directive.args[0].text) / 1000, directive.args[0])
        except ValueError as error:
            scope.error(directive.args[0], str(error))

    return handle


def size(name: str) -> Handler:
    """Return a handler for a size."""

    def handle(scope: Scope, directive: Directive) -> None:
        try:
            scope.put(name, units.size(directive.args[0].text), directive.args[0])
        except ValueError as error:
            scope.error(directive.args[0], str(error))

    return handle


def number(name: str) -> Handler:
    """Return a handler for a whole number."""

    def handle(scope: Scope, directive: Directive) -> None:
        if directive.args[0].text.isdecimal():
            scope.put(name, int(directive.args[0].text), directive.args[0])
        else:
            scope.error(directive.args[0], f'"{directive.args[0].text}" is not a whole number')

    return handle


def flag(name: str) -> Handler:
    """Return a handler for on or off."""

    def handle(scope: Scope, directive: Directive) -> None:
        value = on_off(scope, directive)
        if value is not None:
            scope.put(name, value, directive.args[0])

    return handle


def on_off(scope: Scope, directive: Directive) -> bool | None:
    """Return whether the argument is ``on``, or None after reporting that it is neither that nor ``off``."""
    text = directive.args[0].text.lower()
    if text in ("on", "off"):
        return text == "on"
    scope.error(directive.args[0], f'"{directive.args[0].text}" is neither "on" nor "off"')
    return None


def accepted(scope: Scope, directive: Directive) -> None:
    """Take a directive that tunes nginx's inside and needs nothing here."""
    del scope, directive


def ignored(reason: str) -> Handler:
    """Return a handler that warns that a directive has no effect."""

    def handle(scope: Scope, directive: Directive) -> None:
        if directive.words != ["off"]:
            scope.warn(directive.token, f'"{directive.name}" has no effect: {reason}')

    return handle
