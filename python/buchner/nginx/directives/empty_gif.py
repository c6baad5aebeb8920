"""ngx_http_empty_gif_module: one transparent pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buchner.nginx.rows import NOTHING, Inherit, supported

if TYPE_CHECKING:
    from buchner.nginx.parser import Directive
    from buchner.nginx.scope import Scope

MODULE = "ngx_http_empty_gif_module"


def _empty_gif(scope: Scope, directive: Directive) -> None:
    scope.put("empty_gif", True, directive.token)


DIRECTIVES = [
    supported(
        "empty_gif", "location", NOTHING, _empty_gif, "route.empty_gif", inherit=Inherit.NONE, sets=("empty_gif",)
    )
]
