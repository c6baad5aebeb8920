"""ngx_http_v2_module: HTTP/2 towards clients."""

from __future__ import annotations

from buchner.nginx.rows import (
    FLAG,
    HTTP,
    HTTP_SERVER,
    HTTP_SERVER_LOCATION,
    NUMBER,
    SIZE,
    TIME,
    WORD,
    no_effect,
    put,
    supported,
)

MODULE = "ngx_http_v2_module"
_ALL = HTTP_SERVER_LOCATION
_GONE = "nginx has dropped it: %s does that"
_HEADS = "`large_client_header_buffers`"
_PUSH = "nginx has dropped server push, and browsers ignore it"

DIRECTIVES = [
    supported("http2", HTTP_SERVER, FLAG, put("http2"), "http2; of a port without TLS the default server's holds"),
    supported(
        "http2_max_concurrent_streams",
        HTTP_SERVER,
        NUMBER,
        put("http2_max_concurrent_streams"),
        "http2_max_concurrent_streams",
    ),
    supported(
        "http2_body_preread_size",
        HTTP_SERVER,
        SIZE,
        put("http2_body_preread_size"),
        "http2_body_preread_size; 64k at least, which a client may send before it has read any settings",
    ),
    supported("http2_chunk_size", _ALL, SIZE, put("http2_chunk_size"), "http2_chunk_size; 16k at most"),
    *no_effect("http2_recv_buffer_size", HTTP, SIZE, "buffers are a thread's, and borrowed by what is read"),
    *no_effect("http2_max_requests", HTTP_SERVER, NUMBER, _GONE % "`keepalive_requests`"),
    *no_effect("http2_idle_timeout", HTTP_SERVER, TIME, _GONE % "`keepalive_timeout`"),
    *no_effect("http2_recv_timeout", HTTP_SERVER, TIME, _GONE % "`client_header_timeout`"),
    *no_effect(
        "http2_max_field_size http2_max_header_size", HTTP_SERVER, SIZE, _GONE % "`large_client_header_buffers`"
    ),
    *no_effect("http2_max_concurrent_pushes", HTTP_SERVER, NUMBER, _PUSH),
    *no_effect("http2_push", _ALL, WORD, _PUSH, repeat=True),
    *no_effect("http2_push_preload", _ALL, FLAG, _PUSH),
]
"""Its directives."""
