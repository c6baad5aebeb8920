"""ngx_http_gzip_static_module: files compressed beforehand."""

from __future__ import annotations

from buchner.nginx.rows import HTTP_SERVER_LOCATION, keep, one_of, supported

MODULE = "ngx_http_gzip_static_module"

DIRECTIVES = [
    supported(
        "gzip_static",
        HTTP_SERVER_LOCATION,
        one_of("on", "off", "always"),
        keep,
        "files.precompressed, files.precompressed_always",
    ),
]
