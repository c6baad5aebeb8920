"""ngx_http_ssl_module: settings of TLS listeners, of which there are none yet."""

from __future__ import annotations

from buchner.nginx.rows import FLAG, HTTP_SERVER, NUMBER, SECONDS, SIZE, WORD, WORDS, no_effect, refused, words

MODULE = "ngx_http_ssl_module"
_NONE = "there is no TLS listener: `listen … ssl` is refused"

DIRECTIVES = [
    *refused("ssl", HTTP_SERVER, "TLS is not supported yet, and nginx took it out in 1.25.1"),
    *no_effect(
        "ssl_ciphers ssl_client_certificate ssl_crl ssl_dhparam ssl_ecdh_curve ssl_key_log ssl_ocsp ssl_ocsp_cache "
        "ssl_ocsp_responder ssl_password_file ssl_stapling_file ssl_stapling_responder ssl_trusted_certificate "
        "ssl_verify_client",
        HTTP_SERVER,
        WORD,
        _NONE,
    ),
    *no_effect(
        "ssl_certificate ssl_certificate_key ssl_session_ticket_key ssl_ech_file", HTTP_SERVER, WORD, _NONE, repeat=True
    ),
    *no_effect("ssl_protocols ssl_session_cache ssl_certificate_cache", HTTP_SERVER, WORDS, _NONE),
    *no_effect(
        "ssl_early_data ssl_prefer_server_ciphers ssl_reject_handshake ssl_session_tickets ssl_stapling "
        "ssl_stapling_verify ssl_certificate_compression",
        HTTP_SERVER,
        FLAG,
        _NONE,
    ),
    *no_effect("ssl_buffer_size", HTTP_SERVER, SIZE, _NONE),
    *no_effect("ssl_session_timeout", HTTP_SERVER, SECONDS, _NONE),
    *no_effect("ssl_verify_depth", HTTP_SERVER, NUMBER, _NONE),
    *no_effect("ssl_conf_command", HTTP_SERVER, words(2), _NONE, repeat=True),
]
