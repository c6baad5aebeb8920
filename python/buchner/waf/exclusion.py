"""Exclusions: the rules to write so that a rule no longer looks at a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buchner.waf.judgement import Match

_COLLECTIONS = frozenset(
    [
        "ARGS",
        "ARGS_GET",
        "ARGS_POST",
        "ARGS_NAMES",
        "ARGS_GET_NAMES",
        "ARGS_POST_NAMES",
        "FILES",
        "FILES_NAMES",
        "MULTIPART_PART_HEADERS",
        "REQUEST_COOKIES",
        "REQUEST_COOKIES_NAMES",
        "REQUEST_HEADERS",
        "REQUEST_HEADERS_NAMES",
        "RESPONSE_HEADERS",
        "XML",
    ]
)
_SINGLES = frozenset(
    [
        "QUERY_STRING",
        "REQUEST_BASENAME",
        "REQUEST_BODY",
        "REQUEST_FILENAME",
        "REQUEST_LINE",
        "REQUEST_URI",
        "REQUEST_URI_RAW",
        "RESPONSE_BODY",
    ]
)
_NAME = re.compile(r"[A-Za-z0-9_.\[\]@$-]{1,200}")
_XML = re.compile(r"/\*|//@\*")
_PATH = re.compile(r"/[A-Za-z0-9_./~+@:-]{0,500}")
_INDEX = re.compile(r"(?<=\.)\d+(?=\.|$)")


def target(variable: str) -> str | None:
    """The variable as an exclusion may name it; None if none can.

    Names come from clients. One with other characters than names have is left out: what is proposed is copied into
    files of rules. Elements of a JSON array share a pattern.
    """
    collection, colon, name = variable.partition(":")
    if not colon:
        return collection if collection in _SINGLES else None
    if collection not in _COLLECTIONS or not (_XML if collection == "XML" else _NAME).fullmatch(name):
        return None
    if collection.startswith("ARGS") and _INDEX.search(name):
        pattern = r"\d+".join(re.escape(piece) for piece in _INDEX.split(name))
        return f"{collection}:/^{pattern}$/"
    return variable


@dataclass(frozen=True, slots=True, order=True)
class Exclusion:
    """A rule that no longer looks at a variable."""

    rule: int
    target: str = ""
    """The variable; empty: the rule is switched off."""
    path: str = ""
    """The path it holds for; empty: all."""

    @classmethod
    def of(cls, match: Match, path: str = "") -> Exclusion:
        """The smallest one that frees a match. A path that no rule can name is left out by `scoped`."""
        return cls(match.rule, target(match.variable) or "", path)

    @property
    def scoped(self) -> bool:
        """Its path can be written in a rule."""
        return bool(_PATH.fullmatch(self.path))

    @property
    def before(self) -> bool:
        """It belongs into a file before the Core Rule Set; else after it."""
        return self.scoped

    def text(self, number: int) -> str:
        """The rule; `number` is the id it gets, if it needs one."""
        if not self.scoped:
            if self.target:
                return f'SecRuleUpdateTargetById {self.rule} "!{self.target}"'
            return f"SecRuleRemoveById {self.rule}"
        what = f"ruleRemoveTargetById={self.rule};{self.target}" if self.target else f"ruleRemoveById={self.rule}"
        return (
            f'SecRule REQUEST_FILENAME "@streq {self.path}" \\\n    "id:{number},phase:1,pass,nolog,t:none,ctl:{what}"'
        )
