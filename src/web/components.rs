//! The data of the components in `templates/macros.html`. An empty text means "none".

/// The frame around a page.
#[derive(Clone, Debug, Default)]
pub struct Chrome {
    pub user_name: String,
    pub user_email: String,
    pub user_initials: String,
    /// admin, editor or viewer.
    pub role: String,
    /// The number of failing DataSets.
    pub failing: u64,
    /// The active entry of the navigation.
    pub section: &'static str,
    pub asset_version: String,
    pub version: String,
    /// The text in the search field.
    pub q: String,
    /// The flash message.
    pub toast: Option<String>,
    /// Whether the flash message is about a failure.
    pub toast_failed: bool,
}

/// The errors of the fields of a form.
#[derive(Clone, Debug, Default)]
pub struct Errors(pub Vec<(String, String)>);

impl Errors {
    /// The error of a field; empty if it is valid.
    pub fn of(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(field, _)| field == name)
            .map_or("", |(_, sentence)| sentence.as_str())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, field: &str, sentence: impl Into<String>) {
        self.0.push((field.to_owned(), sentence.into()));
    }

    /// Takes the field errors of `error`. Returns an error without fields unchanged.
    pub fn take(&mut self, error: crate::error::Error) -> Option<crate::error::Error> {
        if error.field_errors().is_empty() {
            return Some(error);
        }
        self.0.extend(error.field_errors().iter().cloned());
        None
    }
}

/// A status: a dot or ring and a label.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// `good`, `warn`, `bad`, `info` or empty.
    pub tone: String,
    /// A ring instead of a dot, for states that will change: running, waiting, never run.
    pub ring: bool,
    pub word: String,
    /// The secondary line.
    pub line: String,
}

impl Status {
    pub fn new(tone: &str, ring: bool, word: impl Into<String>, line: impl Into<String>) -> Self {
        Self {
            tone: tone.to_owned(),
            ring,
            word: word.into(),
            line: line.into(),
        }
    }
}

/// A time.
#[derive(Clone, Debug, Default)]
pub struct DisplayTime {
    /// Such as 2026-11-20T08:15:30Z; empty for never.
    pub iso: String,
    /// In the time zone of the page, for the tooltip.
    pub exact: String,
    /// Relative, such as "2 hours ago".
    pub words: String,
}

/// An option of a menu.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub value: String,
    pub label: String,
    pub selected: bool,
}

/// A link or button.
#[derive(Clone, Debug, Default)]
pub struct Action {
    pub label: String,
    pub href: String,
    pub primary: bool,
    pub post: bool,
}

/// A banner: what happened, who must act, what is next.
#[derive(Clone, Debug, Default)]
pub struct Band {
    pub tone: String,
    pub title: String,
    pub text: String,
    pub actions: Vec<Action>,
}

/// A sparkline in a box of 72 by 24.
#[derive(Clone, Debug, Default)]
pub struct Spark {
    pub points: String,
    pub end_x: String,
    pub end_y: String,
    pub tone: String,
    pub words: String,
}

/// The pagination of a long list.
#[derive(Clone, Debug, Default)]
pub struct Pager {
    pub first: String,
    pub last: String,
    /// Such as "of 12,480 rows".
    pub of: String,
    pub page: u64,
    pub pages: u64,
    /// Links, or empty.
    pub previous: String,
    pub next: String,
    /// A link to which `page=N` is added, for First and Last; or empty.
    pub jump: String,
}

/// A label and a value.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    pub label: String,
    pub value: String,
}

impl Fact {
    pub fn new(label: &str, value: impl Into<String>) -> Self {
        Self {
            label: label.to_owned(),
            value: value.into(),
        }
    }
}
