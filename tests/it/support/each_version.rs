//! A test that must hold on every containerd becomes one test a version, named after it.

/// Makes `fn sentence(daemon) { … }` into the tests `sentence::containerd_1_6`, `…_1_7` and
/// `…_2_1`; `daemon` is the shared `&'static Containerd` of that version.
macro_rules! each_version {
    ($($(#[$attribute:meta])* fn $name:ident($daemon:ident) $body:block)+) => {$(
        mod $name {
            use super::*;
            use $crate::support::containerd::{Containerd, Version};

            fn check($daemon: &'static Containerd) $body

            $(#[$attribute])*
            #[test]
            fn containerd_1_6() { check(Containerd::shared(Version::V1_6)); }

            $(#[$attribute])*
            #[test]
            fn containerd_1_7() { check(Containerd::shared(Version::V1_7)); }

            $(#[$attribute])*
            #[test]
            fn containerd_2_1() { check(Containerd::shared(Version::V2_1)); }
        }
    )+};
}

pub(crate) use each_version;
