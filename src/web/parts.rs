//! What templates are filled with: the shared parts of `templates/macros.html`. Empty text means "none".

/// The frame around a page.
#[derive(Clone, Debug, Default)]
pub struct Chrome {
    pub user_name: String,
    pub user_email: String,
    pub user_initials: String,
    /// admin, editor or viewer.
    pub role: String,
    /// How many DataSets are failing.
    pub failing: u64,
    /// Which entry of the rail is lit.
    pub section: &'static str,
    pub asset_version: String,
    pub version: String,
    /// What the search field holds.
    pub q: String,
    /// Shown once.
    pub toast: Option<String>,
}

/// What is wrong with which field of a form.
#[derive(Clone, Debug, Default)]
pub struct Errors(pub Vec<(String, String)>);

impl Errors {
    /// The sentence for a field; empty when it is fine.
    pub fn of(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, sentence)| sentence.as_str())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, field: &str, sentence: impl Into<String>) {
        self.0.push((field.to_owned(), sentence.into()));
    }

    /// Takes over what an error says about fields. An error that names none is given back.
    pub fn take(&mut self, error: crate::error::Error) -> Option<crate::error::Error> {
        if error.field_errors().is_empty() {
            return Some(error);
        }
        self.0.extend(error.field_errors().iter().cloned());
        None
    }
}

/// A dot or ring and a word.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// good, warn, bad, info or "".
    pub tone: String,
    /// Not settled: running, waiting, never run.
    pub ring: bool,
    pub word: String,
    /// A quiet second line.
    pub line: String,
}

impl Status {
    pub fn new(tone: &str, ring: bool, word: impl Into<String>, line: impl Into<String>) -> Self {
        Self { tone: tone.to_owned(), ring, word: word.into(), line: line.into() }
    }
}

/// A moment.
#[derive(Clone, Debug, Default)]
pub struct When {
    /// 2026-11-20T08:15:30Z; empty for never.
    pub iso: String,
    /// In the page's zone, for the title.
    pub exact: String,
    /// "2 hours ago".
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

/// A coloured band: what happened, who must act, what is next.
#[derive(Clone, Debug, Default)]
pub struct Band {
    pub tone: String,
    pub title: String,
    pub text: String,
    pub actions: Vec<Action>,
}

/// A line of a few numbers, in a box of 72 by 24.
#[derive(Clone, Debug, Default)]
pub struct Spark {
    pub points: String,
    pub end_x: String,
    pub end_y: String,
    pub tone: String,
    pub words: String,
}

/// Which part of a long list is shown.
#[derive(Clone, Debug, Default)]
pub struct Pager {
    pub first: String,
    pub last: String,
    /// "of 12,480 rows".
    pub of: String,
    pub page: u64,
    pub pages: u64,
    /// Addresses, or empty.
    pub previous: String,
    pub next: String,
    /// An address to which `page=N` is added, for First and Last; or empty.
    pub jump: String,
}

/// A label and what it holds.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    pub label: String,
    pub value: String,
}

impl Fact {
    pub fn new(label: &str, value: impl Into<String>) -> Self {
        Self { label: label.to_owned(), value: value.into() }
    }
}
