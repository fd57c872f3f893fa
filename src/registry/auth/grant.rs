//! What is sent along with a request, and what is known of the login behind it.

use http::HeaderValue;

/// What to send along with a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grant {
    /// The `Authorization` header, where there is one.
    pub(crate) header: Option<HeaderValue>,
    /// What stands behind it.
    pub(crate) standing: Standing,
    /// How many logins were refused before that one.
    pub(super) position: usize,
}

impl Grant {
    /// The same, made with the login at `position`.
    pub(super) fn at(self, position: usize) -> Self {
        Self { position, ..self }
    }
}

/// What is known of the login that a request is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    /// There is none.
    #[default]
    Anonymous,
    /// It is for the host to judge.
    Claimed,
    /// The token endpoint has taken it: what is refused now is what it may do.
    Proved,
}

impl Standing {
    /// Whether there is a login.
    pub(crate) fn is_login(self) -> bool {
        self != Self::Anonymous
    }
}
