//! `host[:port]`, as references, settings and labels write it.

/// Splits `host[:port]`; the brackets of an IPv6 address stay with the host.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // The colon belongs to an IPv6 address without a port.
        Some((_, port)) if port.contains(']') => (authority, None),
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    }
}

/// `host` without the brackets of an IPv6 address.
pub fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_names_and_addresses() {
        for (authority, expected, bare) in [
            ("host", ("host", None), "host"),
            ("host:443", ("host", Some("443")), "host"),
            ("127.0.0.1:5000", ("127.0.0.1", Some("5000")), "127.0.0.1"),
            ("[::1]", ("[::1]", None), "::1"),
            ("[::1]:443", ("[::1]", Some("443")), "::1"),
        ] {
            assert_eq!(split_port(authority), expected);
            assert_eq!(without_brackets(expected.0), bare);
        }
    }
}
