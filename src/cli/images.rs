//! `pullctl images`: lists what is in containerd.

use std::fmt;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Error, Session};
use crate::images::{self, NameKind, StoredImage};
use crate::oci::Digest;
use crate::output::{Form, document, table, units};

/// `pullctl images`.
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Print the images' IDs only
    #[arg(short, long)]
    pub quiet: bool,

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
    /// One JSON array.
    Json,
}

/// Lists the namespace's images on standard output.
///
/// # Errors
/// When the daemon refuses or standard output can't be written.
pub(super) async fn run(args: &ImagesArgs, session: &Session<'_>) -> Result<(), Error> {
    let client = session.connect().await?;
    let list = List { images: images::load(&client).await?, now: Timestamp::now() };
    let text = match args {
        ImagesArgs { quiet: true, .. } => list.identities(),
        ImagesArgs { output: ListForm::Table, .. } => document(&list, Form::Text),
        ImagesArgs { output: ListForm::Json, .. } => document(&list, Form::Json),
    };
    if !text.is_empty() {
        session.printer.out(&text)?;
    }
    Ok(())
}

/// Images, and when they were looked at.
struct List {
    images: Vec<StoredImage>,
    now: Timestamp,
}

impl List {
    fn identities(&self) -> String {
        let identities = self.images.iter().filter_map(StoredImage::identity);
        identities.map(|digest| digest.to_string()).collect::<Vec<_>>().join("\n")
    }

    /// One row for each tag; an image without a tag has one for each name of the next best kind.
    fn rows(&self) -> impl Iterator<Item = [String; 5]> {
        self.images.iter().flat_map(move |image| {
            let best = image.names.iter().map(|name| NameKind::of(&name.name)).min();
            let names = image.names.iter();
            names.filter(move |name| Some(NameKind::of(&name.name)) == best).map(move |name| {
                [
                    name.name.clone(),
                    image.identity().map(|digest| digest.short()).unwrap_or_default(),
                    image.size_bytes.map_or_else(|| "-".to_owned(), units::bytes),
                    name.created.map_or_else(|| "-".to_owned(), |created| self.age(created)),
                    if image.is_pinned() { "yes" } else { "" }.to_owned(),
                ]
            })
        })
    }

    fn age(&self, created: Timestamp) -> String {
        units::age(self.now.duration_since(created).unsigned_abs())
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&table(["IMAGE", "ID", "SIZE", "AGE", "PINNED"], self.rows()))
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
        }
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
        List { images: images(), now: "2026-11-23T01:00:00Z".parse().unwrap() }
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
            },
            StoredImage { id: None, names: vec![name("broken", false)], size_bytes: None },
        ]
    }

    #[test]
    fn the_table_has_a_line_for_each_tag() {
        assert_eq!(
            document(&list(), Form::Text),
            "IMAGE                              ID             SIZE       AGE   PINNED\n\
             docker.io/library/busybox:1        e3b0c44298fc   3.00 MiB   2 d   yes\n\
             docker.io/library/busybox:latest   e3b0c44298fc   3.00 MiB   2 d   yes\n\
             broken                             34a04005bcaf   -          2 d"
        );
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
