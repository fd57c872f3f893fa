//! Which hosts have shown a certificate. A host that has, has chosen a version and a cipher: what it
//! refuses after that is not how it is spoken to, but who speaks.

use std::sync::{Arc, Mutex};

use rustls_pki_types::ServerName;

use crate::sync::lock;

/// Most hosts that are noted: a registry may redirect to as many as it likes.
const MAX_HOSTS: usize = 100;

/// The names of those hosts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown(Arc<Mutex<Vec<ServerName<'static>>>>);

impl Shown {
    /// Whether the host `name` has shown one.
    pub(crate) fn by(&self, name: &str) -> bool {
        let name = ServerName::try_from(name.trim_matches(['[', ']']));
        name.is_ok_and(|name| lock(&self.0).contains(&name.to_owned()))
    }

    /// Notes that the host `name` has.
    pub(super) fn note(&self, name: &ServerName<'_>) {
        let mut names = lock(&self.0);
        let name = name.to_owned();
        if names.len() < MAX_HOSTS && !names.contains(&name) {
            names.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart_by_name_and_by_address_and_are_bounded() {
        let shown = Shown::default();
        for name in ["a.example", "10.0.0.1", "fd00::1"] {
            shown.note(&ServerName::try_from(name).unwrap());
        }
        for (name, expected) in [
            ("a.example", true),
            ("A.Example", true),
            ("10.0.0.1", true),
            ("[fd00::1]", true),
            ("b.example", false),
            ("10.0.0.2", false),
            ("no name", false),
        ] {
            assert_eq!(shown.by(name), expected, "{name}");
        }
        for number in 0..2 * MAX_HOSTS {
            shown.note(&ServerName::try_from(format!("{number}.example")).unwrap());
        }
        assert_eq!(lock(&shown.0).len(), MAX_HOSTS);
    }
}
