//! Answers that replace the endpoint's answer, in the format of the route's vendor.

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{FaultKind, HangUp, broken_bodies, set_header};
use crate::clock::Millis;
use crate::sandbox::liveleader;

impl FaultKind {
    /// The response that replaces the endpoint's, for faults that have one.
    pub fn replacement(&self, now: Millis, vendor: Vendor) -> Option<Response> {
        let error = |status, message| vendor.error(status, message);
        Some(match self {
            FaultKind::TooManyRequests { retry_after } | FaultKind::Maintenance { retry_after } => {
                let mut answer = if matches!(self, FaultKind::Maintenance { .. }) {
                    error(503, "Maintenance")
                } else {
                    error(429, "Too many requests")
                };
                set_header(
                    &mut answer,
                    header::RETRY_AFTER,
                    retry_after.text(now).as_deref(),
                );
                answer
            }
            FaultKind::Answer {
                status,
                content_type,
                body,
            } => {
                let mut answer = vendor.answer(Body::from(body.clone()));
                *answer.status_mut() =
                    StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                if let Some(kind) = content_type {
                    set_header(&mut answer, header::CONTENT_TYPE, Some(kind));
                }
                answer
            }
            FaultKind::Status { status } => error(*status, "Something went wrong"),
            FaultKind::Misdirected { region } => {
                let body = json!({
                    "error": {
                        "type": "misdirected_request",
                        "message": "Wrong region",
                        "data": {"region": region},
                    },
                });
                (StatusCode::MISDIRECTED_REQUEST, Json(body)).into_response()
            }
            FaultKind::Html => {
                let page = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\
                            <body><h1>Sign in</h1></body></html>\n";
                axum::response::Html(page).into_response()
            }
            FaultKind::Empty => vendor.answer(Body::empty()),
            FaultKind::Shape { body } => vendor.answer(Body::from(body.clone())),
            FaultKind::Endless => vendor.answer(match vendor {
                Vendor::LiveChat => broken_bodies::endless(br#"{"chats":["#, br#""","#),
                Vendor::LiveLeader => broken_bodies::endless(b"<chats><chat><url>", b"and so on "),
            }),
            FaultKind::GzipBomb => {
                let mut answer = vendor.answer(broken_bodies::gzip_bomb());
                set_header(&mut answer, header::CONTENT_ENCODING, Some("gzip"));
                answer
            }
            FaultKind::Redirect { status, to } => {
                let mut answer = error(*status, "Moved");
                set_header(&mut answer, header::LOCATION, Some(to));
                answer
            }
            FaultKind::HangUp => {
                let mut answer = vendor.answer(broken_bodies::broken());
                answer.extensions_mut().insert(HangUp);
                answer
            }
            _ => return None,
        })
    }
}

/// The vendor of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    LiveChat,
    LiveLeader,
}

impl Vendor {
    pub fn at(path: &str) -> Self {
        if path == liveleader::PATH {
            Self::LiveLeader
        } else {
            Self::LiveChat
        }
    }

    fn error(self, status: u16, message: &'static str) -> Response {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match self {
            Self::LiveChat => {
                (status, Json(json!({"error": message, "errors": [message]}))).into_response()
            }
            Self::LiveLeader => (status, message).into_response(),
        }
    }

    fn answer(self, body: Body) -> Response {
        let kind = if self == Self::LiveChat {
            "application/json"
        } else {
            "text/xml; charset=utf-8"
        };
        ([(header::CONTENT_TYPE, kind)], body).into_response()
    }
}
