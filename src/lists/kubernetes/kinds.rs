//! Where Kubernetes' own kinds have their pod, and which have none.

/// What is to be done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has other objects as its items.
    List,
    /// It has a pod's specification at this path.
    Pod(&'static [&'static str]),
    /// What `kubeadm config images list -o json` prints.
    Images,
    /// It may hold logins.
    Secret,
    /// Its pods get its logins.
    Account,
    /// kubeadm's, from which it makes names of images.
    Cluster,
    /// It makes objects out of others.
    Kustomization,
    /// One of Kubernetes' own that names no image.
    WithoutImages,
    /// Anything else.
    Unknown,
}

/// Groups whose kinds are all Kubernetes' own, beside those that end in `.k8s.io`.
const OWN_GROUPS: [&str; 6] = ["", "apps", "batch", "policy", "autoscaling", "extensions"];

impl Kind {
    /// What `kind` of the API `version`, `group/version`, is.
    pub(super) fn of(version: &str, kind: &str) -> Self {
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let is_core = !version.is_empty() && group.is_empty();
        let is_own = is_core
            || OWN_GROUPS.iter().any(|own| !own.is_empty() && *own == group)
            || group.ends_with(".k8s.io") && !group.ends_with(".x-k8s.io");
        match (group, kind) {
            ("kubeadm.k8s.io", "ClusterConfiguration") => Self::Cluster,
            _ if kind == "List" => Self::List,
            ("output.kubeadm.k8s.io", "Images") => Self::Images,
            ("kustomize.config.k8s.io", _) => Self::Kustomization,
            ("", "Pod") if is_core => Self::Pod(&["spec"]),
            ("", "PodTemplate") if is_core => Self::Pod(&["template", "spec"]),
            ("", "ReplicationController") if is_core => Self::Pod(&["spec", "template", "spec"]),
            ("", "Secret") if is_core => Self::Secret,
            ("", "ServiceAccount") if is_core => Self::Account,
            ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("batch" | "extensions", "Job") => Self::Pod(&["spec", "template", "spec"]),
            ("batch", "CronJob") => Self::Pod(&["spec", "jobTemplate", "spec", "template", "spec"]),
            // Of any group: what `kubectl get` prints of several.
            _ if kind.ends_with("List") && kind.len() > "List".len() => Self::List,
            _ if is_own => Self::WithoutImages,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_group_and_name() {
        for (version, kind, expected) in [
            ("v1", "Pod", Kind::Pod(&["spec"])),
            ("apps/v1beta2", "Deployment", Kind::Pod(&["spec", "template", "spec"])),
            (
                "batch/v1",
                "CronJob",
                Kind::Pod(&["spec", "jobTemplate", "spec", "template", "spec"]),
            ),
            ("v1", "List", Kind::List),
            ("apps/v1", "DeploymentList", Kind::List),
            ("kubeadm.k8s.io/v1beta4", "ClusterConfiguration", Kind::Cluster),
            ("kubeadm.k8s.io/v1beta4", "InitConfiguration", Kind::WithoutImages),
            ("v1", "ConfigMap", Kind::WithoutImages),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition", Kind::WithoutImages),
            ("jobset.x-k8s.io/v1alpha2", "JobSet", Kind::Unknown),
            ("apps.openshift.io/v1", "DeploymentConfig", Kind::Unknown),
            ("argoproj.io/v1alpha1", "Rollout", Kind::Unknown),
            ("serving.knative.dev/v1", "Service", Kind::Unknown),
            ("", "", Kind::Unknown),
            ("", "Pod", Kind::Unknown),
        ] {
            assert_eq!(Kind::of(version, kind), expected, "{version} {kind}");
        }
    }
}
