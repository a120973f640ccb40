//! LiveChat.
use super::report::{Menu, Report};
use super::*;
pub const FIELDS: &[CredentialField] = &[];
pub const REPORTS: &[Report] = &[];
pub(super) async fn check(_: &Source) -> Result<String, PullError> {
    Err(PullError::Cancelled)
}
pub(super) async fn choices(_: &Source, _: Menu) -> Result<Vec<Choice>, PullError> {
    Err(PullError::Cancelled)
}
pub(super) async fn pull(_: &Source, _: &PullRequest, _: &mpsc::Sender<Pulled>) -> Result<(), PullError> {
    Err(PullError::Cancelled)
}
pub(super) async fn sample(_: &Source, _: &'static Report, _: &Menus, _: &TimeZone, _: Option<Window>, _: usize) -> Result<Sample, PullError> {
    Err(PullError::Cancelled)
}
