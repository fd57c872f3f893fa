//! What `--version` says. It is known when the crate is built: `build.rs` writes it.

use std::ffi::OsString;

/// Version, commit and target.
pub(super) const BRIEF: &str = include_str!(concat!(env!("OUT_DIR"), "/version"));

/// That, and compiler and libraries, each on a line.
pub(super) const VERBOSE: &str = include_str!(concat!(env!("OUT_DIR"), "/version-verbose"));

/// What the version is to be, should `arguments` ask for it. clap stops at the flag that asks, so
/// one that asks for more may never be reached: `--version --verbose`, `-vV`, `-Vv`.
pub(super) fn version(arguments: &[OsString]) -> &'static str {
    let typed = arguments.iter().skip(1).take_while(|argument| *argument != "--");
    let is_verbose = typed.filter_map(|argument| argument.to_str()).any(|argument| {
        let letters = argument.strip_prefix('-').unwrap_or_default();
        argument == "--verbose"
            || letters.contains('v') && letters.chars().all(|letter| matches!(letter, 'v' | 'V'))
    });
    if is_verbose { VERBOSE } else { BRIEF }
}

#[cfg(test)]
mod tests {
    use super::super::command;

    fn told(line: &str) -> String {
        command::parse(line.split(' ')).unwrap_err().to_string()
    }

    #[test]
    fn libraries_are_told_to_who_asks_for_more() {
        for line in [
            "pullctl --version --verbose",
            "pullctl --verbose --version",
            "pullctl -V -v",
            "pullctl -v -V",
            "pullctl -vV",
            "pullctl -Vv",
        ] {
            let text = told(line);
            for library in ["rustc 1.", "rustls 0.", "aws-lc-rs 1.", "containerd-client 0."] {
                assert!(text.contains(&format!("\n{library}")), "{line}: {text}");
            }
        }
    }

    #[test]
    fn one_line_tells_version_commit_and_target() {
        for line in ["pullctl --version", "pullctl -V", "pullctl -V -- -v"] {
            let text = told(line);
            let start = concat!("pullctl ", env!("CARGO_PKG_VERSION"), " (");
            assert!(text.starts_with(start), "{line}: {text}");
            assert!(text.trim_end().ends_with("-linux-gnu)"), "{line}: {text}");
            assert_eq!(text.lines().count(), 1, "{line}: {text}");
        }
    }
}
