//! Transfers that are no pull: from containerd into a layout, and back. No command makes them, so the
//! library is asked itself.

use std::path::Path;
use std::sync::{Arc, Mutex};

use pullctl::containerd::Client;
use pullctl::layout::Layout;
use pullctl::platform::Platform;
use pullctl::progress::{Event, Sink as Progress};
use pullctl::transfer::{
    self, ContainerdSink, ContainerdSource, LayoutSink, LayoutSource, Manner, Names, NodeRules,
    PlatformChoice, Request, Sink, Source, UnpackOptions,
};
use pullctl::unpack::{Inflating, Way};

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::cri::Cri;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Family, Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::{block_on, each_version, unique};

struct Nobody;

impl Progress for Nobody {
    fn event(&self, _: Event) {}
}

fn nobody() -> Arc<dyn Progress> {
    Arc::new(Nobody)
}

/// An image with a layer that is kept in memory on its way, and one that is not.
fn image() -> Image {
    let layers = [200_000, 5 << 20].map(|size| Layer::noise(&unique("layer"), size));
    Recipe::new(layers.to_vec()).build()
}

/// Brings one image from `source` into `sink`; answers what went wrong.
async fn transfer(source: impl Source + 'static, sink: impl Sink + 'static, name: &str) -> String {
    let said = Arc::new(Said::default());
    let request = Request {
        source: Arc::new(source),
        names: Arc::new(Names::new(name.parse().unwrap())),
        platforms: PlatformChoice::Host(Platform::host()),
    };
    transfer::run(&[request], Arc::new(sink), Manner::of_blobs(4), Arc::clone(&said) as Arc<_>)
        .await;
    std::mem::take(&mut *said.0.lock().unwrap())
}

/// What was said of images that failed.
#[derive(Default)]
struct Said(Mutex<String>);

impl Progress for Said {
    fn event(&self, event: Event) {
        if let Event::Failed { diagnostic, .. } = event {
            self.0.lock().unwrap().push_str(&diagnostic.one_line());
        }
    }
}

async fn client(daemon: &Containerd, namespace: &str) -> Client {
    Client::connect(&daemon.socket(), namespace).await.unwrap()
}

fn save(daemon: &Containerd, name: &str, directory: &Path) -> String {
    block_on(async {
        let client = client(daemon, KUBERNETES).await;
        let source = ContainerdSource::new(client, name.to_owned(), nobody());
        let sink = LayoutSink::new(Layout::create(directory).unwrap());
        transfer(source, sink, name).await
    })
}

fn load(directory: &Path, daemon: &Containerd, namespace: &str, name: &str) -> String {
    block_on(async {
        let layout = Layout::open(directory).unwrap();
        let entry = layout.entries().await.unwrap().remove(0);
        let source = LayoutSource::new(layout, entry.target, nobody());
        let unpack = UnpackOptions {
            snapshotter: "overlayfs".to_owned(),
            way: Way::Auto,
            max_bytes: None,
            inflating: Inflating::auto(),
            held_bytes: None,
            beside: None,
        };
        let client = client(daemon, namespace).await;
        let sink = ContainerdSink::new(
            client,
            Some(unpack),
            [name.to_owned()],
            NodeRules::default(),
            nobody(),
        );
        transfer(source, sink, name).await
    })
}

each_version! {
    fn an_image_of_containerd_becomes_one_of_a_layout(daemon) {
        let registry = FaultyRegistry::start();
        let image = image();
        let reference = registry.add_new(&Image::index(Family::Oci, vec![image.clone()]));
        Pullctl::pull(daemon, &reference).run().succeeded();
        let folder = tempfile::tempdir().unwrap();
        registry.forget_requests();
        assert_eq!(save(daemon, &reference, folder.path()), "");
        assert_eq!(registry.requests(), []);
        for blob in image.layers() {
            let path = format!("blobs/{}", blob.digest.to_string().replace(':', "/"));
            assert!(std::fs::read(folder.path().join(path)).unwrap() == blob.bytes);
        }
        let index = std::fs::read_to_string(folder.path().join("index.json")).unwrap();
        assert!(index.contains(&reference) && index.contains(&image.digest()), "{index}");
    }

    fn an_image_of_a_layout_becomes_one_of_the_kubelet(daemon) {
        let registry = FaultyRegistry::start();
        let image = image();
        let reference = registry.add_new(&image);
        let folder = tempfile::tempdir().unwrap();
        let to = format!("oci:{}", folder.path().display());
        let pull = ["pull", "--plain-http", "--to", &to, &reference];
        Pullctl::new().args(pull).run().succeeded();
        assert_eq!(load(folder.path(), daemon, KUBERNETES, &reference), "");
        let store = Store::new(daemon, KUBERNETES);
        assert_eq!(store.images()[&reference].target, image.digest());
        assert!(store.snapshots()[&image.chain_id()].committed);
        assert!(Cri::new(daemon).image(&reference).is_some());
    }

    fn an_image_that_is_not_all_there_is_named_with_what_it_lacks(daemon) {
        let registry = FaultyRegistry::start();
        let image = image();
        let reference = registry.add_new(&image);
        let folder = tempfile::tempdir().unwrap();
        let absent = save(daemon, "example.org/no/such:image", folder.path());
        assert!(absent.contains("example.org/no/such:image"), "{absent}");

        let to = format!("oci:{}", folder.path().display());
        let pull = ["pull", "--plain-http", "--to", &to, &reference];
        Pullctl::new().args(pull).run().succeeded();
        let layer = image.layers()[0].digest.to_string();
        let path = folder.path().join("blobs").join(layer.replace(':', "/"));
        let namespace = unique("lacking");
        std::fs::write(&path, vec![b'?'; image.layers()[0].bytes.len()]).unwrap();
        let said = load(folder.path(), daemon, &namespace, &reference);
        assert!(said.contains(&layer) && said.contains("is damaged in"), "{said}");
        std::fs::remove_file(&path).unwrap();
        let said = load(folder.path(), daemon, &namespace, &reference);
        assert!(said.contains(&layer) && said.contains("is not in"), "{said}");
        assert!(Store::new(daemon, &namespace).images().is_empty());
    }
}
