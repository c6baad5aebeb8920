"""ngx_http_gunzip_module: compressed answers for clients that cannot read them."""

from __future__ import annotations

from buchner.nginx.rows import BUFFERS, FLAG, HTTP_SERVER_LOCATION, no_effect, put, supported

MODULE = "ngx_http_gunzip_module"

DIRECTIVES = [
    supported("gunzip", HTTP_SERVER_LOCATION, FLAG, put("gunzip"), "gunzip"),
    *no_effect("gunzip_buffers", HTTP_SERVER_LOCATION, BUFFERS, "memory is taken as it is needed"),
]
