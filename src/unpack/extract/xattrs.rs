//! Extended attributes of files that were extracted already: which there are, and the same for others.

use std::os::fd::AsFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Longest list of names and longest value, in bytes (64 KiB): the kernel's own bounds.
const MAX_BYTES: usize = 64 * 1024;

/// The one that overlayfs reads in what extraction leaves: nothing of the layers below shows.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// What overlayfs writes into the directories of containers. A layer that has more of it than
/// [`OPAQUE`] was made of such a directory, and means something only where it lies.
const OVERLAY: &[u8] = b"trusted.overlay.";

/// The administrator's name space: extraction takes nothing of it from an image.
const ADMINISTRATORS: &[u8] = b"trusted.";

/// Given by the machine's policy, by where the file lies.
const SELINUX: &[u8] = b"security.selinux";

/// Copies attributes, by buffers that are made once.
#[derive(Default)]
pub(super) struct Xattrs {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Xattrs {
    /// Gives the open file `to` the attributes that extraction has given the open file `from`.
    ///
    /// # Errors
    /// What the system says; `ENOTSUP` for what extraction does not leave.
    pub(super) fn copy_open(&mut self, from: impl AsFd, to: impl AsFd) -> rustix::io::Result<()> {
        self.copy(
            |names| rustix::fs::flistxattr(&from, names),
            |name, value| rustix::fs::fgetxattr(&from, name, value),
            |name, value| rustix::fs::fsetxattr(&to, name, value, XattrFlags::empty()),
        )
    }

    /// The same for what can't be opened, by paths whose last component is not followed.
    ///
    /// # Errors
    /// As above.
    pub(super) fn copy_named(&mut self, from: &[u8], to: &[u8]) -> rustix::io::Result<()> {
        self.copy(
            |names| rustix::fs::llistxattr(from, names),
            |name, value| rustix::fs::lgetxattr(from, name, value),
            |name, value| rustix::fs::lsetxattr(to, name, value, XattrFlags::empty()),
        )
    }

    /// Only what overlayfs has to know of the root of a layer, which is the snapshotter's otherwise.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn copy_opaque(&mut self, from: impl AsFd, to: impl AsFd) -> rustix::io::Result<()> {
        self.value.resize(MAX_BYTES, 0);
        match rustix::fs::fgetxattr(from, OPAQUE, &mut self.value[..]) {
            Ok(length) => {
                let value = self.value.get(..length).unwrap_or_default();
                rustix::fs::fsetxattr(to, OPAQUE, value, XattrFlags::empty())
            }
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn copy(
        &mut self,
        list: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>,
        get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
        set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<()> {
        self.names.resize(MAX_BYTES, 0);
        let length = match list(&mut self.names) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(()),
            length => length?,
        };
        let names = self.names.get(..length).unwrap_or_default().split(|&byte| byte == 0);
        for name in names.filter(|name| !name.is_empty()) {
            if name.starts_with(OVERLAY) && name != OPAQUE {
                return Err(Errno::NOTSUP);
            }
            if name == SELINUX || (name.starts_with(ADMINISTRATORS) && name != OPAQUE) {
                continue;
            }
            self.value.resize(MAX_BYTES, 0);
            match get(name, &mut self.value) {
                Ok(length) => set(name, self.value.get(..length).unwrap_or_default())?,
                Err(Errno::NODATA) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
