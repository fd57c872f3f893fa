//! Images as a list: columns for people, and the same for scripts.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::cli::groups::DEFAULT_NAMESPACE;
use crate::containerd::Image;
use crate::failure::Notice;
use crate::images::{Condition, NameKind, StoredImage, is_found_by_kubelet};
use crate::oci::Digest;
use crate::output::{table, units};

/// Images, and when they were looked at.
pub(super) struct List {
    pub(super) images: Vec<Listed>,
    pub(super) now: Timestamp,
    pub(super) is_wide: bool,
    /// Whether the namespace is told, since there are several.
    pub(super) tells_namespace: bool,
    /// What is to be known of pins with this daemon.
    pub(super) of_pins: Option<Notice>,
}

/// An image, where it is, and how much of it is there, as far as that was looked at.
pub(super) struct Listed {
    pub(super) namespace: String,
    pub(super) image: StoredImage,
    pub(super) condition: Condition,
}

impl List {
    pub(super) fn identities(&self) -> String {
        let identities = self.images.iter().filter_map(|listed| listed.image.identity());
        identities.map(|digest| digest.to_string()).collect::<Vec<_>>().join("\n")
    }

    /// The names that get a row: each tag, or of an image without one each of the next best kind.
    fn named(&self) -> impl Iterator<Item = (&Listed, &Image)> {
        self.images.iter().flat_map(|listed| {
            let names = &listed.image.names;
            let best = names.iter().map(|name| NameKind::of(&name.name)).min();
            names
                .iter()
                .filter(move |name| Some(NameKind::of(&name.name)) == best)
                .map(move |name| (listed, name))
        })
    }

    /// Each row, and that of its namespace before it.
    fn rows(&self) -> impl Iterator<Item = (&str, [String; 5])> {
        self.named().map(|(Listed { namespace, image, .. }, name)| {
            let row = [
                self.name_cell(namespace, name),
                id(image),
                size(image.size_bytes),
                self.age(name.created),
                pin(image),
            ];
            (namespace.as_str(), row)
        })
    }

    fn wide_rows(&self) -> impl Iterator<Item = (&str, [String; 10])> {
        self.named().map(|(Listed { namespace, image, condition }, name)| {
            let [age, pulled] = [image.made, name.created].map(|time| self.age(time));
            let row = [
                self.name_cell(namespace, name),
                id(image),
                condition.platform.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                size(image.size_bytes),
                size(condition.unpacked_bytes),
                if condition.is_complete { "yes" } else { "no" }.to_owned(),
                age,
                pulled,
                pin(image),
                name.target.digest.to_string(),
            ];
            (namespace.as_str(), row)
        })
    }

    fn age(&self, time: Option<Timestamp>) -> String {
        age(time, self.now)
    }

    /// The name, marked when the kubelet finds nothing under it.
    fn name_cell(&self, namespace: &str, name: &Image) -> String {
        // Elsewhere it does not look, and many have names of their own kind.
        let is_elsewhere = self.tells_namespace && namespace != DEFAULT_NAMESPACE;
        let mark = if is_elsewhere || is_found_by_kubelet(&name.name) { "" } else { " !" };
        format!("{}{mark}", name.name)
    }

    /// What the list does not say by itself.
    pub(super) fn notices(&self) -> Vec<Notice> {
        let mut notices = Vec::new();
        if self.named().any(|(listed, name)| listed.is_unusable(name)) {
            notices.push(not_found("the names marked with !"));
        }
        let has_pins = self.images.iter().any(|listed| listed.image.has_pin());
        notices.extend(self.of_pins.clone().filter(|_| has_pins));
        notices
    }
}

impl Listed {
    /// Whether the kubelet, which looks into one namespace, finds nothing under `name`.
    fn is_unusable(&self, name: &Image) -> bool {
        self.namespace == DEFAULT_NAMESPACE && !is_found_by_kubelet(&name.name)
    }

    /// The same notices of this image alone.
    fn notices(&self, of_pins: Option<&Notice>) -> Vec<Notice> {
        let unusable = self.image.names.iter().filter(|name| self.is_unusable(name));
        let unusable: Vec<&str> = unusable.map(|name| name.name.as_str()).collect();
        let found = (!unusable.is_empty()).then(|| not_found(&unusable.join(", ")));
        found.into_iter().chain(of_pins.filter(|_| self.image.has_pin()).cloned()).collect()
    }
}

fn not_found(names: &str) -> Notice {
    let message = format!("the kubelet finds nothing under {names}");
    Notice::new("name-not-found-by-kubelet", message).with_hint(
        "it asks by names that are written out, as docker.io/library/busybox:1: give the image such \
         a name with pullctl tag",
    )
}

fn id(image: &StoredImage) -> String {
    image.identity().map(|digest| digest.short()).unwrap_or_default()
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), units::bytes)
}

fn pin(image: &StoredImage) -> String {
    if image.is_pinned() { "yes" } else { "" }.to_owned()
}

pub(super) fn age(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "-".to_owned(), |time| units::age(now.duration_since(time).unsigned_abs()))
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHORT: [&str; 5] = ["IMAGE", "ID", "SIZE", "AGE", "PINNED"];
        const WIDE: [&str; 10] = [
            "IMAGE", "ID", "PLATFORM", "SIZE", "UNPACKED", "COMPLETE", "AGE", "PULLED", "PINNED",
            "DIGEST",
        ];
        f.write_str(&match (self.is_wide, self.tells_namespace) {
            (false, false) => table(SHORT, self.rows().map(|(_, row)| row)),
            (false, true) => with_namespaces::<5, 6>(SHORT, self.rows()),
            (true, false) => table(WIDE, self.wide_rows().map(|(_, row)| row)),
            (true, true) => with_namespaces::<10, 11>(WIDE, self.wide_rows()),
        })
    }
}

/// A table of `N` columns with the namespaces before them, which makes `M`.
fn with_namespaces<'a, const N: usize, const M: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = (&'a str, [String; N])>,
) -> String {
    let mut wider = header.into_iter();
    let header: [&str; M] =
        std::array::from_fn(
            |column| if column == 0 { "NAMESPACE" } else { wider.next().unwrap_or("") },
        );
    let rows = rows.map(|(namespace, row)| {
        let mut row = std::iter::once(namespace.to_owned()).chain(row);
        std::array::from_fn(|_| row.next().unwrap_or_default())
    });
    table(header, rows)
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of_pins = self.of_pins.as_ref();
        serializer.collect_seq(self.images.iter().map(|listed| Entry::of(listed, of_pins)))
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
    namespace: &'a str,
    /// What it runs on.
    platform: Option<String>,
    /// What its layers are, unpacked.
    unpacked_bytes: Option<u64>,
    /// Whether a container of it can be started.
    complete: bool,
    /// What should be known of it.
    warnings: Vec<Notice>,
}

impl<'a> Entry<'a> {
    fn of(listed: &'a Listed, of_pins: Option<&Notice>) -> Self {
        let Listed { namespace, image, condition } = listed;
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
            namespace,
            platform: condition.platform.as_ref().map(ToString::to_string),
            unpacked_bytes: condition.unpacked_bytes,
            complete: condition.is_complete,
            warnings: listed.notices(of_pins),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::{Labels, labels};
    use crate::oci::{Descriptor, MediaType};
    use crate::output::{Form, document};
    use crate::platform::Platform;

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
        list_of(images())
    }

    fn list_of(images: Vec<StoredImage>) -> List {
        let listed = |image| {
            let condition = Condition {
                platform: Some(Platform::from_parts("linux", "amd64", "", "")),
                unpacked_bytes: Some(7 << 20),
                is_complete: true,
            };
            Listed { namespace: "k8s.io".to_owned(), image, condition }
        };
        let now = "2026-11-23T01:00:00Z".parse().unwrap();
        let images = images.into_iter().map(listed).collect();
        List { images, now, is_wide: false, tells_namespace: false, of_pins: None }
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
        let expected =
            ["linux/amd64", "3.00 MiB", "7.00 MiB", "yes", "30 d", "2 d", "yes", &digest];
        assert_eq!(cells[2..], expected, "{wide}");
    }

    #[test]
    fn several_namespaces_are_told_and_only_the_kubelets_marked() {
        let mut several = List { tells_namespace: true, ..list() };
        several.images[1].namespace = "moby".to_owned();
        let text = document(&several, Form::Text);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("NAMESPACE   IMAGE"), "{text}");
        assert!(lines[1].starts_with("k8s.io      docker.io/library/busybox:1"), "{text}");
        assert!(lines[3].starts_with("moby        broken  "), "{text}");
        let wide = document(&List { is_wide: true, ..several }, Form::Text);
        assert!(wide.lines().nth(3).unwrap().starts_with("moby        broken  "), "{wide}");
    }

    #[test]
    fn a_pin_that_the_cri_does_not_tell_is_no_pin() {
        let mut images = images();
        images[0].tells_pins = false;
        assert!(images[0].has_pin() && !images[0].is_pinned());
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
        let codes = |entry: &serde_json::Value| {
            let warnings = entry["warnings"].as_array().unwrap();
            warnings.iter().map(|it| it["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(codes(&entries[0]), [""; 0]);
        assert_eq!(codes(&entries[1]), ["name-not-found-by-kubelet"]);
        assert!(entries[1]["warnings"][0]["message"].as_str().unwrap().ends_with("broken"));
        assert_eq!(document(&List { images: Vec::new(), ..list() }, Form::Json), "[]");
    }

    #[test]
    fn warnings_are_of_the_image_in_json_and_of_the_list_for_people() {
        let of_pins = Some(Notice::new("pin-not-reported", "no pins"));
        let mut list = List { of_pins, ..list() };
        let codes = |list: &List| list.notices().iter().map(|it| it.code).collect::<Vec<_>>();
        assert_eq!(codes(&list), ["name-not-found-by-kubelet", "pin-not-reported"]);
        let json: serde_json::Value = serde_json::from_str(&document(&list, Form::Json)).unwrap();
        assert_eq!(json[0]["warnings"][0]["code"], "pin-not-reported");
        assert_eq!(json[1]["warnings"][0]["code"], "name-not-found-by-kubelet");
        // The kubelet does not look there.
        list.images[1].namespace = "moby".to_owned();
        assert_eq!(codes(&list), ["pin-not-reported"]);
        let json: serde_json::Value = serde_json::from_str(&document(&list, Form::Json)).unwrap();
        assert_eq!(json[1]["warnings"], serde_json::json!([]));
    }

    #[test]
    fn quiet_has_what_rm_takes() {
        assert_eq!(list().identities(), format!("{ID}\n{}", Digest::of(b"target")));
    }
}
