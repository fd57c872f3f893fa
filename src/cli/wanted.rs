//! Images as typed and as listed in files: each once, with all that is said of it.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use super::groups::ImageArgs;
use crate::failure::{Diagnose, Failure, Notice};
use crate::lists::{self, Listed, Origin, Place, PodLogins, PullSecret};
use crate::oci::Digest;
use crate::platform::Platform;
use crate::reference::{Reference, ReferenceError};
use crate::transfer::PlatformChoice;

/// Why what is wanted can't be told.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
    /// What was typed is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A list can't be read.
    #[error(transparent)]
    List(#[from] lists::Error),
    /// The lists named on the command line hold nothing.
    #[error("no image to pull: the lists name none")]
    NoImages {
        /// What was noticed in them.
        notice: Option<Notice>,
    },
    /// `as=` of two images.
    #[error("{} and {} are both to be called {name}", sources[0], sources[1])]
    SameName {
        /// The name.
        name: String,
        /// What the images are called where they come from.
        sources: [String; 2],
    },
    /// Locks that do not agree.
    #[error("two locks have different digests for {0}")]
    TwoLocks(String),
    /// `--as` of several.
    #[error("--as names one image, and there are {0}")]
    SeveralImages(usize),
    /// `--image-repository`, where two images would be one.
    #[error("{} and {} would both come from {source_name}", names[0], names[1])]
    SameSource {
        /// The one that it would be.
        source_name: String,
        /// The two.
        names: [String; 2],
    },
}

impl Diagnose for WantedError {
    fn failure(&self) -> Failure {
        match self {
            Self::Reference(error) => error.failure(),
            Self::List(error) => error.failure(),
            Self::NoImages { .. }
            | Self::SameName { .. }
            | Self::TwoLocks(_)
            | Self::SeveralImages(_)
            | Self::SameSource { .. } => Failure::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Reference(error) => error.hint(),
            Self::List(error) => error.hint(),
            Self::NoImages { notice: Some(notice) } => {
                let hint = notice.hint.as_deref().map(|hint| format!("; {hint}"));
                Some(format!("{notice}{}", hint.unwrap_or_default()))
            }
            Self::NoImages { notice: None } => Some("put one reference on each line".to_owned()),
            Self::TwoLocks(_) => Some("name one of them".to_owned()),
            Self::SeveralImages(_) => Some("write as=NAME behind each in a list".to_owned()),
            Self::SameSource { .. } => Some("pull one of them by a command of its own".to_owned()),
            Self::SameName { .. } => {
                Some("give one of them another name, or take it out".to_owned())
            }
        }
    }
}

/// An image that is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    /// What it is to be called.
    pub(super) name: Reference,
    /// What it is called where it comes from.
    pub(super) source: Reference,
    /// The digest that a lock has for it.
    pub(super) locked: Option<Digest>,
    /// Whether a line says `pin`.
    pub(super) pin: bool,
    /// Where it is named; nowhere for one that was typed.
    pub(super) places: Vec<(Place, Origin)>,
    /// Whose logins are for it.
    pub(super) logins: Vec<PodLogins>,
    platforms: Vec<Platform>,
    /// Whether it is named without a platform, too.
    is_for_any: bool,
}

impl Wanted {
    /// The image `source`, which is to stay.
    pub(super) fn pinned(source: Reference) -> Self {
        Self { pin: true, ..Self::new(source) }
    }

    fn new(source: Reference) -> Self {
        Self {
            name: source.clone(),
            source,
            locked: None,
            pin: false,
            places: Vec::new(),
            logins: Vec::new(),
            platforms: Vec::new(),
            is_for_any: true,
        }
    }

    /// The platforms that its lines name.
    pub(super) fn platforms(&self) -> &[Platform] {
        &self.platforms
    }

    /// It as a line of a list.
    pub(super) fn line(&self) -> String {
        self.line_from(self.source.to_string())
    }

    /// The same; one of a lock by its digest, under the name of its tag.
    pub(super) fn exact_line(&self) -> String {
        self.line_from(match self.locked {
            Some(digest) => format!("{}@{digest}", self.source.name()),
            None => self.source.to_string(),
        })
    }

    fn line_from(&self, source: String) -> String {
        let options = self.options_of(&source);
        let gap = if options.is_empty() { "" } else { " " };
        format!("{source}{gap}{options}")
    }

    /// The options of that line.
    pub(super) fn options(&self) -> String {
        self.options_of(&self.source.to_string())
    }

    /// The options of a line that begins with `source`.
    fn options_of(&self, source: &str) -> String {
        let platforms = self.platforms.iter().map(|platform| format!("platform={platform}"));
        let mut options: Vec<String> = platforms.collect();
        options.extend(self.pin.then(|| "pin".to_owned()));
        let name = self.name.to_string();
        options.extend((name != source).then(|| format!("as={name}")));
        options.join(" ")
    }

    /// What is taken of its index on a machine that is `host`, where the command says `flags`.
    pub(super) fn choice(&self, flags: &ImageArgs, host: Platform) -> PlatformChoice {
        match (self.platforms.is_empty(), self.is_for_any) {
            (true, _) => flags.choice(host),
            (false, false) => ImageArgs::strictly(self.platforms.clone(), &host),
            (false, true) => {
                let mut platforms = match flags.choice(host.clone()) {
                    PlatformChoice::Host(host) => vec![host],
                    PlatformChoice::Strict(platforms) => platforms,
                    all => return all,
                };
                platforms.extend(self.platforms.iter().cloned());
                platforms.dedup();
                ImageArgs::strictly(platforms, &host)
            }
        }
    }

    /// Adds what `other`, the same image, says.
    fn join(&mut self, other: Self) {
        self.pin |= other.pin;
        self.locked = self.locked.or(other.locked);
        self.places.extend(other.places);
        for login in other.logins {
            if !self.logins.contains(&login) {
                self.logins.push(login);
            }
        }
        for platform in other.platforms {
            if !self.platforms.contains(&platform) {
                self.platforms.push(platform);
            }
        }
        self.is_for_any |= other.is_for_any;
    }
}

impl From<Listed> for Wanted {
    fn from(listed: Listed) -> Self {
        Self {
            name: listed.name.unwrap_or_else(|| listed.reference.clone()),
            source: listed.reference,
            locked: listed.locked,
            pin: listed.pin,
            places: vec![(listed.place, listed.origin)],
            logins: listed.logins.into_iter().collect(),
            is_for_any: listed.platforms.is_empty(),
            platforms: listed.platforms,
        }
    }
}

/// All that is wanted.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Each name once, in order.
    pub(super) images: Vec<Wanted>,
    /// Logins that came along in the lists.
    pub(super) secrets: Vec<PullSecret>,
    /// What should be known of the lists.
    pub(super) notices: Vec<Notice>,
}

impl Batch {
    /// Lets the one image be called `name`.
    ///
    /// # Errors
    /// [`WantedError::SeveralImages`].
    pub(super) fn call(&mut self, name: &Reference) -> Result<(), WantedError> {
        match self.images.as_mut_slice() {
            [only] => only.name = name.clone(),
            images => return Err(WantedError::SeveralImages(images.len())),
        }
        Ok(())
    }

    /// Lets each image come from where `place` says; their names stay.
    ///
    /// # Errors
    /// [`WantedError::SameSource`] where two that are different would be one.
    pub(super) fn come_from(
        &mut self,
        place: impl Fn(&Reference) -> Result<Reference, ReferenceError>,
    ) -> Result<(), WantedError> {
        let mut known: HashMap<Reference, Reference> = HashMap::new();
        for wanted in &mut self.images {
            let placed = place(&wanted.source)?;
            let first = known.entry(placed.clone()).or_insert_with(|| wanted.source.clone());
            if *first != wanted.source {
                let names = [&*first, &wanted.source].map(ToString::to_string);
                return Err(WantedError::SameSource { source_name: placed.to_string(), names });
            }
            wanted.source = placed;
        }
        Ok(())
    }

    /// That lines say `pin`, where images go to `place`, which keeps no pins.
    pub(super) fn lost_pins(&self, place: &impl fmt::Display) -> Option<Notice> {
        let pinned: Vec<&Wanted> = self.images.iter().filter(|wanted| wanted.pin).collect();
        let lines = match pinned.as_slice() {
            [] => return None,
            [only] => format!("`pin` of {}", only.name),
            several => format!("`pin` of {} images", several.len()),
        };
        let notice = Notice::new("pin-without-effect", format!("{lines} has no effect in {place}"))
            .with_hint("pin them where they end up: pullctl load --pin, or pullctl pin REF");
        Some(match pinned.iter().find_map(|wanted| wanted.places.first()) {
            Some((place, _)) => notice.at(place.path.clone(), place.line),
            None => notice,
        })
    }

    /// Adds `image`, or has it stay if it is wanted already.
    pub(super) fn add_pinned(&mut self, image: Reference) {
        match self.images.iter_mut().find(|wanted| wanted.name == image) {
            Some(wanted) => wanted.pin = true,
            None => self.images.push(Wanted::pinned(image)),
        }
    }
}

/// Every image named by `typed` and in the lists `files`, each once, in order.
///
/// # Errors
/// The first that is no reference, a list that can't be read, or two images of one name.
pub(super) fn read(typed: &[String], files: &[PathBuf]) -> Result<Batch, WantedError> {
    let mut gathered = Gathered::default();
    for text in typed {
        gathered.add(Wanted::new(text.parse::<Reference>()?))?;
    }
    for path in files {
        let list = lists::read(path)?;
        gathered.batch.secrets.extend(list.secrets);
        gathered.batch.notices.extend(list.notices);
        for listed in list.images {
            gathered.add(listed.into())?;
        }
    }
    let batch = gathered.batch;
    match batch.images.is_empty() {
        true => Err(WantedError::NoImages { notice: batch.notices.into_iter().next() }),
        false => Ok(batch),
    }
}

/// A batch in the making.
#[derive(Default)]
struct Gathered {
    batch: Batch,
    /// Where each name is among the images.
    positions: HashMap<Reference, usize>,
}

impl Gathered {
    fn add(&mut self, wanted: Wanted) -> Result<(), WantedError> {
        let images = &mut self.batch.images;
        let position = *self.positions.entry(wanted.name.clone()).or_insert(images.len());
        match images.get_mut(position) {
            None => images.push(wanted),
            Some(known) if matches!((known.locked, wanted.locked), (Some(a), Some(b)) if a != b) => {
                return Err(WantedError::TwoLocks(wanted.name.to_string()));
            }
            Some(known) if known.source == wanted.source => known.join(wanted),
            Some(known) => {
                let sources = [&known.source, &wanted.source].map(ToString::to_string);
                return Err(WantedError::SameName { name: wanted.name.to_string(), sources });
            }
        }
        Ok(())
    }
}
