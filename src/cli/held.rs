//! What the other side has already: the blobs that an archive may leave out, told by a list of its
//! images, by an archive that it has loaded, or by names.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::Error;
use crate::archive;
use crate::containerd::Client;
use crate::images;
use crate::oci::Digest;
use crate::progress;
use crate::reference::Reference;
use crate::transfer::{self, Request, Sink};

/// Longest list that is read, in bytes (64 MiB): some ten thousand images.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// What the other side has.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// These blobs.
    pub(super) blobs: HashSet<Digest>,
    /// What these images, which are where the others are saved from as well, consist of.
    pub(super) images: Vec<Reference>,
}

/// An image as `pullctl images -o json` tells it.
#[derive(Deserialize)]
struct Listed {
    blobs: Option<Vec<Digest>>,
}

impl Held {
    /// What `texts` name: files, or references with commas between them.
    ///
    /// # Errors
    /// [`Error::Held`] for what is neither, or can't be read.
    pub(super) fn read(texts: &[String], window_bytes: u64) -> Result<Self, Error> {
        let mut held = Self::default();
        for text in texts {
            let failed = |source: BoxedError| Error::Held { what: text.clone(), source };
            match File::open(text) {
                Ok(file) => held.add_file(file, window_bytes).map_err(failed)?,
                Err(_) if !Path::new(text).exists() => held.add_names(text).map_err(failed)?,
                Err(error) => return Err(failed(error.into())),
            }
        }
        Ok(held)
    }

    /// All the blobs, those included that the images named have here.
    ///
    /// # Errors
    /// When one of them is not here, or the daemon refuses.
    pub(super) async fn all_blobs(mut self, client: &Client) -> Result<HashSet<Digest>, Error> {
        if self.images.is_empty() {
            return Ok(self.blobs);
        }
        let stored = images::load(client).await?;
        for reference in &self.images {
            let name = reference.to_string();
            match images::lookup(&stored, &name)? {
                Some(found) => self.blobs.extend(&found.image.blobs),
                None => return Err(images::not_found(client, &name).await?.into()),
            }
        }
        Ok(self.blobs)
    }

    /// All the blobs, those included of what `images` come to, for which the images named stand at
    /// their registries. `sink` is where documents are looked for first.
    ///
    /// # Errors
    /// When one of them is not there, or a registry refuses.
    pub(super) async fn blobs_at_registries(
        mut self,
        images: &[Request],
        sink: Arc<dyn Sink>,
        progress: &dyn progress::Sink,
    ) -> Result<HashSet<Digest>, Error> {
        for image in images {
            let plan = transfer::survey(image, Arc::clone(&sink), progress).await?;
            let layers = plan.images.iter().flat_map(|image| &image.layers);
            self.blobs.extend(layers.map(|layer| layer.digest));
        }
        Ok(self.blobs)
    }

    fn add_file(&mut self, file: File, window_bytes: u64) -> Result<(), BoxedError> {
        if let Some(blobs) = archive::held_blobs(file.try_clone()?, window_bytes)? {
            self.blobs.extend(blobs);
            return Ok(());
        }
        let mut text = String::new();
        file.take(MAX_LIST_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_LIST_BYTES {
            return Err("longer than 64 MiB".into());
        }
        if !text.trim_start().starts_with('[') {
            return self.add_names(&text);
        }
        for image in serde_json::from_str::<Vec<Listed>>(&text)? {
            let blobs = image.blobs.ok_or("it tells no blobs: it was made by an older pullctl")?;
            self.blobs.extend(blobs);
        }
        Ok(())
    }

    fn add_names(&mut self, text: &str) -> Result<(), BoxedError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        for name in lines.flat_map(|line| line.split(',')).map(str::trim) {
            if !name.is_empty() {
                self.images.push(name.parse()?);
            }
        }
        Ok(())
    }
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Held, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        Held::read(&[file.path().to_str().unwrap().to_owned()], u64::MAX)
    }

    #[test]
    fn lists_are_known_by_what_is_in_them() {
        let digest = Digest::of(b"");
        let json = format!(r#"[{{"id":null,"blobs":["{digest}"]}},{{"names":[],"blobs":[]}}]"#);
        assert_eq!(read(&json).unwrap().blobs, HashSet::from([digest]));
        let names = read("# on the nodes\nbusybox:1, busybox:2\n\nquay.io/a\n").unwrap().images;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let library = "docker.io/library/busybox";
        assert_eq!(names, [&format!("{library}:1"), &format!("{library}:2"), "quay.io/a:latest"]);
        assert_eq!(
            Held::read(&["busybox,quay.io/a".to_owned()], u64::MAX).unwrap().images.len(),
            2
        );
    }

    #[test]
    fn what_tells_nothing_is_refused() {
        for content in [r#"[{"id":null}]"#, "[1]", "Not/A reference", "/nowhere/list.json"] {
            assert!(read(content).is_err(), "{content}");
        }
        assert!(Held::read(&["/nowhere/list.json".to_owned()], u64::MAX).is_err());
    }
}
