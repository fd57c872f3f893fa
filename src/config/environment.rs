//! Where this user's logins and the node's files are, by the environment.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::{fs, io};

/// The variables that say where files are, read once so that tests need not set them.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The home directory.
    pub home: Option<PathBuf>,
    /// `DOCKER_CONFIG`: the directory of docker's `config.json`.
    pub docker_config: Option<PathBuf>,
    /// `REGISTRY_AUTH_FILE`: podman's logins.
    pub registry_auth_file: Option<PathBuf>,
    /// Where podman keeps them otherwise: `$XDG_RUNTIME_DIR/containers`, or without that variable
    /// `/run/containers/UID`, if that can be reached.
    pub podman_directory: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`, where podman looks after that.
    pub config_home: Option<PathBuf>,
    /// `PULLCTL_NODE_ROOT`: where the node's root directory is, for one that runs in a container.
    pub node_root: Option<PathBuf>,
}

impl Environment {
    /// The environment of this process. A variable that is empty is as good as unset.
    pub fn of_process() -> Self {
        let path = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let uid = rustix::process::getuid().as_raw();
        let podman_directory = match path("XDG_RUNTIME_DIR") {
            Some(directory) => Some(PathBuf::from(directory).join("containers")),
            None => Some(format!("/run/containers/{uid}").into()).filter(may_be_reached),
        };
        Self {
            home: env::home_dir(),
            docker_config: path("DOCKER_CONFIG").map(PathBuf::from),
            registry_auth_file: path("REGISTRY_AUTH_FILE").map(PathBuf::from),
            podman_directory,
            config_home: path("XDG_CONFIG_HOME").map(PathBuf::from),
            node_root: path("PULLCTL_NODE_ROOT").map(PathBuf::from),
        }
    }

    /// The directory below which the kubelet's files and `/proc` are looked for.
    pub fn node_root(&self) -> PathBuf {
        self.node_root.clone().unwrap_or_else(|| "/".into())
    }

    /// Docker's `config.json`, whether it exists or not; `None` without a home.
    pub fn docker_config_file(&self) -> Option<PathBuf> {
        let in_home = || self.home.as_ref().map(|home| home.join(".docker"));
        Some(self.docker_config.clone().or_else(in_home)?.join("config.json"))
    }

    /// Podman's files, in the order in which it reads them, whether they exist or not. See
    /// containers-auth.json(5).
    pub fn podman_auth_files(&self) -> Vec<PathBuf> {
        if let Some(file) = &self.registry_auth_file {
            return vec![file.clone()];
        }
        let in_home = || self.home.as_ref().map(|home| home.join(".config"));
        let below_config = self.config_home.clone().or_else(in_home);
        let below_config = below_config.map(|directory| directory.join("containers"));
        [self.podman_directory.clone(), below_config]
            .into_iter()
            .flatten()
            .map(|directory| directory.join("auth.json"))
            .collect()
    }
}

/// Whether the directory, if there is one, lies in none that is closed to this user. Podman run by root
/// closes `/run/containers` to all others, whose logins it then can't hold.
fn may_be_reached(directory: &PathBuf) -> bool {
    !fs::metadata(directory).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_where_the_variables_say_and_else_below_the_home() {
        let home = Environment { home: Some("/home/me".into()), ..Environment::default() };
        let all = Environment {
            docker_config: Some("/docker".into()),
            podman_directory: Some("/run/containers/7".into()),
            config_home: Some("/config".into()),
            ..home.clone()
        };
        let named = Environment { registry_auth_file: Some("/auth.json".into()), ..all.clone() };
        for (environment, docker, podman) in [
            (
                home,
                Some("/home/me/.docker/config.json"),
                vec!["/home/me/.config/containers/auth.json"],
            ),
            (
                all,
                Some("/docker/config.json"),
                vec!["/run/containers/7/auth.json", "/config/containers/auth.json"],
            ),
            (named, Some("/docker/config.json"), vec!["/auth.json"]),
            (Environment::default(), None, vec![]),
        ] {
            assert_eq!(environment.docker_config_file(), docker.map(PathBuf::from));
            let podman: Vec<PathBuf> = podman.iter().map(PathBuf::from).collect();
            assert_eq!(environment.podman_auth_files(), podman);
        }
    }
}
