//! `pullctl images`: lists what is in containerd.

use std::fmt;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::groups::DEFAULT_NAMESPACE;
use super::{Error, Session};
use crate::containerd::{Client, Image};
use crate::failure::Notice;
use crate::images::{self, Leftover, NameKind, StoredImage, is_found_by_kubelet};
use crate::oci::Digest;
use crate::output::{Form, document, table, units};

/// What may take a busy daemon long.
const LIST: &str = "containerd's list of images";

/// `pullctl images`.
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Print the images' IDs only
    #[arg(short, long)]
    pub quiet: bool,

    /// List what pulls that ended early hold for the next try, in place of images
    #[arg(long, conflicts_with = "quiet")]
    pub leftovers: bool,

    /// Form of the list
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: ListForm,
}

/// Forms of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ListForm {
    /// Columns for people.
    #[default]
    Table,
    /// More columns: the image's own age, when it came here, what its names point to.
    Wide,
    /// One JSON array.
    Json,
}

/// Lists the namespace's images on standard output.
///
/// # Errors
/// When the daemon refuses or standard output can't be written.
pub(super) async fn run(args: &ImagesArgs, session: &Session<'_>) -> Result<(), Error> {
    let client = session.connect().await?;
    let form = match args.output {
        ListForm::Table | ListForm::Wide => Form::Text,
        ListForm::Json => Form::Json,
    };
    let now = Timestamp::now();
    if args.leftovers {
        let leftovers = session.patiently(LIST, images::leftovers(&client)).await?;
        return Ok(session.printer.out(&document(&Leftovers { leftovers, now }, form))?);
    }
    let mut images = session.patiently(LIST, images::load(&client)).await?;
    if images.is_empty() {
        check_namespace(&client).await?;
    }
    if args.output != ListForm::Table && !args.quiet {
        images::read_ages(&client, &mut images).await?;
    }
    if args.output == ListForm::Json {
        images::keep_present_blobs(&client, &mut images).await?;
    }
    let list = List { images, now, is_wide: args.output == ListForm::Wide };
    let text = if args.quiet { list.identities() } else { document(&list, form) };
    if !text.is_empty() {
        session.printer.out(&text)?;
    }
    for notice in list.notices(&client) {
        session.printer.warning(&notice);
    }
    Ok(())
}

/// An empty list may be that of a name with a slip in it: the daemon answers for any.
pub(super) async fn check_namespace(client: &Client) -> Result<(), Error> {
    let namespace = client.namespace().to_owned();
    let namespaces = client.namespaces().await?;
    // The one of Kubernetes is made by the first pull.
    if namespace == DEFAULT_NAMESPACE || namespaces.contains(&namespace) {
        return Ok(());
    }
    Err(Error::NoNamespace { namespace, namespaces })
}

/// Images, and when they were looked at.
struct List {
    images: Vec<StoredImage>,
    now: Timestamp,
    is_wide: bool,
}

impl List {
    fn identities(&self) -> String {
        let identities = self.images.iter().filter_map(StoredImage::identity);
        identities.map(|digest| digest.to_string()).collect::<Vec<_>>().join("\n")
    }

    /// The names that get a row: each tag, or of an image without one each of the next best kind.
    fn named(&self) -> impl Iterator<Item = (&StoredImage, &Image)> {
        self.images.iter().flat_map(|image| {
            let best = image.names.iter().map(|name| NameKind::of(&name.name)).min();
            let names = image.names.iter();
            names
                .filter(move |name| Some(NameKind::of(&name.name)) == best)
                .map(move |name| (image, name))
        })
    }

    fn rows(&self) -> impl Iterator<Item = [String; 5]> {
        self.named().map(|(image, name)| {
            [name_cell(name), id(image), size(image), self.age(name.created), pin(image)]
        })
    }

    fn wide_rows(&self) -> impl Iterator<Item = [String; 7]> {
        self.named().map(|(image, name)| {
            let [age, pulled] = [image.made, name.created].map(|time| self.age(time));
            let digest = name.target.digest.to_string();
            [name_cell(name), id(image), size(image), age, pulled, pin(image), digest]
        })
    }

    fn age(&self, time: Option<Timestamp>) -> String {
        age(time, self.now)
    }

    /// What the list does not say by itself.
    fn notices(&self, client: &Client) -> Vec<Notice> {
        let mut notices = Vec::new();
        let is_kubernetes = client.namespace() == DEFAULT_NAMESPACE;
        if is_kubernetes && self.named().any(|(_, name)| !is_found_by_kubelet(&name.name)) {
            let message = "the kubelet finds nothing under the names marked with !";
            notices.push(Notice::new("name-not-found-by-kubelet", message).with_hint(
                "it asks by names that are written out, as docker.io/library/busybox:1: give the \
                 image such a name with ctr -n k8s.io images tag",
            ));
        }
        let has_pins = self.images.iter().any(StoredImage::has_pin);
        notices.extend(client.cri().pin_notice().filter(|_| has_pins));
        notices
    }
}

/// The name, marked when the kubelet finds nothing under it.
fn name_cell(name: &Image) -> String {
    let mark = if is_found_by_kubelet(&name.name) { "" } else { " !" };
    format!("{}{mark}", name.name)
}

fn id(image: &StoredImage) -> String {
    image.identity().map(|digest| digest.short()).unwrap_or_default()
}

fn size(image: &StoredImage) -> String {
    image.size_bytes.map_or_else(|| "-".to_owned(), units::bytes)
}

fn pin(image: &StoredImage) -> String {
    if image.is_pinned() { "yes" } else { "" }.to_owned()
}

fn age(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "-".to_owned(), |time| units::age(now.duration_since(time).unsigned_abs()))
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&if self.is_wide {
            let header = ["IMAGE", "ID", "SIZE", "AGE", "PULLED", "PINNED", "DIGEST"];
            table(header, self.wide_rows())
        } else {
            table(["IMAGE", "ID", "SIZE", "AGE", "PINNED"], self.rows())
        })
    }
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.images.iter().map(Entry::of))
    }
}

/// One image as `-o json` tells it.
#[derive(Serialize)]
struct Entry<'a> {
    id: Option<Digest>,
    names: Vec<&'a str>,
    digests: Vec<Digest>,
    size_bytes: Option<u64>,
    created: Option<String>,
    pinned: bool,
    /// When the image itself was made.
    made: Option<String>,
    /// Those of `names` under which the kubelet finds nothing.
    unusable_names: Vec<&'a str>,
    /// Its manifest, configuration and layers, as far as they are there.
    blobs: &'a [Digest],
}

impl<'a> Entry<'a> {
    fn of(image: &'a StoredImage) -> Self {
        let created = image.names.iter().filter_map(|name| name.created).min();
        Self {
            id: image.id,
            names: image.names.iter().map(|name| name.name.as_str()).collect(),
            digests: image.digests().into_iter().collect(),
            size_bytes: image.size_bytes,
            created: created.map(|created| created.to_string()),
            pinned: image.is_pinned(),
            made: image.made.map(|made| made.to_string()),
            unusable_names: image
                .names
                .iter()
                .map(|name| name.name.as_str())
                .filter(|name| !is_found_by_kubelet(name))
                .collect(),
            blobs: &image.blobs,
        }
    }
}

/// What ended pulls hold, and when that was looked at.
struct Leftovers {
    leftovers: Vec<Leftover>,
    now: Timestamp,
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.leftovers.is_empty() {
            return f.write_str("nothing is left over");
        }
        let rows = self.leftovers.iter().map(|leftover| {
            [
                leftover.images.join(", "),
                units::bytes(leftover.size_bytes),
                (leftover.blobs + leftover.unfinished).to_string(),
                leftover.snapshots.to_string(),
                age(leftover.expires, self.now),
            ]
        });
        f.write_str(&table(["FOR", "SIZE", "BLOBS", "LAYERS", "KEPT FOR"], rows))
    }
}

impl Serialize for Leftovers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry<'a> {
            images: &'a [String],
            size_bytes: u64,
            blobs: usize,
            unfinished_blobs: usize,
            snapshots: usize,
            expires: Option<String>,
            lease: &'a str,
        }
        serializer.collect_seq(self.leftovers.iter().map(|leftover| Entry {
            images: &leftover.images,
            size_bytes: leftover.size_bytes,
            blobs: leftover.blobs,
            unfinished_blobs: leftover.unfinished,
            snapshots: leftover.snapshots,
            expires: leftover.expires.map(|expires| expires.to_string()),
            lease: &leftover.lease,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::{Image, Labels, labels};
    use crate::oci::{Descriptor, MediaType};

    const ID: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const CREATED: &str = "2026-11-21T00:00:00Z";

    fn name(name: &str, pinned: bool) -> Image {
        let media_type = MediaType::new("application/vnd.oci.image.manifest.v1+json");
        let pin = pinned.then_some(labels::PINNED);
        Image {
            name: name.to_owned(),
            target: Descriptor::new(media_type, Digest::of(b"target"), 10),
            labels: pin.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Labels>(),
            created: Some(CREATED.parse().unwrap()),
        }
    }

    fn list() -> List {
        List { images: images(), now: "2026-11-23T01:00:00Z".parse().unwrap(), is_wide: false }
    }

    fn images() -> Vec<StoredImage> {
        let target = Digest::of(b"target");
        vec![
            StoredImage {
                id: Some(ID.parse().unwrap()),
                names: vec![
                    name("docker.io/library/busybox:1", true),
                    name("docker.io/library/busybox:latest", false),
                    name(&format!("docker.io/library/busybox@{target}"), false),
                    name(ID, false),
                ],
                size_bytes: Some(3 << 20),
                blobs: vec![target],
                made: Some("2026-10-24T00:00:00Z".parse().unwrap()),
                tells_pins: true,
            },
            StoredImage {
                id: None,
                names: vec![name("broken", false)],
                size_bytes: None,
                blobs: Vec::new(),
                made: None,
                tells_pins: true,
            },
        ]
    }

    #[test]
    fn the_table_has_a_line_for_each_tag() {
        assert_eq!(
            document(&list(), Form::Text),
            "IMAGE                              ID             SIZE       AGE   PINNED\n\
             docker.io/library/busybox:1        e3b0c44298fc   3.00 MiB   2 d   yes\n\
             docker.io/library/busybox:latest   e3b0c44298fc   3.00 MiB   2 d   yes\n\
             broken !                           34a04005bcaf   -          2 d"
        );
    }

    #[test]
    fn wide_tells_the_images_own_age_beside_that_of_its_name() {
        let wide = document(&List { is_wide: true, ..list() }, Form::Text);
        let line = wide.lines().nth(1).unwrap();
        let cells = line.split("   ").map(str::trim).filter(|cell| !cell.is_empty());
        let cells: Vec<&str> = cells.collect();
        let digest = Digest::of(b"target").to_string();
        assert_eq!(cells[3..], ["30 d", "2 d", "yes", &digest], "{wide}");
    }

    #[test]
    fn a_pin_that_the_cri_does_not_tell_is_no_pin() {
        let mut images = images();
        images[0].tells_pins = false;
        assert!(images[0].has_pin() && !images[0].is_pinned());
    }

    #[test]
    fn what_is_left_over_says_for_whom_and_how_long() {
        let leftover = Leftover {
            lease: "pullctl-1".to_owned(),
            images: vec!["quay.io/a:1".to_owned()],
            expires: Some("2026-11-23T21:00:00Z".parse().unwrap()),
            blobs: 2,
            unfinished: 1,
            snapshots: 1,
            size_bytes: 5 << 20,
        };
        let leftovers = Leftovers { leftovers: vec![leftover], now: list().now };
        assert_eq!(
            document(&leftovers, Form::Text),
            "FOR           SIZE       BLOBS   LAYERS   KEPT FOR\n\
             quay.io/a:1   5.00 MiB   3       1        20 h"
        );
        let none = Leftovers { leftovers: Vec::new(), now: list().now };
        assert_eq!(document(&none, Form::Text), "nothing is left over");
        assert_eq!(document(&none, Form::Json), "[]");
    }

    #[test]
    fn json_has_an_object_for_each_image() {
        let entries: serde_json::Value =
            serde_json::from_str(&document(&list(), Form::Json)).unwrap();
        assert_eq!(entries[0]["id"], ID);
        assert_eq!(entries[0]["names"].as_array().map(Vec::len), Some(4));
        assert_eq!(entries[0]["created"], CREATED);
        assert_eq!(entries[0]["pinned"], true);
        assert_eq!(entries[1]["id"], serde_json::Value::Null);
        assert_eq!(document(&List { images: Vec::new(), ..list() }, Form::Json), "[]");
    }

    #[test]
    fn quiet_has_what_rm_takes() {
        assert_eq!(list().identities(), format!("{ID}\n{}", Digest::of(b"target")));
    }
}
