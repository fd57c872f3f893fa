//! Flags of other tools, for those who type them out of habit: what they are called here.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags of docker, nerdctl, ctr, crictl, skopeo, podman and crane that have another name here, or
/// need none.
const FLAGS: &[(&[&str], &str)] = &[
    (&["--creds", "--src-creds"], "a login is -u USER[:PASSWORD] here"),
    (&["-u", "--user"], "the user name is -u USER or --username USER here"),
    (&["--username"], "the user name is -u USER, with --password-stdin for the password"),
    (&["-p", "--password"], "the password is asked for, or read by --password-stdin"),
    (&["--authfile", "--registry-config"], "a file with logins is --auth-file FILE here"),
    (
        &["-k", "--insecure", "--tls-verify", "--src-tls-verify", "--tls-skip-verify"],
        "--skip-verify passes over certificates",
    ),
    (&["--http", "--http-proxy"], "--plain-http talks HTTP; a proxy is taken from $https_proxy"),
    (&["--all"], "images lists all there are; pull --all-platforms pulls all platforms"),
    (&["--all-tags"], "name each tag, or a list of them with -f FILE"),
    (
        &["--arch", "--os", "--variant", "--override-arch", "--override-os", "--src-platform"],
        "a platform is --platform os/architecture[/variant]",
    ),
    (
        &["--cert-dir", "--src-cert-dir", "--tlscacert", "--cafile"],
        "certificates are told by --hosts-dir DIR",
    ),
    (&["--max-concurrent-downloads", "--jobs"], "--concurrency N blobs are fetched at a time"),
    (&["--format", "--json"], "-o json prints JSON"),
    (&["--sync"], "rm waits until the room is free"),
    (&["--prune"], "rm --unused removes what no container uses"),
    (&["--debug"], "-v shows what is asked, -vv everything"),
    (&["--host", "--runtime-endpoint", "--image-endpoint"], "containerd's socket is -a PATH"),
];

/// `error` with the name that the flag has here, where somebody else's was typed.
pub(super) fn explained(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg)
        && let Some(advice) = advice(typed)
    {
        let advice = ContextValue::StyledStrs(vec![StyledStr::from(advice)]);
        error.insert(ContextKind::Suggested, advice);
    }
    error
}

fn advice(typed: &str) -> Option<&'static str> {
    let name = typed.split('=').next().unwrap_or(typed);
    FLAGS.iter().find(|(names, _)| names.contains(&name)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::super::command;

    #[test]
    fn flags_of_other_tools_are_told_by_their_names_here() {
        for (line, advice) in [
            ("pull --creds a:b x", "-u USER[:PASSWORD]"),
            ("pull -k x", "--skip-verify"),
            ("pull --tls-verify=false x", "--skip-verify"),
            ("images --all", "images lists all"),
            ("login --user ann x", "--username USER"),
            ("pull --username ann x", "-u USER"),
            ("rm --prune", "rm --unused"),
            ("images --format json", "-o json"),
        ] {
            let arguments = std::iter::once("pullctl").chain(line.split(' '));
            let error = command::parse(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(advice), "{line}: {error}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_still_gets_the_nearest_flag() {
        let error = command::parse(["pullctl", "pull", "--concurency", "3", "x"]).unwrap_err();
        assert!(error.to_string().contains("--concurrency"), "{error}");
    }
}
