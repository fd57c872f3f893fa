//! Which images a pattern is for, by the kubelet's rules.
//!
//! | pattern | image | |
//! |---|---|---|
//! | `*.dkr.ecr.*.amazonaws.com` | `1.dkr.ecr.eu.amazonaws.com/app` | each `*` stays within a part of the host's name |
//! | `*.io` | `a.b.io/app` | no: as many parts on both sides |
//! | `quay.io/team` | `quay.io/team2/app` | the path is what the image's begins with |
//! | `quay.io:8443` | `quay.io/app` | no: the port is the same, or there is none on both sides |

use glob::Pattern;

use crate::reference::split_port;

/// Whether `pattern`, as an `https://` or `http://` URL or without that, is for `image`.
pub(super) fn matches(pattern: &str, image: &str) -> bool {
    let (pattern_authority, pattern_path) = split(pattern);
    let (authority, path) = split(image);
    let (pattern_host, pattern_port) = split_port(pattern_authority);
    let (host, port) = split_port(authority);
    let pattern_parts: Vec<&str> = pattern_host.split('.').collect();
    let parts: Vec<&str> = host.split('.').collect();
    pattern_port == port
        && pattern_parts.len() == parts.len()
        && pattern_parts.iter().zip(&parts).all(|(pattern, part)| part_matches(pattern, part))
        && path.starts_with(pattern_path)
}

/// Host and port, and the path with its slash. What docker's keys end in says nothing.
fn split(written: &str) -> (&str, &str) {
    let rest = ["https://", "http://"].iter().find_map(|scheme| written.strip_prefix(scheme));
    let rest = rest.unwrap_or(written);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_api = |path: &str| matches!(path, "/v1" | "/v2" | "/v1/" | "/v2/");
    (authority, if is_api(path) || path == "/" { "" } else { path })
}

/// Classes of characters are Go's; one that this does not know fits nothing.
fn part_matches(pattern: &str, part: &str) -> bool {
    if pattern == part {
        return true;
    }
    if pattern.contains('\\') {
        return false;
    }
    let pattern = pattern.replace("[^", "[!");
    Pattern::new(&pattern).is_ok_and(|pattern| pattern.matches(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_for_the_images_that_the_kubelet_takes_them_for() {
        for (pattern, image, expected) in [
            ("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.eu-west-1.amazonaws.com/app", true),
            ("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.eu-west-1.amazonaws.com.cn/app", false),
            ("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.a.b.amazonaws.com/app", false),
            ("*.azurecr.*", "team.azurecr.io/app", true),
            ("*", "localhost/app", true),
            ("*", "a.example/app", false),
            ("reg?.example", "reg1.example/app", true),
            ("reg[0-4].example", "reg3.example/app", true),
            ("reg[^0-4].example", "reg3.example/app", false),
            ("gcr.io", "gcr.io/team/app", true),
            ("gcr.io", "eu.gcr.io/team/app", false),
            ("https://gcr.io", "gcr.io/team/app", true),
            ("gcr.io/", "gcr.io/team/app", true),
            ("gcr.io/team", "gcr.io/team/app", true),
            ("gcr.io/team", "gcr.io/team2/app", true),
            ("gcr.io/team/", "gcr.io/team2/app", false),
            ("gcr.io/other", "gcr.io/team/app", false),
            ("https://gcr.io/v1/", "gcr.io/team/app", true),
            ("gcr.io:8443", "gcr.io/team/app", false),
            ("gcr.io:8443", "gcr.io:8443/team/app", true),
            ("gcr.io", "gcr.io:8443/team/app", false),
            ("127.0.0.1:*", "127.0.0.1:5000/app", false),
            ("127.*.0.1:5000", "127.0.0.1:5000/app", true),
            ("[::1]:5000", "[::1]:5000/app", true),
            ("a\\*.example", "ab.example/app", false),
            ("reg[.example", "regx.example/app", false),
        ] {
            assert_eq!(matches(pattern, image), expected, "{pattern} for {image}");
        }
    }
}
