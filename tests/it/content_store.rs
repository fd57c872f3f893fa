//! Blobs on their way into the content store of a real daemon, whichever way their bytes take. This
//! is the library's own behaviour, below the command.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use pullctl::containerd::{Client, ContentStore, Error, Ingest, Labels, Opened, ingest_reference};
use pullctl::failure::{Diagnose, Failure};
use pullctl::oci::{Descriptor, Digest, MediaType};

use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::{block_on, each_version, unique};

/// Enough for the way through the daemon's file.
const LARGE: usize = 5_000_001;

/// A large blob that no other test has.
fn blob() -> (Descriptor, Bytes) {
    let bytes = unique("blob").into_bytes().into_iter().cycle().take(LARGE).collect::<Vec<u8>>();
    let media_type = MediaType::new("application/vnd.oci.image.layer.v1.tar");
    (Descriptor::new(media_type, Digest::of(&bytes), LARGE as u64), bytes.into())
}

/// One lease, and a client of it for each way: the daemon's file, and the socket.
async fn both_ways(daemon: &Containerd) -> [(&'static str, ContentStore); 2] {
    let client = Client::connect(&daemon.socket(), KUBERNETES).await.unwrap();
    let lease = unique("lease");
    client.leases().create(&lease, Duration::from_secs(3600), &Labels::new()).await.unwrap();
    let client = client.with_lease(&lease);
    [("file", client.content()), ("socket", client.over_socket_only().content())]
}

async fn open(store: &ContentStore, expected: &Descriptor) -> Ingest {
    match store.ingest(&ingest_reference(expected), expected).await.unwrap() {
        Opened::Ingest(ingest) => *ingest,
        Opened::Exists => panic!("the blob is there already"),
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn content_root(daemon: &Containerd) -> PathBuf {
    daemon.socket().with_file_name("root").join("io.containerd.content.v1.content")
}

/// The daemon's file of the ingest of `expected`, if there is an ingest.
fn data_file(daemon: &Containerd, expected: &Descriptor) -> Option<PathBuf> {
    let reference = ingest_reference(expected);
    std::fs::read_dir(content_root(daemon).join("ingest"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|ingest| {
            let name = std::fs::read_to_string(ingest.join("ref"));
            name.is_ok_and(|name| name.ends_with(&reference))
        })
        .map(|ingest| ingest.join("data"))
}

/// How many bytes of the ingest of `expected` the daemon's file holds.
fn bytes_on_disk(daemon: &Containerd, expected: &Descriptor) -> u64 {
    data_file(daemon, expected).map_or(0, |file| file.metadata().unwrap().len())
}

/// Whether this process, in which the library runs, has `file` open.
fn is_open_here(file: &Path) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    // Other tests close theirs meanwhile.
    let mut targets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.any(|target| target == file)
}

each_version! {
    fn stores_what_it_was_given_and_leaves_no_ingest_behind(daemon) {
        block_on(async {
            for (way, store) in both_ways(daemon).await {
                let (expected, bytes) = blob();
                let mut ingest = open(&store, &expected).await;
                for piece in bytes.chunks(70_000) {
                    ingest.write(Bytes::copy_from_slice(piece)).await.unwrap();
                }
                ingest.commit(labels(&[("a", "b")])).await.unwrap();

                let info = store.info(&expected.digest).await.unwrap().unwrap();
                assert_eq!((info.size, info.labels), (expected.size, labels(&[("a", "b")])), "{way}");
                assert_eq!(store.read(&expected.digest, expected.size).await.unwrap(), bytes, "{way}");
                assert_eq!(store.status(&ingest_reference(&expected)).await.unwrap(), None, "{way}");
                assert_eq!(bytes_on_disk(daemon, &expected), 0, "{way}");
                let blob = content_root(daemon).join("blobs/sha256").join(expected.digest.hex());
                assert!(blob.metadata().unwrap().permissions().readonly(), "{way}");
            }
        });
    }

    fn writes_to_the_very_file_that_becomes_the_blob(daemon) {
        block_on(async {
            for (way, store) in both_ways(daemon).await {
                let (expected, bytes) = blob();
                let mut ingest = open(&store, &expected).await;
                ingest.write(bytes).await.unwrap();
                ingest.flush().await.unwrap();
                let data = data_file(daemon, &expected).unwrap();
                assert_eq!(is_open_here(&data), way == "file", "{way}");
                let inode = data.metadata().unwrap().ino();
                ingest.commit(Labels::new()).await.unwrap();
                let blob = content_root(daemon).join("blobs/sha256").join(expected.digest.hex());
                let blob = blob.metadata().unwrap();
                assert_eq!((blob.ino(), blob.nlink(), blob.len()), (inode, 1, expected.size), "{way}");
                assert_eq!(data_file(daemon, &expected), None, "{way}");
            }
        });
    }

    fn takes_the_daemons_file_where_it_is_at_hand(daemon) {
        block_on(async {
            let [(_, file), (_, socket)] = both_ways(daemon).await;
            let (expected, bytes) = blob();
            let mut ingest = open(&file, &expected).await;
            ingest.write(bytes.slice(..10)).await.unwrap();
            ingest.suspend().await.unwrap();
            assert_eq!(bytes_on_disk(daemon, &expected), 10);

            let mut ingest = open(&socket, &expected).await;
            assert_eq!(ingest.offset(), 10, "the daemon has not noticed");
            ingest.write(bytes.slice(10..)).await.unwrap();
            ingest.commit(Labels::new()).await.unwrap();
            assert_eq!(file.read(&expected.digest, expected.size).await.unwrap(), bytes);
        });
    }

    fn goes_on_at_the_very_byte(daemon) {
        block_on(async {
            for (way, store) in both_ways(daemon).await {
                let (expected, bytes) = blob();
                for end in [1_234_567, 1_234_568, 4_000_000] {
                    let mut ingest = open(&store, &expected).await;
                    let begin = usize::try_from(ingest.offset()).unwrap();
                    ingest.write(bytes.slice(begin..end)).await.unwrap();
                    ingest.suspend().await.unwrap();
                    let status = store.status(&ingest_reference(&expected)).await.unwrap().unwrap();
                    assert_eq!(status.offset, end as u64, "{way}");
                }
                let mut ingest = open(&store, &expected).await;
                ingest.restart().await.unwrap();
                assert_eq!(ingest.offset(), 0, "{way}");
                ingest.write(bytes.clone()).await.unwrap();
                ingest.commit(Labels::new()).await.unwrap();
                assert_eq!(store.read(&expected.digest, expected.size).await.unwrap(), bytes, "{way}");
            }
        });
    }

    fn discards_bytes_that_are_not_the_ones_expected(daemon) {
        block_on(async {
            for (way, store) in both_ways(daemon).await {
                let ((expected, _), (_, other)) = (blob(), blob());
                let mut ingest = open(&store, &expected).await;
                ingest.write(other).await.unwrap();
                let error = ingest.commit(Labels::new()).await.unwrap_err();
                assert_eq!(error.failure(), Failure::Verification, "{way}: {error:?}");
                assert_eq!(store.info(&expected.digest).await.unwrap(), None, "{way}");
                assert_eq!(store.status(&ingest_reference(&expected)).await.unwrap(), None, "{way}");
            }
        });
    }

    fn keeps_what_is_there_when_bytes_are_missing(daemon) {
        block_on(async {
            for (way, store) in both_ways(daemon).await {
                let (expected, bytes) = blob();
                let mut ingest = open(&store, &expected).await;
                let error = ingest.write(bytes.iter().chain(b"x").copied().collect()).await.unwrap_err();
                assert!(matches!(error, Error::Size { .. }), "{way}: {error:?}");
                ingest.write(bytes.slice(1..)).await.unwrap();
                let error = ingest.commit(Labels::new()).await.unwrap_err();
                assert!(matches!(error, Error::Size { .. }), "{way}: {error:?}");
                assert!(store.status(&ingest_reference(&expected)).await.unwrap().is_some(), "{way}");
            }
        });
    }

    fn waits_for_another_client_and_has_nothing_left_to_write(daemon) {
        block_on(async {
            for (way, store) in both_ways(daemon).await {
                let (expected, bytes) = blob();
                let mut ingest = open(&store, &expected).await;
                let reference = ingest_reference(&expected);
                let waiting = store.ingest(&reference, &expected);
                let writing = async {
                    ingest.write(bytes.clone()).await.unwrap();
                    ingest.commit(Labels::new()).await.unwrap();
                };
                let (opened, ()) = tokio::join!(waiting, writing);
                // It may have been let in between the last byte and the commit.
                if let Opened::Ingest(other) = opened.unwrap() {
                    assert_eq!(other.offset(), expected.size, "{way}");
                    other.commit(Labels::new()).await.unwrap();
                }
                assert_eq!(store.read(&expected.digest, expected.size).await.unwrap(), bytes, "{way}");
            }
        });
    }

    fn remembers_every_repository_that_images_of_one_run_share_a_blob_from(daemon) {
        const SOURCE: &str = "containerd.io/distribution.source.registry.example";
        block_on(async {
            let [(_, store), _] = both_ways(daemon).await;
            let (expected, bytes) = blob();
            let reference = ingest_reference(&expected);
            store.put(&reference, &expected, bytes, Labels::new()).await.unwrap();
            let sources = ["c", "a", "b", "d"].map(|repository| labels(&[(SOURCE, repository)]));
            let [c, a, b, d] = sources.each_ref().map(|labels| store.add_labels(&expected.digest, labels));
            let (c, a, b, d) = tokio::join!(c, a, b, d);
            for added in [c, a, b, d] {
                added.unwrap();
            }
            let info = store.info(&expected.digest).await.unwrap().unwrap();
            assert_eq!(info.labels, labels(&[(SOURCE, "a,b,c,d")]));
        });
    }
}
