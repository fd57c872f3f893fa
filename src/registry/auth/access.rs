//! What a request wants to do, in the words of logins and tokens. See
//! <https://distribution.github.io/distribution/spec/auth/scope/>.

use std::collections::BTreeSet;

/// What a request does to a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Reads manifests, blobs and lists.
    Pull,
    /// Uploads, which begins with a look at what is there.
    Push,
    /// Uploads, blobs that another repository of the host has among it.
    Mount {
        /// The other one.
        from: String,
    },
    /// Deletes.
    Delete,
}

impl Action {
    /// As scopes write it. Registries take `push` for itself only, and want `pull` beside it.
    fn verbs(&self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push | Self::Mount { .. } => "pull,push",
            Self::Delete => "delete",
        }
    }
}

/// What a request wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    /// The repository as logins know it: `library/busybox`; empty where none is meant.
    pub(crate) repository: String,
    /// What the host most likely asks for, several scopes apart by blanks:
    /// `repository:library/busybox:pull`. The host's own challenge has the last word.
    scope: String,
    /// A scope that no challenge to the request names: that of the repository to mount from.
    besides: Option<String>,
}

impl Access {
    /// Access to no repository: whether a login is good at all.
    pub(crate) fn login() -> Self {
        Self { repository: String::new(), scope: String::new(), besides: None }
    }

    /// `action` on `repository`.
    pub(crate) fn to(repository: String, action: &Action) -> Self {
        let own = scope(&repository, action);
        match action {
            Action::Mount { from } => {
                let besides = scope(from, &Action::Pull);
                Self { repository, scope: format!("{own} {besides}"), besides: Some(besides) }
            }
            _ => Self { repository, scope: own, besides: None },
        }
    }

    /// The scopes that are wanted, as far as is known before the host was asked.
    pub(crate) fn scope(&self) -> &str {
        &self.scope
    }

    /// The scopes to ask a token endpoint for where the host's challenge names `asked`.
    pub(crate) fn scopes<'a>(&'a self, asked: Option<&'a str>) -> Vec<&'a str> {
        let besides = self.besides.as_deref();
        let wanted = asked.unwrap_or(&self.scope).split_ascii_whitespace().chain(besides);
        let mut seen = BTreeSet::new();
        wanted.filter(|scope| seen.insert(*scope)).collect()
    }
}

fn scope(repository: &str, action: &Action) -> String {
    format!("repository:{repository}:{}", action.verbs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_names_the_repository_and_what_is_done_to_it() {
        for (action, scope) in [
            (Action::Pull, "repository:team/app:pull"),
            (Action::Push, "repository:team/app:pull,push"),
            (Action::Delete, "repository:team/app:delete"),
        ] {
            let access = Access::to("team/app".to_owned(), &action);
            assert_eq!(access.scope(), scope);
            assert_eq!(access.scopes(None), [scope]);
        }
        assert!(Access::login().scopes(None).is_empty());
    }

    #[test]
    fn the_host_says_which_scopes_it_wants_and_a_mount_adds_its_own() {
        let mount = Action::Mount { from: "team/base".to_owned() };
        let access = Access::to("team/app".to_owned(), &mount);
        let [push, base] = ["repository:team/app:pull,push", "repository:team/base:pull"];
        assert_eq!(access.scopes(None), [push, base]);
        assert_eq!(access.scopes(Some("repository:x:*")), ["repository:x:*", base]);
        assert_eq!(access.scopes(Some(&format!("{base} {push}"))), [base, push]);
    }
}
