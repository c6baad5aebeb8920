"""ngx_http_rewrite_module: variables, rewrites, conditions and answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config.rewrites import compared, file_is
from buchner.nginx import blocks
from buchner.nginx.rows import FLAG, NOTHING, REWRITE, WORDS, Inherit, no_effect, supported, words

if TYPE_CHECKING:
    from buchner.config.places import Path
    from buchner.nginx.lexer import Token
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_rewrite_module"

_FLAGS = ("last", "break", "redirect", "permanent")
_OPERATORS = ("=", "!=", "~", "~*", "!~", "!~*")
_FILE_TESTS = ("-f", "-d", "-e", "-x", "!-f", "!-d", "!-e", "!-x")
_URL = ("http://", "https://", "$scheme")
_MAX = 999
_ERRORS = 400
_COMPARISON = 3
_FILE_TEST = 2


def _step(scope: Scope, step: gen.RewriteStep, kind: str, token: Token) -> Path:
    """Add a step to those of a block; return the path of it."""
    name = "then" if isinstance(scope.table, gen.If) else "rewrite"
    steps = getattr(scope.table, name)
    if steps is UNSET:
        steps = []
        setattr(scope.table, name, steps)
    path = (*scope.path, name, len(steps), kind)
    steps.append(step)
    scope.state.places[path[:-1]] = token
    return path


def _set(scope: Scope, directive: Directive) -> None:
    name, value = directive.words
    if not name.startswith("$"):
        scope.error(directive.args[0], f'"{name}" is not a variable: it begins with "$"')
        return
    path = _step(scope, gen.RewriteStep(set=gen.Set(name=name[1:], value=value)), "set", directive.token)
    scope.state.places[(*path, "name")] = directive.args[0]
    scope.state.places[(*path, "value")] = directive.args[1]


def _rewrite(scope: Scope, directive: Directive) -> None:
    regex, to, *rest = directive.words
    step = gen.Rewrite(regex=regex, to=to)
    if rest:
        if rest[0] not in _FLAGS:
            scope.error(directive.args[2], f'"{rest[0]}" is none of {", ".join(_FLAGS)}')
            return
        step.flag = rest[0]  # type: ignore[assignment]
    path = _step(scope, gen.RewriteStep(rewrite=step), "rewrite", directive.token)
    scope.state.places[(*path, "regex")] = directive.args[0]
    scope.state.places[(*path, "to")] = directive.args[1]


def _return(scope: Scope, directive: Directive) -> None:
    first = directive.words[0]
    if not first.isdecimal():
        if len(directive.args) > 1 or not first.startswith(_URL):
            scope.error(directive.args[0], f'"{first}" is neither a status nor a URL')
            return
        answer = gen.Return(status=302, text=first)
    else:
        answer = gen.Return(status=int(first))
        if int(first) > _MAX:
            scope.error(directive.args[0], f'"{first}" is not a status')
            return
        # An empty text of an error is none: the error page is sent, and 444 closes.
        if len(directive.args) > 1 and (directive.words[1] or int(first) < _ERRORS):
            answer.text = directive.words[1]
    path = _step(scope, gen.RewriteStep(return_=answer), "return", directive.token)
    scope.state.places[(*path, "text")] = directive.args[-1]


def _break(scope: Scope, directive: Directive) -> None:
    _step(scope, gen.RewriteStep(break_=True), "break", directive.token)


def _if(scope: Scope, directive: Directive) -> None:
    table = gen.If(when=_condition(scope, directive) or "$host")
    path = _step(scope, gen.RewriteStep(if_=table), "if", directive.token)
    if directive.args:
        scope.state.places[(*path, "when")] = directive.args[0]
    blocks.if_block(scope, directive, table, path)


def _condition(scope: Scope, directive: Directive) -> gen.Condition | None:
    text = [arg.text for arg in directive.args]
    if not text or not text[0].startswith("(") or not text[-1].endswith(")"):
        scope.error(directive.token, '"if" takes a condition in parentheses: if ($variable = text) { … }')
        return None
    text[0] = text[0][1:]
    text[-1] = text[-1][:-1]
    words = text[1 if not text[0] else 0 : len(text) if text[-1] or len(text) == 1 else -1]
    if len(words) == 1 and re.fullmatch(r"\$\w+|\$\{\w+\}", words[0]):
        return gen.Condition(value=words[0])
    if len(words) == _FILE_TEST and words[0] in _FILE_TESTS:
        return file_is(words[1], words[0])
    if len(words) == _COMPARISON and words[0].startswith("$") and words[1] in _OPERATORS:
        return compared(words[0], words[1], words[2])
    if len(words) == _COMPARISON and words[1] in ("==", "==="):
        scope.error(directive.token, f'"{words[1]}" is no comparison: one "=" is, if ({words[0]} = {words[2]})')
        return None
    shown = " ".join(words)
    scope.error(directive.token, f'"{shown}" is not a condition: "$variable", "$variable = text" and "-f file" are')
    return None


DIRECTIVES = [
    supported("set", REWRITE, words(2), _set, "rewrite: set", repeat=True, inherit=Inherit.NONE),
    supported("rewrite", REWRITE, words(2, 3), _rewrite, "rewrite: rewrite", repeat=True, inherit=Inherit.NONE),
    supported("return", REWRITE, words(1, 2), _return, "rewrite: return", repeat=True, inherit=Inherit.NONE),
    supported("break", REWRITE, NOTHING, _break, "rewrite: break", repeat=True, inherit=Inherit.NONE),
    supported("if", REWRITE, WORDS, _if, "rewrite: if", repeat=True, inherit=Inherit.NONE, block=True),
    *no_effect("rewrite_log uninitialized_variable_warn", f"http {REWRITE}", FLAG, "they only add lines to a log"),
]
