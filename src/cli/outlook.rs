//! What a pull would do, as a document: which host would serve each image, what would be fetched, and
//! whether it has room.

use std::fmt;

use serde::Serialize;

use crate::failure::Failure;
use crate::output::{table, units};
use crate::transfer::{FileSystem, Found, Preview};

/// What a pull would do.
#[derive(Serialize)]
pub(super) struct Outlook {
    images: Vec<Image>,
    filesystems: Vec<Room>,
    fits: bool,
}

/// What it would do with one image; what is not known is `null`.
#[derive(Serialize)]
struct Image {
    image: String,
    host: Option<String>,
    digest: Option<String>,
    platforms: Vec<String>,
    fetch_bytes: Option<u64>,
    present_bytes: Option<u64>,
    /// An estimate.
    unpacked_bytes: Option<u64>,
    /// Why it would fail.
    failure: Option<&'static str>,
}

/// A file system, and what would come to it.
#[derive(Serialize)]
struct Room {
    path: String,
    size_bytes: u64,
    free_bytes: u64,
    reserved_bytes: u64,
    reserved_for: String,
    needed_bytes: u64,
    fits: bool,
}

impl Outlook {
    pub(super) fn of(preview: &Preview) -> Self {
        let filesystems = preview.forecast.iter().flat_map(|forecast| &forecast.filesystems);
        let images = preview.images.iter().map(|image| match &image.found {
            Ok(found) => Image::found(image.image.clone(), found),
            Err(failure) => Image::failed(image.image.clone(), *failure),
        });
        let filesystems: Vec<Room> = filesystems.map(Room::of).collect();
        let fits = filesystems.iter().all(|room| room.fits);
        Self { images: images.collect(), filesystems, fits }
    }
}

impl Image {
    fn found(image: String, found: &Found) -> Self {
        Self {
            image,
            host: Some(found.host.clone()),
            digest: Some(found.digest.to_string()),
            platforms: found.platforms.clone(),
            fetch_bytes: found.need.map(|need| need.fetched_bytes),
            present_bytes: found.need.map(|need| need.present_bytes),
            unpacked_bytes: found.need.map(|need| need.unpacked_bytes),
            failure: None,
        }
    }

    fn failed(image: String, failure: Failure) -> Self {
        Self {
            image,
            host: None,
            digest: None,
            platforms: Vec::new(),
            fetch_bytes: None,
            present_bytes: None,
            unpacked_bytes: None,
            failure: Some(failure.code()),
        }
    }

    fn row(&self) -> [String; 6] {
        let bytes = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), units::bytes);
        // Nobody would be misled by an estimate of nothing.
        let about = |count: Option<u64>| match count {
            Some(count) if count > 0 => format!("~ {}", units::bytes(count)),
            count => bytes(count),
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let host = match self.failure {
            Some(failure) => format!("({failure})"),
            None => text(&self.host),
        };
        let (fetched, present) = (bytes(self.fetch_bytes), bytes(self.present_bytes));
        let unpacked = about(self.unpacked_bytes);
        [self.image.clone(), host, fetched, present, unpacked, text(&self.digest)]
    }
}

impl Room {
    fn of(found: &FileSystem) -> Self {
        Self {
            path: found.path.display().to_string(),
            size_bytes: found.size_bytes,
            free_bytes: found.free_bytes,
            reserved_bytes: found.reserved_bytes,
            reserved_for: found.reserved_for.clone(),
            needed_bytes: found.needed_bytes,
            fits: found.fits(),
        }
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["IMAGE", "HOST", "FETCH", "THERE", "UNPACKED", "DIGEST"];
        f.write_str(&table(header, self.images.iter().map(Image::row)))?;
        for room in &self.filesystems {
            let [needed, free, reserved] =
                [room.needed_bytes, room.free_bytes, room.reserved_bytes].map(units::bytes);
            let fits = if room.fits { "fits" } else { "does not fit" };
            let Room { path, reserved_for, .. } = room;
            write!(
                f,
                "\n{path}: about {needed} to come, {free} free, {reserved} to stay free \
                 ({reserved_for}): {fits}"
            )?;
        }
        Ok(())
    }
}
