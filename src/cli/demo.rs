//! `chatlake demo`

use super::Done;
use crate::config::Given;

#[derive(clap::Args)]
pub struct Arguments {}

pub async fn run(_given: &Given, _arguments: &Arguments) -> Done {
    Ok(())
}
