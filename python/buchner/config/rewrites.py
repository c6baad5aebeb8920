"""Rewrite steps: variables, rewrites, answers and conditions, as written and as the plan has them."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET

from buchner.config import _generated as gen
from buchner.config.table import written

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buchner.config.content import Contents
    from buchner.config.places import Path, Report
    from buchner.config.settings import SettingsTable
    from buchner.config.variables import Definitions

REGEX = ("regex", "regex_nocase")
"""Values of `match` that make a route's path a regular expression."""
_KINDS = {step.encode_name: step.name for step in msgspec.structs.fields(gen.RewriteStep)}
_FILES: dict[str, Literal["file", "directory", "exists", "executable"]] = {
    "f": "file",
    "d": "directory",
    "e": "exists",
    "x": "executable",
}
_FILE = re.compile(r"(!?)-([fdex])\s+(\S.*)", re.DOTALL)
_COMPARED = re.compile(r"(\S+)\s*(=|!=|!?~\*?)\s*(.*)", re.DOTALL)
_CLOSE = 444
_STATUS_MAX = 999
_SETTABLE = ("args", "limit_rate")


class Block(NamedTuple):
    """What a condition's block lies in: the index of the settings there, and the plan's content."""

    settings: int
    content: dict[str, Any] | None


class Rewrites:
    """Resolves rewrite steps.

    Args:
        contents: resolves contents and checks variables.
        settings: takes the settings of conditions' blocks.
        report: takes the problems.
    """

    def __init__(self, contents: Contents, settings: SettingsTable, report: Report) -> None:
        self.contents = contents
        self.settings = settings
        self.report = report

    def resolve(self, steps: Iterable[gen.RewriteStep], path: Path, block: Block | None) -> list[dict[str, Any]]:
        """Return the plan's operations.

        Args:
            steps: the steps as written.
            path: their path.
            block: the route they stand in, None for those of a server.

        """
        plan = []
        for index, step in enumerate(steps):
            place = (*path, index)
            kinds = [name for name, attribute in _KINDS.items() if getattr(step, attribute) is not UNSET]
            if len(kinds) != 1:
                self.report.error(place, f"a step has one of {', '.join(_KINDS)}; this one has {len(kinds)} of them")
                continue
            kind = kinds[0]
            resolve = getattr(self, f"_{kind}")
            plan.append({kind: resolve(getattr(step, _KINDS[kind]), (*place, kind), block)})
        return plan

    def _set(self, step: gen.Set, path: Path, block: Block | None) -> dict[str, Any]:
        del block
        self.contents.text(step.value, (*path, "value"))
        return {"name": step.name, "value": step.value}

    def _rewrite(self, step: gen.Rewrite, path: Path, block: Block | None) -> dict[str, Any]:
        del block
        self.contents.text(step.to, (*path, "to"))
        if not step.to:
            self.report.error((*path, "to"), "the new path is empty")
        return written(step)

    def _return(self, step: int | str | gen.Return, path: Path, block: Block | None) -> dict[str, Any]:
        del block
        if isinstance(step, int):
            step = gen.Return(status=step)
        elif isinstance(step, str):
            step = gen.Return(status=302, text=step)
        if not 0 <= step.status <= _STATUS_MAX:
            self.report.error(path, f"{step.status} is not a status")
        if step.status // 100 == 1:
            self.report.error(path, f"{step.status} is interim: a response that ends the request has to follow it")
        if step.text is not UNSET:
            self.contents.text(step.text, (*path, "text"))
        return written(step)

    def _break(self, step: bool, path: Path, block: Block | None) -> bool:
        del block
        if not step:
            self.report.error(path, "break = false does nothing: take the step out")
        return step

    def _if(self, step: gen.If, path: Path, block: Block | None) -> dict[str, Any]:
        plan: dict[str, Any] = {"when": self._condition(step.when, (*path, "when"))}
        inner = None
        own = [name for name in written(step) if name not in ("when", "then")]
        if block is not None:
            content = self.contents.resolve(step, path, optional=True) or block.content
            inner = Block(self.settings.under(block.settings, step, path), content)
            plan["location"] = {"settings": inner.settings}
            if content is not None:
                plan["location"]["content"] = content
        elif own:
            self.report.error(
                (*path, own[0]), f'"{own[0]}" stands in the condition of a server: only steps may', key=True
            )
        if step.then is not UNSET:
            plan["then"] = self.resolve(step.then, (*path, "then"), inner)
        return plan

    def _condition(self, condition: str | gen.Condition, path: Path) -> dict[str, Any]:
        if isinstance(condition, str):
            try:
                condition = parsed(condition)
            except ValueError as error:
                self.report.error(path, str(error))
                return {"true": ""}
        for name in ("all", "any"):
            inner = getattr(condition, name)
            if inner is not UNSET:
                return {name: [self._condition(one, (*path, name, index)) for index, one in enumerate(inner)]}
        if condition.not_ is not UNSET:
            return {"not": self._condition(condition.not_, (*path, "not"))}
        return self._test(condition, path)

    def _test(self, condition: gen.Condition, path: Path) -> dict[str, Any]:
        for name in ("path", "value", "equal"):
            text = getattr(condition, name)
            if text is not UNSET:
                self.contents.text(text, (*path, name))
        if condition.client is not UNSET:
            for index, network in enumerate(condition.client):
                if not _is_network(network):
                    message = f'"{network}" is not an address or a network: 10.0.0.0/8, ::1, unix and * are'
                    self.report.error((*path, "client", index), message)
            return {"client": condition.client}
        if condition.path is not UNSET:
            return {"file": {"path": condition.path, "is": "exists" if condition.is_ is UNSET else condition.is_}}
        if condition.value is UNSET:
            self.report.error(path, "a condition has one of value, path, client, all, any, not")
            return {"true": ""}
        if condition.equal is not UNSET:
            return {"equal": [condition.value, condition.equal]}
        if condition.regex is not UNSET:
            ignore = condition.ignore_case is True
            return {"match": {"value": condition.value, "regex": condition.regex, "ignore_case": ignore}}
        return {"true": condition.value}


def _is_network(text: str) -> bool:
    if text in ("*", "unix", "unix:"):
        return True
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def parsed(text: str) -> gen.Condition:
    """Read a condition in the form of nginx's `if`, without the parentheses.

    Raises:
        ValueError: it is none.

    """
    text = text.strip()
    if found := _FILE.fullmatch(text):
        condition = gen.Condition(path=_unquoted(found[3]), is_=_FILES[found[2]])
        return gen.Condition(not_=condition) if found[1] else condition
    if not text.startswith("$"):
        raise ValueError(f'the condition "{text}" begins with neither a variable nor -f, -d, -e, -x')
    if re.fullmatch(r"\$\w+|\$\{\w+\}", text):
        return gen.Condition(value=text)
    found = _COMPARED.fullmatch(text)
    if not found:
        raise ValueError(f'"{text}" is not a condition: "$variable", "$variable = text" and "$variable ~ regex" are')
    return compared(found[1], found[2], _unquoted(found[3]))


def compared(value: str, operator: str, other: str) -> gen.Condition:
    """Return the condition of one of nginx's operators: = != ~ ~* !~ !~*."""
    if operator.endswith("="):
        condition = gen.Condition(value=value, equal=other)
    else:
        condition = gen.Condition(value=value, regex=other)
        if operator.endswith("*"):
            condition.ignore_case = True
    return gen.Condition(not_=condition) if operator.startswith("!") else condition


def file_is(path: str, operator: str) -> gen.Condition:
    """Return the condition of one of nginx's tests of files: -f -d -e -x, with a ! before it or not."""
    condition = gen.Condition(path=path, is_=_FILES[operator[-1]])
    return gen.Condition(not_=condition) if operator.startswith("!") else condition


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text


def define(document: gen.Document, servers: Iterable[gen.Server], variables: Definitions) -> None:
    """Take note of all variables that steps, answers and regular expressions put values into."""
    _define_answers(document, (), variables)
    for index, server in enumerate(servers):
        path: Path = ("server", index)
        names = [server.names] if isinstance(server.names, str) else [] if server.names is UNSET else server.names
        for position, name in enumerate(names):
            if name.startswith("~"):
                variables.regex(name[1:], (*path, "names", position))
        _define_answers(server, path, variables)
        _define_steps(server.rewrite, (*path, "rewrite"), variables)
        _define_routes(server.route, path, variables)


def _define_answers(table: Any, path: Path, variables: Definitions) -> None:
    """Take note of the variables that answers to subrequests of a block set."""
    if table.auth_request_set is not UNSET:
        for name in table.auth_request_set:
            if name in _SETTABLE:
                continue
            variables.slot(name, (*path, "auth_request_set", name))


def _define_routes(routes: Any, path: Path, variables: Definitions) -> None:
    if routes is UNSET:
        return
    for index, route in enumerate(routes):
        place = (*path, "route", index)
        if route.match in REGEX:
            variables.regex(route.path, (*place, "path"))
        _define_answers(route, place, variables)
        if route.limit_except is not UNSET:
            _define_answers(route.limit_except, (*place, "limit_except"), variables)
        _define_steps(route.rewrite, (*place, "rewrite"), variables)
        _define_routes(route.route, place, variables)


def _define_steps(steps: Any, path: Path, variables: Definitions) -> None:
    if steps is UNSET:
        return
    for index, step in enumerate(steps):
        place = (*path, index)
        if step.set is not UNSET and step.set.name not in _SETTABLE:
            variables.slot(step.set.name, (*place, "set", "name"))
        if step.rewrite is not UNSET:
            variables.regex(step.rewrite.regex, (*place, "rewrite", "regex"))
        if step.if_ is not UNSET:
            _define_condition(step.if_.when, (*place, "if", "when"), variables)
            _define_answers(step.if_, (*place, "if"), variables)
            _define_steps(step.if_.then, (*place, "if", "then"), variables)


def _define_condition(condition: str | gen.Condition, path: Path, variables: Definitions) -> None:
    if isinstance(condition, str):
        try:
            condition = parsed(condition)
        except ValueError:
            return  # reported where it is resolved
    for name in ("all", "any"):
        inner = getattr(condition, name)
        if inner is not UNSET:
            for index, one in enumerate(inner):
                _define_condition(one, (*path, name, index), variables)
    if condition.not_ is not UNSET:
        _define_condition(condition.not_, (*path, "not"), variables)
    if condition.regex is not UNSET:
        variables.regex(condition.regex, (*path, "regex"))
