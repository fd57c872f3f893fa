//! The Kubernetes side of the daemon: the configuration that the kubelet's containers live with.

use k8s_cri::v1 as api;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use serde::Deserialize;
use tokio::{join, try_join};
use tonic::Code;
use tracing::debug;

use super::client::Release;
use super::introspection::{Introspection, SNAPSHOTTER_PLUGIN};
use super::{Client, Error, Plugin};
use crate::failure::Notice;

/// The release from which on the CRI plugin reports pins.
const PINS_SINCE: Release = (1, 7);

/// The release from which on the CRI plugin's status does not show the image service's configuration.
const SILENT_SINCE: Release = (2, 0);

/// The tags of the image of pods' sandboxes, by the release from which on it is the default.
const SANDBOX_IMAGES: [(Release, &str); 4] =
    [((1, 6), "3.6"), ((1, 7), "3.8"), ((2, 0), "3.10"), ((2, 2), "3.10.1")];

/// The first release of which the default is not known.
const SANDBOX_IMAGES_UNTIL: Release = (2, 3);

/// What of the CRI plugin's live configuration matters to a pull. Which members are known depends
/// on the daemon's version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CriStatus {
    /// The snapshotter that containers are started from.
    pub snapshotter: Option<String>,
    /// The pod sandbox's image, `registry.k8s.io/pause:3.8`. containerd 2 does not tell.
    pub sandbox_image: Option<String>,
}

/// The CRI runtime service.
#[derive(Debug, Clone)]
pub struct Cri {
    client: Client,
}

impl Cri {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the CRI plugin reports pins to the kubelet: containerd 1.6's keeps the label and never
    /// does.
    pub fn reports_pins(&self) -> bool {
        !self.client.is_before(PINS_SINCE)
    }

    /// What whoever pins an image here has to know, if it does not hold.
    pub fn pin_notice(&self) -> Option<Notice> {
        let notice = || {
            let message = "this containerd (before 1.7) does not tell the kubelet of pins: its image \
                garbage collection removes a pinned image as any other";
            Notice::new("pin-not-reported", message).with_hint(
                "a container that uses the image keeps it there, for instance a DaemonSet's; from \
                 containerd 1.7 on the pin holds",
            )
        };
        (!self.reports_pins()).then(notice)
    }

    /// The image of pods' sandboxes where nobody says another one, as far as it is known of this release.
    pub fn default_sandbox_image(&self) -> Option<String> {
        let (_, tag) =
            SANDBOX_IMAGES.iter().rev().find(|(release, _)| self.client.is_at_least(*release))?;
        let is_known = self.client.is_before(SANDBOX_IMAGES_UNTIL);
        is_known.then(|| format!("registry.k8s.io/pause:{tag}"))
    }

    /// Whether the daemon has a CRI plugin; one that is in trouble is one.
    pub async fn is_there(&self) -> bool {
        let mut service = RuntimeServiceClient::new(self.client.service());
        let call = service.version(api::VersionRequest { version: String::new() });
        match self.client.call("tell the version of its CRI plugin", call).await {
            Ok(_) => true,
            Err(error) => !is_absent(&error),
        }
    }

    /// What the CRI plugin says about itself; `None` when the daemon has none, as with
    /// `disabled_plugins = ["cri"]`.
    ///
    /// # Errors
    /// When the daemon refuses for another reason.
    pub async fn status(&self) -> Result<Option<CriStatus>, Error> {
        // Where it has to be asked in any case, it is asked at the same time.
        let is_silent = self.client.is_at_least(SILENT_SINCE);
        let beside = async {
            match is_silent {
                true => Some(self.snapshotter_of_images().await),
                false => None,
            }
        };
        let (told, beside) = join!(self.told(), beside);
        let Some(mut status) = told? else { return Ok(None) };
        if status.snapshotter.is_none() {
            status.snapshotter = match beside {
                Some(found) => found?,
                None => self.snapshotter_of_images().await?,
            };
        }
        Ok(Some(status))
    }

    /// The snapshotter that containers are started from, asked of whoever tells it; `None` where that is not
    /// known, and when the daemon has no CRI plugin.
    ///
    /// # Errors
    /// When the daemon refuses for another reason.
    pub async fn snapshotter(&self) -> Result<Option<String>, Error> {
        if !self.client.is_at_least(SILENT_SINCE) {
            return Ok(self.status().await?.and_then(|status| status.snapshotter));
        }
        match self.snapshotter_of_images().await {
            Err(error) if is_absent(&error) => Ok(None),
            told => told,
        }
    }

    /// What its status tells.
    async fn told(&self) -> Result<Option<CriStatus>, Error> {
        let mut service = RuntimeServiceClient::new(self.client.service());
        let call = service.status(api::StatusRequest { verbose: true });
        let answer = match self.client.call("tell the status of its CRI plugin", call).await {
            Ok(answer) => answer,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(parse(answer.info.get("config").map_or("{}", String::as_str))))
    }

    /// Which snapshotter the images are unpacked into, told by the file system that the kubelet is
    /// to watch: from containerd 2 on, the image service's configuration is not shown anywhere.
    /// `None` when there are several.
    async fn snapshotter_of_images(&self) -> Result<Option<String>, Error> {
        let mut service = ImageServiceClient::new(self.client.service());
        let call = service.image_fs_info(api::ImageFsInfoRequest {});
        let call = self.client.call("tell where its CRI plugin keeps images", call);
        let introspection = Introspection::new(self.client.clone());
        let (answer, plugins) = try_join!(call, introspection.snapshotters())?;
        let [filesystem] = answer.image_filesystems.as_slice() else { return Ok(None) };
        let Some(place) = &filesystem.fs_id else { return Ok(None) };
        Ok(snapshotter_at(&place.mountpoint, &plugins))
    }
}

/// The snapshotter that keeps its data in `directory`. One that does not say where it keeps them has
/// the directory that the CRI plugin assumes, which is named after it.
fn snapshotter_at(directory: &str, plugins: &[&Plugin]) -> Option<String> {
    let by_root = plugins
        .iter()
        .find(|plugin| plugin.exports.get("root").is_some_and(|root| root == directory))
        .map(|plugin| plugin.id.as_str());
    let by_name = || {
        let (_, name) = directory.rsplit_once('/')?;
        name.strip_prefix(SNAPSHOTTER_PLUGIN)?.strip_prefix('.')
    };
    by_root.or_else(by_name).map(str::to_owned)
}

/// Without the plugin, its service is unknown to the daemon.
pub(super) fn is_absent(error: &Error) -> bool {
    error.reply().is_some_and(|reply| reply.code == Code::Unimplemented)
}

/// The members as the CRI plugin's Go structs name them in JSON.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConfigWire {
    containerd: ContainerdWire,
    sandbox_image: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerdWire {
    snapshotter: Option<String>,
}

/// The form of this JSON is no contract: what is not found in it is simply not known.
fn parse(config: &str) -> CriStatus {
    let config: ConfigWire = serde_json::from_str(config).unwrap_or_else(|error| {
        debug!(%error, "the CRI plugin's configuration is not readable");
        ConfigWire::default()
    });
    let present = |text: Option<String>| text.filter(|text| !text.is_empty());
    CriStatus {
        snapshotter: present(config.containerd.snapshotter),
        sandbox_image: present(config.sandbox_image),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_members_that_are_there() {
        let old = r#"{"containerd":{"snapshotter":"overlayfs"},"registry":{"configPath":""},
            "sandboxImage":"registry.k8s.io/pause:3.6","unknown":[1]}"#;
        let status = parse(old);
        assert_eq!(status.snapshotter.as_deref(), Some("overlayfs"));
        assert_eq!(status.sandbox_image.as_deref(), Some("registry.k8s.io/pause:3.6"));
        for text in ["{}", "", "[]", r#"{"containerd":{"defaultRuntimeName":"runc"}}"#] {
            assert_eq!(parse(text), CriStatus::default(), "{text}");
        }
    }

    #[test]
    fn knows_a_snapshotter_by_its_root_or_its_directory_name() {
        let plugin = Plugin {
            kind: SNAPSHOTTER_PLUGIN.to_owned(),
            id: "overlayfs".to_owned(),
            exports: [("root".to_owned(), "/fast/overlay".to_owned())].into(),
            capabilities: Vec::new(),
            failure: None,
        };
        let plugins = [&plugin];
        for (directory, snapshotter) in [
            ("/fast/overlay", Some("overlayfs")),
            ("/var/lib/containerd/io.containerd.snapshotter.v1.stargz", Some("stargz")),
            ("/var/lib/containerd", None),
            ("", None),
        ] {
            assert_eq!(snapshotter_at(directory, &plugins).as_deref(), snapshotter, "{directory}");
        }
    }
}
