//! The confirmation page of actions that have no page of their own: deactivate a person, revoke a
//! link or an export password, delete the mail server.

use askama::Template;

use crate::web::components::Chrome;

#[derive(Template)]
#[template(path = "pages/confirm.html")]
pub struct ConfirmPage {
    pub chrome: Chrome,
    /// Names the object: "Deactivate Maren Aasen?"
    pub question: String,
    /// What ends, and when.
    pub ends: String,
    /// What stays.
    pub stays: String,
    /// The path of the form.
    pub action: String,
    pub button: String,
    /// The path of Cancel.
    pub back: &'static str,
}
