"""Modules that are not part of Buchner's nginx.conf: of nginx itself, of its commercial version, of others."""

from __future__ import annotations

from buchner.nginx.rows import HTTP, HTTP_SERVER_LOCATION, MAIN, WITH_IF, Row, refused

_ALL = HTTP_SERVER_LOCATION
_OUT = "it is not part of Buchner's nginx.conf"
_PLUS = "it is of nginx's commercial version, and not part of Buchner's nginx.conf"
_MP4 = "mp4_buffer_size mp4_max_buffer_size mp4_limit_rate mp4_limit_rate_after mp4_start_key_frame"
_JS = (
    "js_context_reuse js_engine js_fetch_buffer_size js_fetch_ciphers js_fetch_max_response_buffer_size "
    "js_fetch_protocols js_fetch_timeout js_fetch_trusted_certificate js_fetch_verify js_fetch_verify_depth "
    "js_fetch_proxy js_fetch_keepalive js_fetch_keepalive_requests js_fetch_keepalive_time "
    "js_fetch_keepalive_timeout js_import js_path js_preload_object js_set js_var"
)
_TUNNEL = (
    "tunnel_allow_upstream tunnel_bind tunnel_bind_dynamic tunnel_buffer_size tunnel_connect_timeout "
    "tunnel_next_upstream tunnel_next_upstream_timeout tunnel_next_upstream_tries tunnel_read_timeout "
    "tunnel_send_lowat tunnel_send_timeout tunnel_socket_keepalive tunnel_socket_rcvbuf tunnel_socket_sndbuf"
)
_JWT = "auth_jwt auth_jwt_key_file auth_jwt_key_request auth_jwt_type auth_jwt_require"
_LIMIT_EXCEPT = "http server location limit_except"

_OWN = {
    "ngx_google_perftools_module": refused("google_perftools_profiles", MAIN, _OUT),
    "ngx_http_dav_module": refused("create_full_put_path dav_access dav_methods min_delete_depth", _ALL, _OUT),
    "ngx_http_flv_module": refused("flv", "location", _OUT),
    "ngx_http_image_filter_module": [
        *refused("image_filter", "location", _OUT),
        *refused(
            "image_filter_buffer image_filter_interlace image_filter_jpeg_quality image_filter_sharpen "
            "image_filter_transparency image_filter_webp_quality",
            _ALL,
            _OUT,
        ),
    ],
    "ngx_http_js_module": [
        *refused("js_body_filter js_access js_content js_header_filter", "location location_if limit_except", _OUT),
        *refused(_JS, _ALL, _OUT),
        *refused("js_include js_shared_dict_zone", HTTP, _OUT),
        *refused("js_load_http_native_module", MAIN, _OUT),
        *refused("js_periodic", "location", _OUT),
    ],
    "ngx_http_mp4_module": [*refused("mp4", "location", _OUT), *refused(_MP4, _ALL, _OUT)],
    "ngx_http_perl_module": [
        *refused("perl", "location limit_except", _OUT),
        *refused("perl_modules perl_require perl_set", HTTP, _OUT),
    ],
    "ngx_http_slice_module": refused("slice", _ALL, _OUT),
    "ngx_http_xslt_module": [
        *refused(
            "xml_entities xml_external_entities xslt_last_modified xslt_param xslt_string_param xslt_types", _ALL, _OUT
        ),
        *refused("xslt_stylesheet", "location", _OUT),
    ],
    "ngx_mail_core_module": refused("mail", MAIN, "mail is not part of Buchner's nginx.conf", block=True),
    "ngx_otel_module": [
        *refused("otel_exporter", HTTP, _OUT, block=True),
        *refused("otel_service_name otel_resource_attr", HTTP, _OUT),
        *refused("otel_trace otel_trace_context otel_span_name otel_span_attr", _ALL, _OUT),
    ],
    "ngx_stream_core_module": refused(
        "stream", MAIN, "TCP and UDP streams are not part of Buchner's nginx.conf", block=True
    ),
    "ngx_http_acme_module": [
        *refused("acme_issuer", HTTP, _OUT, block=True),
        *refused("acme_shared_zone", HTTP, _OUT),
        *refused("acme_certificate", "server", _OUT),
    ],
    "ngx_http_tunnel_module": [
        *refused(_TUNNEL, _ALL, _OUT),
        *refused("tunnel_pass", "server location location_if", _OUT),
    ],
}
_COMMERCIAL = {
    "ngx_http_api_module": refused("api", "location", _PLUS),
    "ngx_http_auth_jwt_module": [
        *refused(_JWT, _LIMIT_EXCEPT, _PLUS),
        *refused("auth_jwt_claim_set auth_jwt_header_set", HTTP, _PLUS),
        *refused("auth_jwt_key_cache auth_jwt_leeway", _ALL, _PLUS),
    ],
    "ngx_http_auth_require_module": refused("auth_require", _LIMIT_EXCEPT, _PLUS),
    "ngx_http_f4f_module": [*refused("f4f", "location", _PLUS), *refused("f4f_buffer_size", _ALL, _PLUS)],
    "ngx_http_hls_module": [
        *refused("hls", "location", _PLUS),
        *refused("hls_buffers hls_forward_args hls_fragment hls_mp4_buffer_size hls_mp4_max_buffer_size", _ALL, _PLUS),
    ],
    "ngx_http_internal_redirect_module": refused("internal_redirect", "server location", _PLUS),
    "ngx_http_keyval_module": refused("keyval keyval_zone", HTTP, _PLUS),
    "ngx_http_num_map_module": refused("num_map", HTTP, _PLUS, block=True),
    "ngx_http_oidc_module": [
        *refused("oidc_provider", HTTP, _PLUS, block=True),
        *refused("auth_oidc", _ALL, _PLUS),
    ],
    "ngx_http_session_log_module": [
        *refused("session_log", _ALL, _PLUS),
        *refused("session_log_format session_log_zone", HTTP, _PLUS),
    ],
    "ngx_http_status_module": [
        *refused("status", "location", _PLUS),
        *refused("status_format", _ALL, _PLUS),
        *refused("status_zone", "server location location_if", _PLUS),
    ],
    "ngx_http_upstream_conf_module": refused("upstream_conf", "location", _PLUS),
    "ngx_http_upstream_hc_module": [
        *refused("health_check", "location", _PLUS),
        *refused("match", HTTP, _PLUS, block=True),
    ],
    "ngx_mgmt_module": refused("mgmt", MAIN, _PLUS, block=True),
}
_EVERYWHERE = f"{WITH_IF} server_if limit_except"


def _of_others(module: str, names: str, *, block: bool = False) -> list[Row]:
    return refused(names, _EVERYWHERE, f"{module}, a module that is not nginx's, is not supported", block=block)


_OTHERS = {
    "other modules": [
        *_of_others("echo", "echo echo_before_body echo_after_body echo_status echo_sleep echo_location echo_exec"),
        *_of_others(
            "headers-more", "more_set_headers more_clear_headers more_set_input_headers more_clear_input_headers"
        ),
        *_of_others("brotli", "brotli brotli_static brotli_types brotli_comp_level brotli_min_length brotli_buffers"),
        *_of_others("zstd", "zstd zstd_static zstd_types zstd_comp_level zstd_min_length"),
        *_of_others("fancyindex", "fancyindex fancyindex_exact_size fancyindex_localtime"),
        *_of_others("subs-filter", "subs_filter subs_filter_types"),
        *_of_others("modsecurity", "modsecurity modsecurity_rules modsecurity_rules_file"),
        *_of_others("set-misc", "set_unescape_uri set_escape_uri set_md5 set_random set_secure_random_alphanum"),
        *_of_others("passenger", "passenger_enabled passenger_root passenger_ruby passenger_python passenger_app_env"),
        *_of_others("auth-pam", "auth_pam auth_pam_service_name"),
        *_of_others("upload-progress", "track_uploads upload_progress report_uploads"),
        *_of_others("geoip2", "geoip2", block=True),
        *_of_others(
            "lua",
            "lua_package_path lua_package_cpath lua_shared_dict lua_code_cache content_by_lua content_by_lua_file "
            "access_by_lua_file rewrite_by_lua_file set_by_lua set_by_lua_file init_by_lua_file "
            "header_filter_by_lua_file body_filter_by_lua_file log_by_lua_file",
        ),
        *_of_others(
            "lua",
            "content_by_lua_block access_by_lua_block rewrite_by_lua_block set_by_lua_block init_by_lua_block "
            "init_worker_by_lua_block header_filter_by_lua_block body_filter_by_lua_block log_by_lua_block "
            "balancer_by_lua_block",
            block=True,
        ),
        *refused("rtmp", MAIN, "rtmp, a module that is not nginx's, is not supported", block=True),
    ]
}
MODULES = _OWN | _COMMERCIAL | _OTHERS
"""Rows by module."""
