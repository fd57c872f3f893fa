//! Where nodes have the configuration of plugins, and their programs.

use std::path::{Path, PathBuf};

use crate::config::environment::Environment;
use crate::config::kubelet::Kubelet;

/// Configuration and programs as they are installed, the first that is there.
///
/// | node | documented at |
/// |---|---|
/// | EKS | <https://github.com/awslabs/amazon-eks-ami> |
/// | GKE | <https://github.com/kubernetes/kubernetes/tree/master/cluster/gce> |
/// | AKS | <https://github.com/Azure/AgentBaker> |
/// | k3s, RKE2 | <https://docs.k3s.io/cli/agent> |
const USUAL: [(&str, &str); 4] = [
    ("/etc/eks/image-credential-provider/config.json", "/etc/eks/image-credential-provider"),
    ("/etc/srv/kubernetes/cri_auth_config.yaml", "/home/kubernetes/bin"),
    ("/var/lib/kubelet/credential-provider-config.yaml", "/var/lib/kubelet/credential-provider"),
    ("/var/lib/rancher/credentialprovider/config.yaml", "/var/lib/rancher/credentialprovider/bin"),
];

/// Where the plugins are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A CredentialProviderConfig, or a directory of several.
    pub config: PathBuf,
    /// The directory of the programs.
    pub programs: PathBuf,
}

/// What this node's kubelet is told by its flags, else the first of the usual places that is there.
pub(in crate::config) fn find(
    kubelet: Option<&Kubelet>,
    environment: &Environment,
) -> Option<Place> {
    let told = kubelet.and_then(|kubelet| {
        let config = kubelet.provider_config.clone()?;
        Some(Place { config, programs: kubelet.provider_directory.clone()? })
    });
    let root = environment.node_root();
    let in_node =
        |path: &str| root.join(Path::new(path).strip_prefix("/").unwrap_or(path.as_ref()));
    let usual = || {
        USUAL.iter().map(|(config, programs)| Place {
            config: in_node(config),
            programs: in_node(programs),
        })
    };
    told.or_else(|| usual().find(|place| place.config.exists()))
}
