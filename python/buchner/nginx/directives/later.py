"""Modules whose capability comes later; what they would do must not be missing silently, so it is refused by name."""

from __future__ import annotations

from buchner.nginx.rows import (
    HTTP,
    HTTP_SERVER,
    HTTP_SERVER_LOCATION,
    MAIN,
    WITH_IF,
    WORDS,
    no_effect,
    refused,
)

_LATER = "it is not supported yet"
_ALL = HTTP_SERVER_LOCATION
_NO_HTTP3 = "nothing uses it: `listen … quic` is refused"

MODULES = {
    "ngx_http_geoip_module": refused(
        "geoip_country geoip_city geoip_org geoip_proxy geoip_proxy_recursive", HTTP, _LATER
    ),
    "ngx_http_ssi_module": [
        *refused("ssi", WITH_IF, _LATER),
        *refused("ssi_last_modified ssi_min_file_chunk ssi_silent_errors ssi_types ssi_value_length", _ALL, _LATER),
    ],
    "ngx_http_v3_module": [
        *no_effect(
            "http3 http3_hq http3_max_concurrent_streams http3_stream_buffer_size quic_active_connection_id_limit "
            "quic_gso quic_host_key quic_retry",
            HTTP_SERVER,
            WORDS,
            _NO_HTTP3,
        ),
        *no_effect("quic_bpf", MAIN, WORDS, _NO_HTTP3),
    ],
}
"""Rows by module."""
