//! Which module may know which.

/// The nouns, which everyone may use.
pub(crate) const NOUNS: [&str; 7] =
    ["oci", "reference", "platform", "program", "progress", "failure", "sync"];

/// What each other module may import besides the nouns. `registry` and `containerd` are siblings:
/// only `transfer` knows both.
pub(crate) const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("registry", &["config"]),
    ("containerd", &[]),
    ("layout", &[]),
    ("lists", &[]),
    ("tar", &[]),
    ("gzip", &[]),
    ("archive", &["tar"]),
    ("unpack", &["containerd", "gzip", "tar"]),
    ("images", &["containerd"]),
    ("verifiers", &["config"]),
    (
        "transfer",
        &["config", "registry", "containerd", "layout", "archive", "unpack", "images", "verifiers"],
    ),
    ("check", &["containerd", "images", "transfer", "unpack"]),
    ("doctor", &["config", "registry", "containerd", "images"]),
    ("output", &[]),
    (
        "cli",
        &[
            "config",
            "registry",
            "containerd",
            "layout",
            "lists",
            "archive",
            "unpack",
            "images",
            "transfer",
            "check",
            "doctor",
            "verifiers",
            "output",
        ],
    ),
];

/// Whether the table, or their being nouns, lets the module `from` import `to`.
pub(crate) fn may_import(from: &str, to: &str) -> bool {
    let stands = |(room, allowed): &(&str, &[&str])| *room == from && allowed.contains(&to);
    NOUNS.contains(&to) || MAY_IMPORT.iter().any(stands)
}
