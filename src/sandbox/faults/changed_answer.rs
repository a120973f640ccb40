//! Changes the endpoint's own answer: slow, cut off, or with one malformed value.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderName;
use axum::response::Response;

use super::{Cut, FaultKind, broken_bodies, set_header};

impl FaultKind {
    /// Applies the fault to the endpoint's response; other faults leave it unchanged.
    pub async fn apply_to(&self, mut answer: Response) -> Response {
        match self {
            FaultKind::Drip { bytes, every_ms } => {
                broken_bodies::rebuild(
                    answer,
                    |whole| broken_bodies::drip(whole, *bytes, Duration::from_millis(*every_ms)),
                    true,
                )
                .await
            }
            FaultKind::Stall { after } => {
                broken_bodies::rebuild(answer, |whole| broken_bodies::stall(whole, *after), true)
                    .await
            }
            FaultKind::Cut {
                after,
                how: Cut::Length,
            } => {
                broken_bodies::rebuild(answer, |whole| broken_bodies::cut(whole, *after), true)
                    .await
            }
            FaultKind::Cut {
                after,
                how: Cut::Chunked,
            } => {
                broken_bodies::rebuild(answer, |whole| broken_bodies::cut(whole, *after), false)
                    .await
            }
            FaultKind::Cut {
                after,
                how: Cut::Clean,
            } => {
                broken_bodies::rebuild(
                    answer,
                    |whole| Body::from(whole.slice(..whole.len().min(*after))),
                    false,
                )
                .await
            }
            FaultKind::OddRecord { odd } => {
                broken_bodies::rebuild(answer, |whole| Body::from(odd.put_into(&whole)), false)
                    .await
            }
            FaultKind::OddFrame { frame } => {
                broken_bodies::rebuild(answer, |whole| Body::from(frame.put_into(&whole)), false)
                    .await
            }
            FaultKind::Quiet { status, body } => broken_bodies::quiet(answer, *status, body).await,
            FaultKind::Sunset {
                legacy,
                deprecation,
            } => {
                set_header(
                    &mut answer,
                    HeaderName::from_static("legacy"),
                    legacy.as_deref(),
                );
                set_header(
                    &mut answer,
                    HeaderName::from_static("deprecation"),
                    deprecation.as_deref(),
                );
                answer
            }
            _ => answer,
        }
    }
}
