//! `pullctl images`: lists what is in containerd.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde::Serialize;

use super::args::{GlobalArgs, ImagesArgs, ListForm};
use super::inventory::{self, NameKind, StoredImage};
use crate::containerd;
use crate::failure::{Diagnose, Failure};
use crate::oci::Digest;
use crate::output::{self, Printer, units};

/// Why the list could not be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The daemon did not tell.
    #[error(transparent)]
    Containerd(#[from] containerd::Error),
    /// Standard output did not take it.
    #[error(transparent)]
    Output(#[from] output::Error),
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::Containerd(error) => error.failure(),
            Self::Output(error) => error.failure(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Containerd(error) => error.hint(),
            Self::Output(error) => error.hint(),
        }
    }
}

/// Lists the namespace's images on standard output.
///
/// # Errors
/// When the daemon refuses or standard output can't be written.
pub(super) async fn run(
    global: &GlobalArgs,
    args: &ImagesArgs,
    printer: &Printer,
) -> Result<(), Error> {
    let client = super::connect(global).await?;
    let images = inventory::load(&client).await?;
    let text = match args {
        ImagesArgs { quiet: true, .. } => identities(&images),
        ImagesArgs { output: ListForm::Table, .. } => table(&images, Timestamp::now()),
        ImagesArgs { output: ListForm::Json, .. } => json(&images),
    };
    if !text.is_empty() {
        printer.out(&text)?;
    }
    Ok(())
}

fn identities(images: &[StoredImage]) -> String {
    let identities = images.iter().filter_map(StoredImage::identity);
    identities.map(|digest| digest.to_string()).collect::<Vec<_>>().join("\n")
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

fn json(images: &[StoredImage]) -> String {
    let entries: Vec<Entry<'_>> = images
        .iter()
        .map(|image| Entry {
            id: image.id,
            names: image.names.iter().map(|name| name.name.as_str()).collect(),
            digests: image.digests().into_iter().collect(),
            size_bytes: image.size_bytes,
            created: image
                .names
                .iter()
                .filter_map(|name| name.created)
                .min()
                .map(|t| t.to_string()),
            pinned: image.is_pinned(),
        })
        .collect();
    serde_json::to_string_pretty(&entries).unwrap_or_default()
}

/// One line for each tag; an image without a tag has one for each name of the next best kind.
fn table(images: &[StoredImage], now: Timestamp) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["IMAGE", "ID", "SIZE", "AGE", "PINNED"]);
    for image in images {
        let best = image.names.iter().map(|name| NameKind::of(&name.name)).min();
        for name in image.names.iter().filter(|name| Some(NameKind::of(&name.name)) == best) {
            table.add_row([
                output::printable(&name.name),
                image.identity().map(|digest| digest.short()).unwrap_or_default(),
                image.size_bytes.map_or_else(|| "-".to_owned(), units::bytes),
                name.created.map_or_else(|| "-".to_owned(), |created| age(created, now)),
                if image.is_pinned() { "yes" } else { "" }.to_owned(),
            ]);
        }
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.trim_fmt()
}

fn age(created: Timestamp, now: Timestamp) -> String {
    units::age(now.duration_since(created).unsigned_abs())
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
        let now = "2026-11-23T01:00:00Z".parse().unwrap();
        assert_eq!(
            table(&images(), now),
            "IMAGE                              ID             SIZE       AGE   PINNED\n\
             docker.io/library/busybox:1        e3b0c44298fc   3.00 MiB   2 d   yes\n\
             docker.io/library/busybox:latest   e3b0c44298fc   3.00 MiB   2 d   yes\n\
             broken                             34a04005bcaf   -          2 d"
        );
    }

    #[test]
    fn json_has_an_object_for_each_image() {
        let entries: serde_json::Value = serde_json::from_str(&json(&images())).unwrap();
        assert_eq!(entries[0]["id"], ID);
        assert_eq!(entries[0]["names"].as_array().map(Vec::len), Some(4));
        assert_eq!(entries[0]["created"], CREATED);
        assert_eq!(entries[0]["pinned"], true);
        assert_eq!(entries[1]["id"], serde_json::Value::Null);
        assert_eq!(json(&[]), "[]");
    }

    #[test]
    fn quiet_has_what_rm_takes() {
        assert_eq!(identities(&images()), format!("{ID}\n{}", Digest::of(b"target")));
    }
}
