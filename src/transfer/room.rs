//! Refusing images that do not fit, before anything of them is written.

use super::error::Error;
use super::plan::Plan;
use super::recipe::Recipe;

impl Recipe {
    /// Sees to it that the images have room, all of them together.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; when the sink can't be asked.
    pub(super) async fn check_room(&self, plans: &[&Plan]) -> Result<(), Error> {
        if plans.is_empty() || self.sink.is_ample(plans).await? {
            return Ok(());
        }
        let Some(forecast) = self.sink.forecast(plans).await? else { return Ok(()) };
        let short = forecast.short();
        if short.is_empty() {
            return Ok(());
        }
        Err(Error::NoRoom { short, reclaimable_bytes: self.sink.reclaimable_bytes().await })
    }
}
