//! What is typed and what is printed: the one place where things are put together.

pub mod args;
pub mod values;
