"""ngx_http_random_index_module: any file of a directory as its index."""

from __future__ import annotations

from buchner.nginx.rows import FLAG, keep, supported

MODULE = "ngx_http_random_index_module"

DIRECTIVES = [supported("random_index", "location", FLAG, keep, "files.random_index")]
