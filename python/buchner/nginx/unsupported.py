"""Directives that nginx has and Buchner does not take yet, by module, so that they are refused by name."""

from __future__ import annotations

_BY_MODULE = {
    "ngx_core_module": "env ssl_engine debug_connection debug_points working_directory worker_aio_requests",
    "ngx_stream_core_module": "stream",
    "ngx_mail_core_module": "mail",
    "ngx_http_core_module": (
        "try_files satisfy limit_rate limit_rate_after limit_except resolver resolver_timeout merge_slashes "
        "port_in_redirect if_modified_since max_ranges client_body_in_file_only max_errors disable_symlinks "
        "ignore_invalid_headers auth_delay early_hints subrequest_output_buffer_size aio_write http2"
    ),
    "ngx_http_access_module": "allow deny",
    "ngx_http_addition_module": "add_before_body add_after_body addition_types",
    "ngx_http_auth_basic_module": "auth_basic auth_basic_user_file",
    "ngx_http_auth_request_module": "auth_request auth_request_set",
    "ngx_http_autoindex_module": "autoindex autoindex_exact_size autoindex_format autoindex_localtime",
    "ngx_http_browser_module": "ancient_browser ancient_browser_value modern_browser modern_browser_value",
    "ngx_http_charset_module": "charset charset_map charset_types override_charset source_charset",
    "ngx_http_dav_module": "dav_access dav_methods create_full_put_path min_delete_depth",
    "ngx_http_empty_gif_module": "empty_gif",
    "ngx_http_fastcgi_module": (
        "fastcgi_pass fastcgi_param fastcgi_index fastcgi_split_path_info fastcgi_cache fastcgi_cache_path "
        "fastcgi_cache_key fastcgi_cache_valid fastcgi_buffers fastcgi_buffer_size fastcgi_buffering "
        "fastcgi_connect_timeout fastcgi_send_timeout fastcgi_read_timeout fastcgi_intercept_errors fastcgi_hide_header"
    ),
    "ngx_http_flv_module": "flv",
    "ngx_http_geo_module": "geo",
    "ngx_http_geoip_module": "geoip_country geoip_city geoip_org geoip_proxy geoip_proxy_recursive",
    "ngx_http_grpc_module": "grpc_pass grpc_set_header grpc_connect_timeout grpc_read_timeout grpc_send_timeout",
    "ngx_http_gunzip_module": "gunzip gunzip_buffers",
    "ngx_http_headers_module": "add_trailer",
    "ngx_http_image_filter_module": "image_filter image_filter_buffer image_filter_jpeg_quality",
    "ngx_http_js_module": "js_content js_import js_set js_path",
    "ngx_http_limit_conn_module": "limit_conn limit_conn_zone limit_conn_status limit_conn_log_level",
    "ngx_http_limit_req_module": "limit_req limit_req_zone limit_req_status limit_req_log_level limit_req_dry_run",
    "ngx_http_log_module": "open_log_file_cache",
    "ngx_http_map_module": "map map_hash_bucket_size map_hash_max_size",
    "ngx_http_memcached_module": "memcached_pass memcached_connect_timeout memcached_read_timeout",
    "ngx_http_mirror_module": "mirror mirror_request_body",
    "ngx_http_mp4_module": "mp4 mp4_buffer_size mp4_max_buffer_size",
    "ngx_http_perl_module": "perl perl_modules perl_require perl_set",
    "ngx_http_proxy_module": (
        "proxy_bind proxy_cache proxy_cache_bypass proxy_cache_key proxy_cache_lock proxy_cache_methods "
        "proxy_cache_min_uses proxy_cache_path proxy_cache_revalidate proxy_cache_use_stale proxy_cache_valid "
        "proxy_cookie_domain proxy_cookie_flags proxy_cookie_path proxy_force_ranges proxy_hide_header "
        "proxy_ignore_client_abort proxy_ignore_headers proxy_limit_rate proxy_max_temp_file_size proxy_method "
        "proxy_next_upstream proxy_next_upstream_timeout proxy_next_upstream_tries proxy_no_cache "
        "proxy_pass_header proxy_pass_request_body proxy_pass_request_headers proxy_redirect proxy_set_body "
        "proxy_ssl_certificate proxy_ssl_certificate_key proxy_ssl_ciphers proxy_ssl_name proxy_ssl_protocols "
        "proxy_ssl_server_name proxy_ssl_session_reuse proxy_ssl_trusted_certificate proxy_ssl_verify proxy_store"
    ),
    "ngx_http_random_index_module": "random_index",
    "ngx_http_realip_module": "set_real_ip_from real_ip_header real_ip_recursive",
    "ngx_http_referer_module": "valid_referers referer_hash_bucket_size referer_hash_max_size",
    "ngx_http_rewrite_module": "break if rewrite rewrite_log set uninitialized_variable_warn",
    "ngx_http_scgi_module": "scgi_pass scgi_param scgi_buffers scgi_read_timeout scgi_send_timeout",
    "ngx_http_secure_link_module": "secure_link secure_link_md5 secure_link_secret",
    "ngx_http_slice_module": "slice",
    "ngx_http_split_clients_module": "split_clients",
    "ngx_http_ssi_module": "ssi ssi_last_modified ssi_silent_errors ssi_types",
    "ngx_http_ssl_module": (
        "ssl ssl_certificate ssl_certificate_key ssl_client_certificate ssl_crl ssl_dhparam ssl_early_data "
        "ssl_ecdh_curve ssl_ocsp ssl_password_file ssl_reject_handshake ssl_session_tickets ssl_session_ticket_key "
        "ssl_stapling ssl_stapling_verify ssl_trusted_certificate ssl_verify_client ssl_verify_depth ssl_buffer_size"
    ),
    "ngx_http_stub_status_module": "stub_status",
    "ngx_http_sub_module": "sub_filter sub_filter_last_modified sub_filter_once sub_filter_types",
    "ngx_http_upstream_module": (
        "ip_hash least_conn least_time hash random state keepalive_requests keepalive_time ntlm queue sticky"
    ),
    "ngx_http_userid_module": "userid userid_domain userid_expires userid_name userid_p3p userid_path",
    "ngx_http_uwsgi_module": (
        "uwsgi_pass uwsgi_param uwsgi_buffers uwsgi_buffer_size uwsgi_read_timeout uwsgi_send_timeout "
        "uwsgi_connect_timeout uwsgi_cache uwsgi_intercept_errors"
    ),
    "ngx_http_v2_module": "http2_max_concurrent_streams http2_chunk_size http2_body_preread_size",
    "ngx_http_v3_module": "http3 http3_hq http3_max_concurrent_streams http3_stream_buffer_size quic_retry quic_gso",
    "ngx_http_xslt_module": "xml_entities xslt_stylesheet xslt_param xslt_types",
}

MODULE = {name: module for module, names in _BY_MODULE.items() for name in names.split()}
"""Module by directive."""
EXPLAINED = {
    "uwsgi_pass": "proxy to an HTTP port of the app, or let Buchner run it with an [app] in gateway.toml",
    "set_real_ip_from": "in gateway.toml `trusted_proxies` does it",
    "try_files": "in gateway.toml `files = { root = …, fallback = … }` does its usual work",
    "ssl_certificate": "TLS is not there yet",
}
"""What to do instead, where there is something."""
