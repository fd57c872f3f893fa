//! Flags of every command.

use clap::Args;

use crate::containerd::KUBERNETES;

/// Where commands look when nobody says anything.
pub(in crate::cli) const DEFAULT_NAMESPACE: &str = KUBERNETES;

/// What containerd's own clients use when nobody says anything.
const DEFAULT_SNAPSHOTTER: &str = "overlayfs";

/// Flags of every command.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// containerd's socket, a path or unix://PATH [default: the first that exists of containerd's,
    /// k3s's and RKE2's, MicroK8s's and k0s's]
    #[arg(short, long, global = true, env = "CONTAINERD_ADDRESS", hide_env_values = true)]
    address: Option<String>,

    /// containerd namespace; Kubernetes looks in k8s.io only
    #[arg(short, long, global = true, env = "CONTAINERD_NAMESPACE", hide_env_values = true)]
    #[arg(default_value = DEFAULT_NAMESPACE)]
    namespace: String,

    /// Snapshotter to unpack into [default: the one that the daemon's CRI or its configuration names, else overlayfs]
    #[arg(long, value_name = "NAME", global = true, env = "CONTAINERD_SNAPSHOTTER")]
    #[arg(hide_env_values = true)]
    snapshotter: Option<String>,

    /// Show every request to a registry; twice for all that there is
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl GlobalArgs {
    /// The socket as typed. A variable that is set to nothing counts as not set.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref().filter(|address| !address.is_empty())
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        if self.namespace.is_empty() { DEFAULT_NAMESPACE } else { &self.namespace }
    }

    /// The snapshotter as typed.
    pub fn snapshotter(&self) -> Option<&str> {
        self.snapshotter.as_deref().filter(|name| !name.is_empty())
    }

    /// The snapshotter as typed, else the one that containers of the kubelet are started from, as
    /// far as the daemon or its configuration tells.
    pub(in crate::cli) fn snapshotter_or(
        &self,
        daemons: Option<String>,
        configured: Option<String>,
    ) -> String {
        let typed = self.snapshotter().map(str::to_owned);
        typed.or(daemons).or(configured).unwrap_or_else(|| DEFAULT_SNAPSHOTTER.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_snapshotter_is_the_one_typed_then_the_daemons_then_the_configured_one() {
        let [daemons, configured] = ["daemons", "configured"].map(|name| Some(name.to_owned()));
        let chosen = |arguments: &[&str], daemons: &Option<String>, configured: &Option<String>| {
            let arguments = [&["pullctl", "images"], arguments].concat();
            let global = Cli::try_parse_from(arguments).unwrap().global;
            global.snapshotter_or(daemons.clone(), configured.clone())
        };
        assert_eq!(chosen(&["--snapshotter", "typed"], &daemons, &configured), "typed");
        assert_eq!(chosen(&[], &daemons, &configured), "daemons");
        assert_eq!(chosen(&[], &None, &configured), "configured");
        assert_eq!(chosen(&[], &None, &None), "overlayfs");
    }

    #[test]
    fn variables_set_to_nothing_count_as_not_set() {
        let global = GlobalArgs {
            address: Some(String::new()),
            namespace: String::new(),
            snapshotter: Some(String::new()),
            verbose: 0,
        };
        assert_eq!(global.address(), None);
        assert_eq!(global.namespace(), "k8s.io");
        assert_eq!(global.snapshotter(), None);
    }
}
