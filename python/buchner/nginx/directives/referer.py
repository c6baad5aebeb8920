"""ngx_http_referer_module: where a link was followed from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from buchner.nginx.rows import NUMBER, WORDS, no_effect, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_referer_module"


def _valid_referers(scope: Scope, directive: Directive) -> None:
    known = [] if scope.table.valid_referers is UNSET else scope.table.valid_referers
    for arg in directive.args:
        if "://" in arg.text and not arg.text.startswith("~"):
            scope.error(arg, f'invalid referer "{arg.text}": it is given without its scheme')
    scope.put("valid_referers", [*known, *directive.words], directive.args[0])


DIRECTIVES = [
    supported("valid_referers", "server location", WORDS, _valid_referers, "valid_referers", repeat=True),
    *no_effect(
        "referer_hash_bucket_size referer_hash_max_size", "server location", NUMBER, "tables grow by themselves"
    ),
]
