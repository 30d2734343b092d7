//! Why a directive has no counterpart here.

/// The reason for the directive `name`, where nothing better is known.
pub(super) fn reason(name: &str) -> &'static str {
    TABLE
        .iter()
        .find(|(names, _)| names.split(' ').any(|known| known == name || prefix_of(known, name)))
        .map_or("there is nothing like it here", |(_, why)| why)
}

/// "proxy_cache_*" is everything that begins so.
fn prefix_of(known: &str, name: &str) -> bool {
    known.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix))
}

/// The first row that fits counts.
const TABLE: &[(&str, &str)] = &[
    ("user daemon master_process", "whoever starts the gate says as whom: see deploy/farmgate.service"),
    ("pid", "the gate has a file of its own: paths.pid"),
    ("worker_processes worker_cpu_affinity worker_priority", "there is a worker for each core"),
    (
        "worker_rlimit_nofile worker_rlimit_core",
        "whoever starts the gate sets its limits: see deploy/farmgate.service",
    ),
    (
        "events worker_connections use multi_accept accept_mutex",
        "connections are bounded by limits.connections",
    ),
    ("load_module lua_* js_* perl_*", "there are no modules"),
    ("error_log debug_connection", "the gate's own log goes to stderr; FARMGATE_LOG says how much"),
    ("access_log", "the gate writes its own logs, with masked addresses, and rotates them: see [access_log]"),
    ("log_format open_log_file_cache log_not_found log_subrequest", "there are two forms: access_log.format"),
    (
        "client_body_temp_path proxy_temp_path fastcgi_temp_path uwsgi_temp_path scgi_temp_path",
        "there are no temporary files",
    ),
    (
        "types default_type types_hash_* charset charset_types override_charset",
        "backends say what type their answers are",
    ),
    ("include", "lists of types are for files, and only .well-known is served from files"),
    (
        "sendfile* aio directio* output_buffers tcp_nopush tcp_nodelay postpone_output read_ahead open_file_cache*",
        "how bytes are moved is not configured",
    ),
    ("server_tokens", "the gate's answers name no version"),
    (
        "server_names_hash_* variables_hash_* map_hash_* proxy_headers_hash_*",
        "tables have the size they need",
    ),
    ("keepalive_requests", "a connection is closed in good order after 100,000 requests"),
    (
        "keepalive keepalive_time keepalive_disable",
        "connections to backends are kept where the backend bears it",
    ),
    ("client_header_buffer_size large_client_header_buffers", "a head has at most 64 KiB"),
    ("client_body_buffer_size client_body_in_*", "bodies up to limits.body are held in memory"),
    (
        "reset_timedout_connection lingering_* send_timeout",
        "connections are closed so that nothing sent is lost",
    ),
    ("http2 http2_* http3 http3_* quic_*", "HTTP/1.1 and HTTP/2 are always spoken, HTTP/3 never"),
    (
        "ssl_protocols ssl_ciphers ssl_conf_command ssl_ecdh_curve ssl_prefer_server_ciphers",
        "TLS 1.2 and 1.3, with the ciphers that rustls finds good",
    ),
    ("ssl_dhparam", "there is no finite-field Diffie-Hellman, so nothing to generate for it"),
    (
        "ssl_session_* ssl_buffer_size ssl_early_data",
        "sessions are resumed by tickets, whose keys change by themselves",
    ),
    ("ssl_stapling* resolver resolver_timeout", "there is no OCSP stapling"),
    ("ssl_trusted_certificate", "admins' certificates are measured by client_ca alone"),
    ("ssl_verify_depth", "a certificate of an admin may come with the ones above it"),
    ("ssl_password_file", "keys lie unencrypted in a folder that only the gate can read"),
    ("ssl_verify_client ssl_client_certificate ssl_crl", "it has no part in who may see the admin pages"),
    ("ssl_*", "TLS is set up as rustls finds it good"),
    ("proxy_ssl_*", "backends are spoken to in plain HTTP"),
    ("proxy_http_version proxy_method", "backends are spoken to in HTTP/1.1, as Guile's web server needs it"),
    (
        "proxy_set_header proxy_pass_request_headers proxy_pass_request_body proxy_set_body",
        "each backend gets the headers it can bear, X-Forwarded-For and its kin among them for Cuirass",
    ),
    (
        "proxy_redirect proxy_cookie_*",
        "backends' redirects and cookies go on as they are: both name paths only",
    ),
    (
        "proxy_buffer* proxy_busy_buffers_size proxy_max_temp_file_size proxy_temp_file_write_size proxy_request_buffering",
        "answers are passed on as they come, requests when they are complete",
    ),
    (
        "proxy_next_upstream* max_fails fail_timeout",
        "a safe request is tried again where that can help; see timeouts.backend_restart",
    ),
    ("proxy_ignore_client_abort", "what many wait for is fetched to its end when one of them leaves"),
    (
        "proxy_ignore_headers proxy_cache_bypass proxy_no_cache proxy_cache_methods proxy_cache_key proxy_cache_min_uses proxy_cache_convert_head",
        "the cache goes by RFC 9111 and by what the answer says",
    ),
    (
        "proxy_cache_lock* proxy_cache_revalidate proxy_cache_background_update proxy_cache_use_stale",
        "it always does so, as far as RFC 9111 lets it",
    ),
    ("proxy_cache_path", "the cache has a form and a folder of its own: paths.cache"),
    ("proxy_cache proxy_cache_*", "what is kept is fixed: /static, /download and finished logs"),
    ("proxy_hide_header proxy_pass_header proxy_intercept_errors", "headers and errors of backends go on"),
    (
        "proxy_connect_timeout proxy_read_timeout proxy_send_timeout",
        "timeouts are for all paths alike, but for nars",
    ),
    ("proxy_pass", "it is on none of the ways that a request can take here"),
    (
        "add_header add_trailer more_set_headers more_clear_headers",
        "the gate adds no headers of the operator's",
    ),
    (
        "expires etag if_modified_since",
        "answers keep the headers of their backend; downloads have cache.download.expires",
    ),
    ("gzip* brotli* gunzip zstd*", "bodies go on as they are: substitutes are compressed already"),
    ("error_page recursive_error_pages", "error pages are built in"),
    ("limit_req* limit_rate*", "there is no limit of this form; what there is stands in [limits]"),
    ("limit_conn*", "limits.connections_per_client counts open connections, used or not: choose a number"),
    ("client_max_body_size", "limits.body is for all sites and paths"),
    ("client_body_timeout", "timeouts.read is for the bodies of clients, too"),
    (
        "return rewrite rewrite_log break set set_real_ip_from real_ip_* uninitialized_variable_warn",
        "routes are built in, and paths go on as they are",
    ),
    ("map geo split_clients", "there are no variables"),
    ("if", "there are no conditions"),
    (
        "allow deny satisfy auth_basic auth_basic_user_file auth_request auth_request_set auth_jwt internal",
        "who may see what is decided by certificate, and for the admin pages only",
    ),
    (
        "root alias index try_files autoindex* disable_symlinks",
        "only .well-known is served from files: webroot",
    ),
    (
        "port_in_redirect server_name_in_redirect absolute_redirect",
        "redirects to https always go to port 443",
    ),
    (
        "merge_slashes underscores_in_headers ignore_invalid_headers",
        "the path is judged in every way that a backend could read it, headers by the strict reading",
    ),
    ("zone ip_hash least_conn random hash", "each backend is one address"),
    ("server", "each backend is one address: the first"),
    ("stream mail", "only HTTP is spoken: something else has to listen there"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_counts_before_all_that_begin_like_it() {
        assert!(reason("ssl_dhparam").contains("Diffie-Hellman"));
        assert!(reason("ssl_whatever").contains("rustls"));
        assert!(reason("gzip_types").contains("compressed already"));
        assert_eq!(reason("secure_link"), "there is nothing like it here");
    }

    /// A name in two rows has a reason that nobody ever reads.
    #[test]
    fn no_name_stands_in_the_table_twice() {
        let mut names: Vec<_> = TABLE.iter().flat_map(|(names, _)| names.split(' ')).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
