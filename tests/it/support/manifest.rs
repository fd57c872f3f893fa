//! A pod of a Kubernetes manifest, as the kubelet hands it to the CRI: volumes become directories of
//! this machine, the rest goes over as it stands.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_cri::v1::{
    Capability, ContainerConfig, ContainerMetadata, ImageSpec, Int64Value, KeyValue,
    LinuxContainerConfig, LinuxContainerSecurityContext, Mount, NamespaceMode, NamespaceOption,
    SecurityProfile, security_profile::ProfileType,
};
use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, SecurityContext, Volume};

/// The first container of `pod`, whose ConfigMap is `list` and whose image has the CRI's ID `image`;
/// what the kubelet makes on the node is made in `scratch`.
pub(crate) fn container(
    pod: &PodSpec,
    list: &ConfigMap,
    image: &str,
    scratch: &Path,
) -> ContainerConfig {
    let container = &pod.containers[0];
    let environment = container.env.iter().flatten().map(|variable| KeyValue {
        key: variable.name.clone(),
        value: variable.value.clone().unwrap_or_default(),
    });
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: 0 }),
        image: Some(ImageSpec { image: image.to_owned(), ..ImageSpec::default() }),
        command: container.command.clone().unwrap_or_default(),
        args: container.args.clone().unwrap_or_default(),
        envs: environment.collect(),
        mounts: mounts(pod, container, list, scratch),
        linux: Some(LinuxContainerConfig {
            security_context: container.security_context.as_ref().map(security),
            ..LinuxContainerConfig::default()
        }),
        ..ContainerConfig::default()
    }
}

fn mounts(pod: &PodSpec, container: &Container, list: &ConfigMap, scratch: &Path) -> Vec<Mount> {
    let volumes = pod.volumes.as_deref().unwrap_or_default();
    let mount = |mount: &k8s_openapi::api::core::v1::VolumeMount| {
        let volume = volumes.iter().find(|volume| volume.name == mount.name);
        let volume = volume.expect("each mount has its volume");
        Mount {
            container_path: mount.mount_path.clone(),
            host_path: directory(volume, list, scratch).display().to_string(),
            readonly: mount.read_only == Some(true),
            ..Mount::default()
        }
    };
    container.volume_mounts.iter().flatten().map(mount).collect()
}

/// Where the volume lies on this machine.
fn directory(volume: &Volume, list: &ConfigMap, scratch: &Path) -> PathBuf {
    if let Some(host_path) = &volume.host_path {
        let path = PathBuf::from(&host_path.path);
        match host_path.type_.as_deref() {
            Some("DirectoryOrCreate") => fs::create_dir_all(&path).expect("it can be made"),
            Some("Directory") => assert!(path.is_dir(), "{}", path.display()),
            other => panic!("no kind that is known here: {other:?}"),
        }
        return path;
    }
    let path = scratch.join(&volume.name);
    fs::create_dir_all(&path).expect("it can be made");
    if volume.config_map.is_some() {
        for (name, text) in list.data.iter().flatten() {
            fs::write(path.join(name), text).expect("it can be written");
        }
    }
    path
}

fn security(context: &SecurityContext) -> LinuxContainerSecurityContext {
    let capabilities = context.capabilities.clone().unwrap_or_default();
    let number = |number: Option<i64>| number.map(|value| Int64Value { value });
    let profile = context.seccomp_profile.as_ref().map(|profile| profile.type_.as_str());
    assert_eq!(profile, Some("RuntimeDefault"));
    LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            ..Capability::default()
        }),
        privileged: context.privileged == Some(true),
        namespace_options: Some(NamespaceOption {
            network: NamespaceMode::Node as i32,
            ..NamespaceOption::default()
        }),
        run_as_user: number(context.run_as_user),
        run_as_group: number(context.run_as_group),
        readonly_rootfs: context.read_only_root_filesystem == Some(true),
        no_new_privs: context.allow_privilege_escalation == Some(false),
        seccomp: Some(SecurityProfile {
            profile_type: ProfileType::RuntimeDefault as i32,
            ..SecurityProfile::default()
        }),
        ..LinuxContainerSecurityContext::default()
    }
}
