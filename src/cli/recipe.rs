//! The recipe as a command runs it: shown while it goes, ended by a signal, its failures as one.

use std::sync::Arc;

use super::Error;
use super::session::Signals;
use crate::failure::Failure;
use crate::output::Progress;
use crate::progress;
use crate::transfer::{self, Manner, Preview, Request, Sink};

/// What the recipe is to do.
pub(super) struct Work {
    /// The images, and where they come from.
    pub(super) images: Vec<Request>,
    /// Where they go.
    pub(super) sink: Arc<dyn Sink>,
    /// How it goes about them.
    pub(super) manner: Manner,
    /// Whether the images are there together or not at all.
    pub(super) is_whole: bool,
}

/// Does the work that `prepared` comes to, and tells `progress`, which ends with it.
///
/// # Errors
/// [`Error::AlreadyTold`] when images failed, [`Error::Interrupted`], or that of `prepared`.
pub(super) async fn carry_out(
    prepared: impl Future<Output = Result<Work, Error>>,
    progress: &Arc<Progress>,
    signals: &mut Signals,
) -> Result<(), Error> {
    let work = async {
        let Work { images, sink, manner, is_whole } = prepared.await?;
        let told = Arc::clone(progress) as Arc<dyn progress::Sink>;
        let failures = transfer::run(&images, sink, manner, told).await;
        Ok::<_, Error>(batch_failure(&failures, images.len(), is_whole))
    };
    let outcome = signals.or(work).await;
    let written = progress.finish();
    match outcome?? {
        Some(failure) => Err(Error::AlreadyTold(failure)),
        None => Ok(written?),
    }
}

/// What the work that `prepared` comes to would do, and how many images it has. Nothing is written.
///
/// # Errors
/// [`Error::Interrupted`], that of `prepared`, or the sink's.
pub(super) async fn preview(
    prepared: impl Future<Output = Result<Work, Error>>,
    progress: &Arc<Progress>,
    signals: &mut Signals,
) -> Result<(Preview, usize), Error> {
    let work = async {
        let Work { images, sink, manner, .. } = prepared.await?;
        let told = Arc::clone(progress) as Arc<dyn progress::Sink>;
        let preview = transfer::preview(&images, sink, manner, told).await?;
        Ok::<_, Error>((preview, images.len()))
    };
    let outcome = signals.or(work).await;
    progress.finish()?;
    outcome?
}

/// One failed image of one is its own kind of failure; some of several are a failed batch, unless
/// all failed alike, or the rest is not there either because the images are a whole.
pub(super) fn batch_failure(
    failures: &[Failure],
    images: usize,
    is_whole: bool,
) -> Option<Failure> {
    let first = *failures.first()?;
    let is_all = is_whole || failures.len() == images;
    let alike = is_all && failures.iter().all(|failure| *failure == first);
    Some(if alike { first } else { Failure::Batch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_failed_alike_has_that_failures_exit_code() {
        use Failure::{Batch, NotFound, RateLimited};
        for (failures, images, expected, of_a_whole) in [
            (&[][..], 2, None, None),
            (&[NotFound], 1, Some(NotFound), Some(NotFound)),
            (&[NotFound], 2, Some(Batch), Some(NotFound)),
            (&[NotFound, NotFound], 2, Some(NotFound), Some(NotFound)),
            (&[NotFound, RateLimited], 2, Some(Batch), Some(Batch)),
        ] {
            assert_eq!(batch_failure(failures, images, false), expected);
            assert_eq!(batch_failure(failures, images, true), of_a_whole);
        }
    }
}
