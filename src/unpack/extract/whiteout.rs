//! Whiteouts: names that say what of the layers below is gone.
//!
//! See <https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts>.

use super::error::ExtractError;

/// What to make of whiteouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// What overlayfs wants in an upper directory: a character device 0/0, and an attribute on
    /// opaque directories. For every layer with layers below it.
    Overlay,
    /// Remove what they name, as containerd does for a base layer, which has nothing below it.
    Remove,
}

/// A whiteout, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whiteout<'name> {
    /// Nothing of the layers below shows in its directory.
    Opaque,
    /// The file of this name in the layers below is gone.
    Hides(&'name [u8]),
}

impl<'name> Whiteout<'name> {
    /// What the last component `base` of the path of `entry` says, if it is a whiteout's name.
    ///
    /// # Errors
    /// [`ExtractError::Unusable`] when it names a directory rather than something in it.
    pub(crate) fn of(base: &'name [u8], entry: &[u8]) -> Result<Option<Self>, ExtractError> {
        match base.strip_prefix(b".wh.") {
            None => Ok(None),
            Some(b".wh..opq") => Ok(Some(Self::Opaque)),
            Some(b"" | b"." | b"..") => {
                Err(ExtractError::unusable(entry, "it is a whiteout of no file"))
            }
            // aufs's own files (`.wh..wh.plnk`) are no exception: containerd makes none either.
            Some(hidden) => Ok(Some(Self::Hides(hidden))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names() {
        for (base, whiteout) in [
            (&b"file"[..], None),
            (b".wh", None),
            (b".wh.file", Some(Whiteout::Hides(b"file"))),
            (b".wh..hidden", Some(Whiteout::Hides(b".hidden"))),
            (b".wh..wh..opq", Some(Whiteout::Opaque)),
            (b".wh..wh.plnk", Some(Whiteout::Hides(b".wh.plnk"))),
        ] {
            assert_eq!(Whiteout::of(base, base).unwrap(), whiteout);
        }
        for base in [&b".wh."[..], b".wh..", b".wh..."] {
            assert!(Whiteout::of(base, base).is_err());
        }
    }
}
