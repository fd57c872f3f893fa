//! Arguments of a command, defined when it is the one that was typed.

use std::ops::Deref;

use clap::builder::{Resettable, StyledStr};
use clap::{ArgMatches, Args, Command, FromArgMatches};

/// A command's arguments, which nobody defines until the command is typed or all are built: those of the
/// others are most of what there is to define.
///
/// clap's own `defer` would put what is written of `T` in the place of what is written of its command. By neither
/// can a command define a global flag anew, nor have commands of its own that the completion of `help` names:
/// `generate`, which does both, is defined at once.
#[derive(Debug)]
pub struct Deferred<T>(Box<T>);

impl<T> Deferred<T> {
    /// The arguments themselves.
    #[cfg(test)]
    pub(super) fn into_inner(self) -> T {
        *self.0
    }
}

impl<T> Deref for Deferred<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Args> Args for Deferred<T> {
    fn augment_args(command: Command) -> Command {
        command.defer(|command| described_alike(command, T::augment_args))
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(|command| described_alike(command, T::augment_args_for_update))
    }
}

/// `command` as `augment` makes it, but for what is written of it.
fn described_alike(command: Command, augment: fn(Command) -> Command) -> Command {
    let (brief, whole) = (command.get_about().cloned(), command.get_long_about().cloned());
    augment(command).about(or_none(brief)).long_about(or_none(whole))
}

fn or_none(text: Option<StyledStr>) -> Resettable<StyledStr> {
    text.map_or(Resettable::Reset, Resettable::Value)
}

impl<T: FromArgMatches> FromArgMatches for Deferred<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches(matches).map(|arguments| Self(Box::new(arguments)))
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches_mut(matches).map(|arguments| Self(Box::new(arguments)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }

    fn update_from_arg_matches_mut(&mut self, matches: &mut ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches_mut(matches)
    }
}
