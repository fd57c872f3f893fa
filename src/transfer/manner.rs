//! How a run goes about its images.

/// Images that are looked at before the first of them is brought: whether they have room is told of all
/// together. Of more, what each consists of would take too much memory.
const IMAGES_TOGETHER: usize = 256;

/// How a run goes about its images.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Blobs worked on at the same time.
    pub concurrency: usize,
    /// Most bytes that these hold in memory on their way, each at its largest; `None` for as many as they
    /// hold.
    pub memory_bytes: Option<u64>,
    /// Images that are looked at before the first of them is brought.
    pub images_together: usize,
    /// When an image is brought.
    pub policy: Policy,
    /// Whether the first failure ends the others.
    pub fail_fast: bool,
    /// Whether it is checked that all images have room, before the first blob of any.
    pub check_room: bool,
}

/// When an image is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// What its source says that it is now.
    #[default]
    Always,
    /// Where the sink has not all of it.
    Missing,
    /// Never: it fails where the sink has not all of it.
    Never,
}

impl Manner {
    /// That of a run which looks at everything, and goes on whatever fails.
    pub fn of_blobs(concurrency: usize) -> Self {
        Self {
            concurrency,
            memory_bytes: None,
            images_together: IMAGES_TOGETHER,
            policy: Policy::Always,
            fail_fast: false,
            check_room: false,
        }
    }
}
