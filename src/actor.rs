//! The actor of a request: a person and the scope of their token. `auth` creates an `Actor`; every
//! function that checks permissions takes one.

use serde::{Deserialize, Serialize};

use crate::ids::{TokenId, UserId};

/// The caller: a person in a browser, or a program with that person's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub user: UserId,
    pub name: String,
    pub email: String,
    pub role: Role,
    /// The scope of the token. `None` for a person in a browser, who may do everything that the
    /// role allows.
    pub scope: Option<Scope>,
    pub token: Option<TokenId>,
    /// The session of a person in a browser, as in `auth::sessions::SessionInfo::handle`; `None`
    /// for a program and on the command line.
    pub session: Option<String>,
}

/// The role of a person: the upper limit of what they may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
pub enum Role {
    /// Reads shared objects.
    Viewer,
    /// Creates accounts and DataSets, and sees their own and the shared ones.
    Editor,
    /// Sees and does everything.
    Admin,
}

/// The scope of a token. `Metrics` is separate; each other scope includes those before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
pub enum Scope {
    /// Only the metrics at `/metrics`.
    Metrics,
    /// Reads DataSets and their rows.
    Read,
    /// Also starts and stops runs.
    Run,
    /// Also reads accounts, and creates and changes accounts and DataSets.
    Manage,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Admin, Role::Editor, Role::Viewer];

    pub fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Admin => "admin",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::parse(word)
            .ok_or_else(|| format!("{word} is not a role: use admin, editor or viewer"))
    }
}

impl Scope {
    pub const ALL: [Scope; 4] = [Scope::Read, Scope::Run, Scope::Manage, Scope::Metrics];

    pub fn word(self) -> &'static str {
        match self {
            Scope::Metrics => "metrics",
            Scope::Read => "read",
            Scope::Run => "run",
            Scope::Manage => "manage",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }

    /// Whether a token of this scope may read `/metrics`.
    pub fn reads_metrics(self) -> bool {
        matches!(self, Scope::Metrics | Scope::Manage)
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::parse(word)
            .ok_or_else(|| format!("{word} is not a scope: use read, run, manage or metrics"))
    }
}

impl Actor {
    fn has_scope(&self, scope: Scope) -> bool {
        self.scope.is_none_or(|own| own >= scope)
    }

    /// Whether the actor sees and changes objects of other people.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether the actor may create and change accounts and DataSets.
    pub fn may_edit(&self) -> bool {
        self.role >= Role::Editor && self.has_scope(Scope::Manage)
    }

    /// Whether the actor may start and stop runs.
    pub fn may_run(&self) -> bool {
        self.role >= Role::Editor && self.has_scope(Scope::Run)
    }

    /// Whether the actor may see accounts. Secrets are never shown.
    pub fn sees_accounts(&self) -> bool {
        self.role >= Role::Editor && self.has_scope(Scope::Manage)
    }

    /// Whether the actor may add people and change their roles.
    pub fn manages_people(&self) -> bool {
        self.is_admin() && self.scope.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_role_and_a_scope_allow_together() {
        let allowed = |role, scope| {
            let actor = Actor {
                user: UserId::new(),
                name: String::new(),
                email: String::new(),
                role,
                scope,
                token: None,
                session: None,
            };
            (
                actor.may_run(),
                actor.may_edit(),
                actor.sees_accounts(),
                actor.manages_people(),
            )
        };
        let none = (false, false, false, false);
        for scope in [
            None,
            Some(Scope::Metrics),
            Some(Scope::Read),
            Some(Scope::Run),
            Some(Scope::Manage),
        ] {
            assert_eq!(allowed(Role::Viewer, scope), none);
        }
        assert_eq!(allowed(Role::Editor, None), (true, true, true, false));
        for role in [Role::Editor, Role::Admin] {
            assert_eq!(allowed(role, Some(Scope::Metrics)), none);
            assert_eq!(allowed(role, Some(Scope::Read)), none);
            assert_eq!(allowed(role, Some(Scope::Run)), (true, false, false, false));
            assert_eq!(
                allowed(role, Some(Scope::Manage)),
                (true, true, true, false)
            );
        }
        assert_eq!(allowed(Role::Admin, None), (true, true, true, true));
    }
}
