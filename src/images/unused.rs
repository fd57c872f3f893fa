//! Which images nobody uses: no container, running or not, is made of them, none of their names is
//! pinned, and no pod's sandbox is made of them.

use std::collections::HashSet;

use jiff::Timestamp;

use super::inventory::StoredImage;
use super::stock::Stock;
use crate::containerd::{Client, Error};

/// Who uses images.
#[derive(Debug)]
pub struct Users<'a> {
    /// By these names or IDs.
    names: HashSet<String>,
    /// By what is written on top of their layers.
    written_on: HashSet<(&'a str, &'a str)>,
    stock: &'a Stock,
}

/// Which of the images that nobody uses are meant.
#[derive(Debug, Clone, Default)]
pub struct Unused {
    /// Those whose newest name was stored before this.
    pub stored_before: Option<Timestamp>,
    /// Names that are needed whoever uses them: that of pods' sandboxes.
    pub needed: Vec<String>,
}

impl<'a> Users<'a> {
    /// Who uses images of the client's namespace, in which there is `stock`.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn of(client: &Client, stock: &'a Stock) -> Result<Self, Error> {
        // A tag may have been moved on since: the CRI tells the IDs.
        let mut names: HashSet<String> = client.cri().images_in_use().await?.into_iter().collect();
        names.extend(stock.containers().iter().map(|container| container.image.clone()));
        Ok(Self { names, written_on: stock.written_on(), stock })
    }

    /// Whether somebody uses `image`.
    pub fn use_image(&self, image: &StoredImage) -> bool {
        let names = image.names.iter().any(|name| self.names.contains(&name.name));
        let id = image.id.is_some_and(|id| {
            self.names.contains(&id.to_string())
                || self.stock.tops(&id).any(|top| self.written_on.contains(&top))
        });
        names || id
    }
}

impl Unused {
    /// Those of `images` that are meant, as far as `users` tells.
    pub fn of<'a>(&self, images: &'a [StoredImage], users: &Users<'_>) -> Vec<&'a StoredImage> {
        let is_needed =
            |image: &StoredImage| image.names.iter().any(|name| self.needed.contains(&name.name));
        let is_old = |image: &StoredImage| match self.stored_before {
            None => true,
            // Of a name that tells no time nobody knows.
            Some(before) => {
                image.names.iter().all(|name| name.created.is_some_and(|created| created < before))
            }
        };
        images
            .iter()
            .filter(|image| {
                !image.has_pin() && !is_needed(image) && is_old(image) && !users.use_image(image)
            })
            .collect()
    }
}
