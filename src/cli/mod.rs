//! What is typed and what is printed: the one place where things are put together.

pub mod args;
pub mod completion;
pub mod images;
mod inventory;
pub mod rm;
pub mod values;
