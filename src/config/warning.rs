//! What in the configuration was read, but cannot have been meant as it stands.

/// What a warning is about, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarningKind {
    /// A setting that nothing reads: most often a slip of the pen.
    UnknownSetting,
    /// `docker.io` named as a server, which serves a web site and no registry.
    DockerHubServer,
    /// A `*.key` in docker's layout without its `*.cert`.
    KeyWithoutCertificate,
    /// A login in a file that cannot be decoded.
    UnusableLogin,
    /// Settings with which containerd's CRI plugin does not start.
    CriWillNotStart,
    /// Settings that some versions of containerd pass over.
    IgnoredSection,
    /// Mirrors that a hosts directory takes the place of.
    MirrorsNotUsed,
    /// A header for every registry that is none to be sent to every registry.
    HeaderNotSent,
    /// Settings of the kubelet that cannot be read.
    KubeletSettings,
    /// A configuration of the kubelet's plugins that cannot be obeyed.
    ProviderSettings,
    /// A plugin of the kubelet's that gives logins to pods only.
    ProviderNeedsPod,
    /// A configuration of containerd with which another daemon was started than the one that
    /// answers.
    OtherDaemon,
    /// A directory that is named without the port of the registry that it is meant for.
    DirectoryWithoutPort,
}

impl WarningKind {
    /// The name that scripts read: `unknown-setting`, …
    fn code(self) -> &'static str {
        match self {
            Self::UnknownSetting => "unknown-setting",
            Self::DockerHubServer => "docker-hub-server",
            Self::KeyWithoutCertificate => "key-without-certificate",
            Self::UnusableLogin => "unusable-login",
            Self::CriWillNotStart => "cri-will-not-start",
            Self::IgnoredSection => "ignored-section",
            Self::MirrorsNotUsed => "mirrors-not-used",
            Self::HeaderNotSent => "header-not-sent",
            Self::KubeletSettings => "kubelet-settings",
            Self::ProviderSettings => "credential-provider-settings",
            Self::ProviderNeedsPod => "credential-provider-needs-pod",
            Self::OtherDaemon => "other-daemon",
            Self::DirectoryWithoutPort => "directory-without-port",
        }
    }
}

impl From<WarningKind> for &'static str {
    fn from(kind: WarningKind) -> Self {
        kind.code()
    }
}
