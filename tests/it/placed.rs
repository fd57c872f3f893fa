//! Small blobs that are put where the daemon looks for them: from the first one on where it sees the files
//! that we see, and otherwise not before it was seen to store one.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::image::Image;
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// What is logged when the daemon was seen to store a blob by itself, or not to find one.
const STORED: &str = "looked for the daemon's blobs";
const REFUSED: &str = "a blob put in place is not accepted";

/// Lets everybody talk to the daemon at `target` by way of this process, which listens at the path that is
/// returned.
fn forwarded(folder: &Path, target: PathBuf) -> PathBuf {
    let path = folder.join("forwarded.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, daemon) = (client.unwrap(), UnixStream::connect(&target).unwrap());
            for (mut from, mut to) in
                [(client.try_clone().unwrap(), daemon.try_clone().unwrap()), (daemon, client)]
            {
                thread::spawn(move || {
                    // Either may hang up.
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    path
}

each_version! {
    fn the_first_blob_is_put_in_place_where_the_daemon_sees_our_files(daemon) {
        let registry = Registry::start();
        // A daemon has no directory of blobs before it has the first one.
        Pullctl::pull(daemon, &registry.push_new(&Image::small())).run().succeeded();
        for (pull, is_stored) in [
            (Pullctl::new().on(daemon), false),
            (Pullctl::blind_to(Path::new("/mnt")).on(daemon), true),
        ] {
            let (image, namespace) = (Image::small(), unique("placed"));
            let reference = registry.push_new(&image);
            let pull = pull.args(["-n", &namespace, "pull", "--plain-http", "-vv", &reference]);
            let told = pull.run().succeeded().stderr;
            assert_eq!(told.contains(STORED), is_stored, "{told}");
            assert!(!told.contains(REFUSED), "{told}");
            Pullctl::new().on(daemon).args(["-n", &namespace, "check", "--deep"]).run().succeeded();
        }
    }
}

/// As where a socket is forwarded from another machine.
#[test]
fn a_daemon_that_looks_elsewhere_is_given_the_bytes() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    for version in Version::ALL {
        let daemon = Containerd::with_mounts_of_its_own(version);
        let blobs = daemon.root().join("io.containerd.content.v1.content/blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let folder = folder.path().join(version.to_string());
        fs::create_dir(&folder).unwrap();
        let socket = forwarded(&folder, daemon.socket());
        let image = Image::small();
        let reference = registry.push_new(&image);
        let on = || Pullctl::new().args(["-a", socket.to_str().unwrap()]);
        let told = on().args(["pull", "--plain-http", "-vv", &reference]).run().succeeded().stderr;
        assert!(told.contains(REFUSED), "{version}: {told}");
        assert!(
            !told.contains("found=true"),
            "{version}: what we put there proves nothing: {told}"
        );
        let found = Store::new(&daemon, KUBERNETES);
        assert_eq!(found.images()[&reference].target, image.digest(), "{version}");
        assert!(found.snapshots()[&image.chain_id()].committed, "{version}");
        for digest in [image.digest(), image.config_digest(), image.layers()[0].digest.to_string()]
        {
            daemon.ctr(KUBERNETES, &["content", "get", &digest]);
        }
    }
}
