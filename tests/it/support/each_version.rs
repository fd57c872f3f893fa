//! A test that must hold on every containerd becomes one test a version, named after it; where the daemon's
//! version can say nothing, one daemon does.

/// Makes `fn sentence(daemon) { … }` into the tests `sentence::containerd_1_6`, `…_1_7` and
/// `…_2_1`; `daemon` is the shared `&'static Containerd` of that version. `…_newer` is left out
/// unless it is asked for: it needs a containerd that Debian does not have.
macro_rules! each_version {
    ($(fn $name:ident($daemon:ident) $body:block)+) => {$(
        fn $name($daemon: &'static $crate::support::containerd::Containerd) $body

        mod $name {
            use $crate::support::containerd::{Containerd, Version};

            #[test]
            fn containerd_1_6() { super::$name(Containerd::shared(Version::V1_6)); }

            #[test]
            fn containerd_1_7() { super::$name(Containerd::shared(Version::V1_7)); }

            #[test]
            fn containerd_2_1() { super::$name(Containerd::shared(Version::V2_1)); }

            #[test]
            #[ignore = "needs a containerd newer than Debian's, see `make test-newer`"]
            fn containerd_newer() { super::$name(Containerd::shared(Version::Newer)); }
        }
    )+};
}

/// Makes `fn sentence(daemon) { … }` into the test `sentence`; `daemon` is the shared
/// `&'static Containerd` of version 2.1. For what comes before the daemon is asked, or after it has answered:
/// TLS, logins, what a registry says, bars.
macro_rules! one_version {
    ($(fn $name:ident($daemon:ident) $body:block)+) => {$(
        #[test]
        fn $name() {
            use $crate::support::containerd::{Containerd, Version};

            let $daemon: &'static Containerd = Containerd::shared(Version::V2_1);
            $body
        }
    )+};
}

pub(crate) use {each_version, one_version};
