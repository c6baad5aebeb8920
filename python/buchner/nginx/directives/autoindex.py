"""ngx_http_autoindex_module: lists of directories."""

from __future__ import annotations

from buchner.nginx.rows import FLAG, HTTP_SERVER_LOCATION, keep, one_of, supported

MODULE = "ngx_http_autoindex_module"
_ALL = HTTP_SERVER_LOCATION

DIRECTIVES = [
    supported("autoindex", _ALL, FLAG, keep, "files.autoindex"),
    supported("autoindex_exact_size", _ALL, FLAG, keep, "files.autoindex_exact_size"),
    supported("autoindex_format", _ALL, one_of("html", "xml", "json", "jsonp"), keep, "files.autoindex"),
    supported("autoindex_localtime", _ALL, FLAG, keep, "files.autoindex_localtime"),
]
