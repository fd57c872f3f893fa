//! Debian's docker-registry on a random port, and pushing images to anything that speaks its API.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::image::{Blob, Image};
use super::supervisor::{Supervised, fresh_directory};

/// Folder of a registry's content, below that of the process.
const STORAGE: &str = "storage";

/// A running docker-registry. Its storage goes with it.
pub(crate) struct Registry {
    daemon: Supervised,
    authority: String,
    login: Option<(String, String)>,
}

impl Registry {
    /// An open registry.
    pub(crate) fn start() -> Self {
        Self::configured("")
    }

    /// A registry that wants HTTP Basic credentials.
    pub(crate) fn with_login(user: &str, password: &str) -> Self {
        Self::with(Some((user.to_owned(), password.to_owned())), None, "")
    }

    /// A pull-through cache of the registry at `upstream`.
    pub(crate) fn mirror_of(upstream: &Self) -> Self {
        Self::configured(&upstream.as_upstream())
    }

    /// A registry with `more` in its configuration.
    pub(super) fn configured(more: &str) -> Self {
        Self::with(None, None, more)
    }

    /// The same content, served by a process of its own with `more` in its configuration.
    pub(super) fn beside(&self, more: &str) -> Self {
        Self::with(None, Some(self.storage()), more)
    }

    /// What the configuration of a pull-through cache of this registry has.
    pub(super) fn as_upstream(&self) -> String {
        format!("proxy:\n  remoteurl: http://{}\n", self.authority)
    }

    fn with(login: Option<(String, String)>, storage: Option<PathBuf>, more: &str) -> Self {
        let directory = fresh_directory("registry");
        let below = directory.display();
        let storage = storage.unwrap_or_else(|| directory.join(STORAGE));
        let storage = storage.display();
        let mut config = format!(
            "version: 0.1\n\
             log:\n  level: info\n\
             storage:\n  filesystem:\n    rootdirectory: {storage}\n  delete:\n    enabled: true\n\
             http:\n  addr: 127.0.0.1:0\n  secret: only-for-uploads\n\
             {more}"
        );
        if let Some((user, password)) = &login {
            let line = Command::new("htpasswd")
                .args(["-nbB", user, password])
                .output()
                .expect("htpasswd runs");
            std::fs::write(directory.join("htpasswd"), line.stdout)
                .expect("the password file can be written");
            config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {below}/htpasswd\n");
        }
        let path = directory.join("config.yml");
        std::fs::write(&path, config).expect("the config can be written");
        let path = path.to_str().expect("temporary paths are UTF-8").to_owned();
        let daemon = Supervised::start(directory, &["docker-registry", "serve", &path]);
        let authority = daemon.wait_until("readiness of docker-registry", || {
            let log = daemon.log();
            let (_, rest) = log.split_once("listening on ")?;
            let end = rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit())?;
            rest.get(..end).map(str::to_owned)
        });
        Self { daemon, authority, login }
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    fn storage(&self) -> PathBuf {
        self.daemon.directory().join(STORAGE)
    }

    /// Waits until a pull-through cache has kept the blobs of `repository`: it does so behind the
    /// back of the client that it serves them to.
    pub(crate) fn wait_until_cached(&self, image: &Image, repository: &str) {
        let layers = format!("docker/registry/v2/repositories/{repository}/_layers/sha256");
        let layers = self.storage().join(layers);
        self.daemon.wait_until("a copy of the blobs in the cache", || {
            let kept = |blob: &Blob| layers.join(blob.digest.hex()).join("link").exists();
            image.blobs.iter().all(kept).then_some(())
        });
    }

    /// Pushes `image` as `repository:tag` and answers its reference.
    pub(crate) fn push(&self, image: &Image, repository: &str, tag: &str) -> String {
        let push = Push { authority: &self.authority, repository, login: self.login.as_ref() };
        push.image(image, tag);
        format!("{}/{repository}:{tag}", self.authority)
    }

    /// Pushes `image` under a name of its own and answers the reference.
    pub(crate) fn push_new(&self, image: &Image) -> String {
        self.push(image, &super::unique("test/image"), "v1")
    }

    /// Requests seen so far, `GET /v2/…`, without those of [`Registry::push`] and of this call.
    pub(crate) fn requests(&self) -> Vec<String> {
        // The line of a request is written after its answer: once this request's own line is there,
        // so are those of all requests that were answered before.
        let marker = super::unique("/v2/marker");
        // An error status is as good as any.
        let _ = ureq::get(format!("http://{}{marker}", self.authority)).call();
        self.daemon.wait_until("the registry's access log", || {
            let log = self.daemon.log();
            log.contains(&marker).then(|| access_log(&log))
        })
    }
}

/// `METHOD path` of each line in Apache's combined format that no push or marker caused.
fn access_log(log: &str) -> Vec<String> {
    log.lines()
        .filter(|line| !line.contains("time=") && !line.contains(PUSH_AGENT))
        .filter_map(|line| {
            let (_, request) = line.split_once("] \"")?;
            let (request, _) = request.split_once(" HTTP/")?;
            Some(request.to_owned())
        })
        .filter(|request| !request.contains("/v2/marker-"))
        .collect()
}

const PUSH_AGENT: &str = "pullctl-test-push";

/// Uploads by the distribution API, in the way that docker push does it.
struct Push<'a> {
    authority: &'a str,
    repository: &'a str,
    login: Option<&'a (String, String)>,
}

impl Push<'_> {
    fn image(&self, image: &Image, tag: &str) {
        for blob in &image.blobs {
            self.blob(blob);
        }
        for document in &image.documents {
            self.document(document, &document.digest.to_string());
        }
        self.document(&image.root, tag);
    }

    fn blob(&self, blob: &Blob) {
        let start = format!("http://{}/v2/{}/blobs/uploads/", self.authority, self.repository);
        let started =
            self.headers(ureq::post(start)).send_empty().expect("the registry starts an upload");
        let location = started
            .headers()
            .get("location")
            .and_then(|location| location.to_str().ok())
            .expect("the registry says where to upload");
        let separator = if location.contains('?') { '&' } else { '?' };
        self.headers(ureq::put(format!("{location}{separator}digest={}", blob.digest)))
            .header("content-type", "application/octet-stream")
            .send(&blob.bytes[..])
            .expect("the registry takes the blob");
    }

    fn document(&self, document: &Blob, reference: &str) {
        let url = format!("http://{}/v2/{}/manifests/{reference}", self.authority, self.repository);
        self.headers(ureq::put(url))
            .header("content-type", &document.media_type)
            .send(&document.bytes[..])
            .expect("the registry takes the manifest");
    }

    fn headers<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        let request = request.header("user-agent", PUSH_AGENT);
        match self.login {
            Some((user, password)) => {
                let pair = BASE64.encode(format!("{user}:{password}"));
                request.header("authorization", format!("Basic {pair}"))
            }
            None => request,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::containerd::KUBERNETES;
    use crate::support::each_version;
    use crate::support::image::{Family, Layer, OCI_MANIFEST, Packing, Recipe};
    use crate::support::store::Store;
    use crate::support::tree;

    #[test]
    fn skopeo_copies_a_pushed_index_with_all_its_platforms() {
        let registry = Registry::start();
        let arm = Recipe::new(vec![Layer::file("arm", b"arm")]).platform("linux/arm64/v8").build();
        let image = Image::index(Family::Oci, vec![Image::small(), arm]);
        let reference = registry.push_new(&image);
        let folder = tempfile::tempdir().unwrap();
        let layout = format!("oci:{}:copy", folder.path().display());
        let copied = Command::new("skopeo")
            .args(["copy", "--all", "--src-tls-verify=false"])
            .args([format!("docker://{reference}"), layout])
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let index = std::fs::read_to_string(folder.path().join("index.json")).unwrap();
        assert!(index.contains(&image.digest()), "{index}");
        let requests = registry.requests();
        let manifest = format!(
            "GET /v2/{}",
            reference.split_once('/').unwrap().1.replace(":v1", "/manifests/v1")
        );
        assert!(requests.contains(&manifest), "{requests:?}");
    }

    #[test]
    fn a_registry_with_a_login_turns_strangers_away() {
        let registry = Registry::with_login("ann", "secret");
        let reference = registry.push_new(&Image::small());
        let inspect = |credentials: &[&str]| {
            Command::new("skopeo")
                .args(["inspect", "--tls-verify=false"])
                .args(credentials)
                .arg(format!("docker://{reference}"))
                .output()
                .unwrap()
                .status
                .success()
        };
        assert!(inspect(&["--creds", "ann:secret"]));
        assert!(!inspect(&["--creds", "ann:wrong"]));
        assert!(!inspect(&["--no-creds"]));
    }

    #[test]
    fn a_mirror_serves_what_its_upstream_has() {
        let upstream = Registry::start();
        let mirror = Registry::mirror_of(&upstream);
        let reference = upstream.push_new(&Image::small());
        let (_, name) = reference.split_once('/').unwrap();
        let (repository, tag) = name.split_once(':').unwrap();
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", mirror.authority());
        let answer = ureq::get(url).header("accept", OCI_MANIFEST).call();
        assert!(answer.is_ok(), "{answer:?}\n{}\n{}", upstream.daemon.log(), mirror.daemon.log());
    }

    each_version! {
        fn ctr_pulls_and_mounts_a_pushed_image(daemon) {
            let registry = Registry::start();
            let layers = [tree::curious(), tree::curious_above()]
                .map(|tree| Layer::pack(&tree.into_tar(), Packing::Gzip));
            let image = Recipe::new(layers.to_vec()).family(Family::Docker).build();
            let reference = registry.push_new(&image);
            daemon.ctr(KUBERNETES, &["images", "pull", "--plain-http", &reference]);

            let store = Store::new(daemon, KUBERNETES);
            assert_eq!(store.images()[&reference].target, image.digest());
            assert_eq!(store.blob(&image.digest()), image.root.bytes);
            assert!(store.snapshots()[&image.chain_id()].committed);
            store.with_mounted(&image.chain_id(), |root| {
                assert_eq!(std::fs::read(root.join("twice")).unwrap(), b"second");
                assert!(!root.join("removed").exists());
                assert!(!root.join("hidden/below").exists());
                assert!(root.join("hidden/above").exists());
            });
        }
    }
}
