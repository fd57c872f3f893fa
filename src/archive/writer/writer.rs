//! An archive on its way: tables of contents, documents, then blobs. In a file whose room can be set
//! aside, several blobs come at the same time, each to the place that it would have in turn; elsewhere
//! they come one after the other, and one that turns out wrong is taken back where that can be done.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex as StdMutex};

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::blob::{BlobWriter, Place, Places};
use super::contents::Contents;
use super::error::Error;
use super::output::Target;
use super::recorder::Recorder;
use super::wrapping::Wrapping;
use crate::oci::Descriptor;
use crate::sync::lock;

/// An archive being written. It is not there until [`Writer::finish`].
#[derive(Debug)]
pub struct Writer {
    recorder: Arc<Mutex<Recorder>>,
    /// What it is called.
    place: String,
    /// Where blobs go that need not wait for others.
    places: Places,
}

impl Writer {
    /// Begins an archive.
    ///
    /// # Errors
    /// When there can be none at `target`.
    pub async fn create(target: Target, wrapping: Wrapping) -> Result<Self, Error> {
        let place = target.place();
        let opened = spawn_blocking(move || target.open()).await;
        let (output, unfinished) =
            opened.map_err(|stopped| Error::Stopped(io::Error::other(stopped)))??;
        let is_cuttable = !output.is_stream() && wrapping == Wrapping::None;
        let output = wrapping.around(output);
        let output = output.map_err(|source| Error::Write { place: place.clone(), source })?;
        let recorder = Recorder::start(output, unfinished, place.clone(), is_cuttable);
        let places = Arc::new(StdMutex::new(HashMap::new()));
        Ok(Self { recorder: Arc::new(Mutex::new(recorder)), place, places })
    }

    /// Writes the tables of contents.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub async fn begin(&self, contents: Contents) -> Result<(), Error> {
        let mut recorder = self.recorder.lock().await;
        for (name, bytes) in contents.files {
            recorder.whole(name.to_owned(), bytes).await?;
        }
        for name in contents.directories {
            recorder.directory(name).await?;
        }
        Ok(())
    }

    /// Writes a small file, whose bytes are the right ones.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub async fn document(&self, path: String, bytes: Bytes) -> Result<(), Error> {
        self.recorder.lock().await.whole(path, bytes).await
    }

    /// Leaves room for `blobs`, which are all different, in their order, and tells whether they can come
    /// at the same time then. All of them have to come.
    ///
    /// # Errors
    /// [`Error::Write`], where the disk has no such room for instance.
    pub async fn lay_out(&self, blobs: Vec<(String, Descriptor)>) -> Result<bool, Error> {
        let known: Vec<_> = blobs.iter().map(|(_, blob)| (blob.digest, blob.size)).collect();
        let files = blobs.into_iter().map(|(path, blob)| (path, blob.size)).collect();
        let Some(laid_out) = self.recorder.lock().await.lay_out(files).await? else {
            return Ok(false);
        };
        let place = |((digest, size), at)| (digest, (Arc::clone(&laid_out.file), at, size));
        lock(&self.places).extend(known.into_iter().zip(laid_out.offsets).map(place));
        Ok(true)
    }

    /// Begins a blob: at its place, if it has one, or else behind what is there, once nobody else writes.
    ///
    /// # Errors
    /// [`Error::Spoiled`] when a wrong one can't be taken back; [`Error::Write`].
    pub async fn blob(&self, path: String, descriptor: &Descriptor) -> Result<BlobWriter, Error> {
        let Descriptor { digest, size, .. } = *descriptor;
        let place = lock(&self.places).get(&digest).cloned();
        // Another descriptor of the same blob may say another size.
        if let Some((file, offset, size)) = place {
            let (archive, empty) = (self.place.clone(), Arc::clone(&self.places));
            return Ok(BlobWriter::at(Place { file, offset, archive, empty }, digest, size));
        }
        let mut recorder = Arc::clone(&self.recorder).lock_owned().await;
        recorder.ready().await?;
        Ok(BlobWriter::behind(recorder, path, digest, size))
    }

    /// Ends the archive, and shows it under its name.
    ///
    /// # Errors
    /// [`Error::Write`]; there is no archive then.
    pub async fn finish(&self) -> Result<(), Error> {
        let empty = lock(&self.places).len();
        if empty > 0 {
            return Err(Error::Stopped(io::Error::other(format!("{empty} blobs did not come"))));
        }
        self.recorder.lock().await.finish().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Form;
    use crate::failure::{Diagnose as _, Failure};
    use crate::oci::{Digest, MediaType};

    const BLOBS: [&str; 4] = ["first", "", "the third, which is a bit longer", "last"];

    fn descriptor(content: &str) -> Descriptor {
        let size = content.len() as u64;
        Descriptor::new(MediaType::new("text/plain"), Digest::of(content.as_bytes()), size)
    }

    fn path(content: &str) -> String {
        format!("blobs/{content}")
    }

    async fn begin(target: Target) -> Writer {
        let writer = Writer::create(target, Wrapping::None).await.unwrap();
        writer.begin(Contents::of(Form::Oci, &[]).unwrap()).await.unwrap();
        writer.document(path("document"), Bytes::from_static(b"{}")).await.unwrap();
        writer
    }

    fn all() -> Vec<(String, Descriptor)> {
        BLOBS.iter().map(|blob| (path(blob), descriptor(blob))).collect()
    }

    /// One in a new file, with places for all, and what it has to become.
    async fn laid_out(folder: &std::path::Path) -> (Writer, Vec<u8>) {
        let stream = folder.join("stream");
        std::fs::write(&stream, "").unwrap();
        let writer = begin(Target::Stream(stream.clone())).await;
        assert!(!writer.lay_out(all()).await.unwrap(), "a stream has one order");
        for blob in BLOBS {
            put(&writer, blob, &[blob]).await.unwrap();
        }
        writer.finish().await.unwrap();
        let writer = begin(Target::of(&folder.join("file")).unwrap()).await;
        assert!(writer.lay_out(all()).await.unwrap());
        (writer, std::fs::read(stream).unwrap())
    }

    /// Writes `pieces` as the blob `blob`.
    async fn put(writer: &Writer, blob: &str, pieces: &[&str]) -> Result<(), Error> {
        let mut writing = writer.blob(path(blob), &descriptor(blob)).await?;
        for piece in pieces {
            writing.write(Bytes::copy_from_slice(piece.as_bytes())).await?;
        }
        writing.commit().await
    }

    #[tokio::test]
    async fn blobs_that_come_together_are_where_they_would_be_in_turn() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, expected) = laid_out(folder.path()).await;
        let mut begun = Vec::new();
        for blob in BLOBS.iter().rev() {
            begun.push((blob, writer.blob(path(blob), &descriptor(blob)).await.unwrap()));
        }
        for (blob, writing) in &mut begun {
            writing.write(Bytes::from_static(blob.as_bytes())).await.unwrap();
        }
        for (_, writing) in begun {
            writing.commit().await.unwrap();
        }
        assert!(!folder.path().join("file").exists());
        writer.finish().await.unwrap();
        assert!(std::fs::read(folder.path().join("file")).unwrap() == expected);
    }

    #[tokio::test]
    async fn a_wrong_blob_leaves_its_neighbours_alone_and_may_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, expected) = laid_out(folder.path()).await;
        for blob in &BLOBS[1..] {
            put(&writer, blob, &[blob]).await.unwrap();
        }
        let [more, other] = ["f".repeat(9000), "other".to_owned()];
        for pieces in [&["first", &more][..], &[&more, "first"], &[&other], &["fir"], &[]] {
            let wrong = put(&writer, "first", pieces).await.unwrap_err();
            assert!(matches!(wrong, Error::Mismatch { .. }), "{wrong}");
        }
        let given_up = writer.blob(path("first"), &descriptor("first")).await.unwrap();
        given_up.give_up().await;
        put(&writer, "first", &["fi", "rst"]).await.unwrap();
        writer.finish().await.unwrap();
        assert!(std::fs::read(folder.path().join("file")).unwrap() == expected);
    }

    #[tokio::test]
    async fn without_one_of_the_blobs_there_is_no_archive() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, _) = laid_out(folder.path()).await;
        for blob in &BLOBS[1..] {
            put(&writer, blob, &[blob]).await.unwrap();
        }
        let error = writer.finish().await.unwrap_err();
        assert!(matches!(error, Error::Stopped(_)), "{error}");
        drop(writer);
        assert!(!folder.path().join("file").exists());
    }

    #[tokio::test]
    async fn what_has_no_room_is_told_before_a_blob_is_read_and_takes_none() {
        let folder = tempfile::tempdir().unwrap();
        let writer = begin(Target::of(&folder.path().join("file")).unwrap()).await;
        let large = Descriptor::new(MediaType::new("text/plain"), Digest::of(b""), 1 << 60);
        let error = writer.lay_out(vec![(path("large"), large)]).await.unwrap_err();
        assert_eq!(error.failure(), Failure::DiskFull, "{error}");
        assert!(error.hint().unwrap().contains("free space"));
    }
}
