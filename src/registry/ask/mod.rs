//! Who is asked: the hosts of a repository, their health, and who comes next.

pub(super) mod health;
pub(super) mod host;
pub(super) mod tries;
pub(super) mod turn;
