//! Requests to the router of a product in this process: a browser without scripts, and its pages.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use chatlake::actor::Actor;
use http_body_util::BodyExt;
use scraper::{Html, Selector};
use tower::ServiceExt;

use super::config::HOST_NAME;

/// A browser that stores cookies and follows redirects only where a method says so. A clone has a
/// copy of the cookies.
#[derive(Clone)]
pub struct Browser {
    pub(super) router: Router,
    pub cookies: BTreeMap<String, String>,
    pub address: IpAddr,
}

impl Browser {
    pub async fn get(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, None, &[]).await
    }

    /// Posts a form as a page of Chatlake does.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.send(
            Method::POST,
            path,
            Some(body),
            &[
                ("origin", &format!("http://{HOST_NAME}")),
                ("sec-fetch-site", "same-origin"),
            ],
        )
        .await
    }

    /// Posts a form and follows the redirect.
    pub async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let answer = self.post(path, fields).await;
        assert_eq!(
            answer.status,
            StatusCode::SEE_OTHER,
            "{path}: {}",
            answer.text
        );
        let to = answer.location();
        self.get(&to).await
    }

    /// Sends any request. `headers` are sent in addition to Host and cookies.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Page {
        let answer = self.open(method, path, body, headers).await;
        let (parts, body) = answer.into_parts();
        let bytes = read_body(body).await;
        Page {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            bytes,
        }
    }

    /// As `send`, but the body of the response is not read yet.
    pub async fn open(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Response {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, HOST_NAME);
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        if body.is_some()
            && !headers
                .iter()
                .any(|(name, _)| *name == CONTENT_TYPE.as_str())
        {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request
            .body(body.map_or_else(Body::empty, Body::from))
            .unwrap();
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(self.address, 40_000)));
        let answer = self.router.clone().oneshot(request).await.unwrap();
        for line in answer.headers().get_all(SET_COOKIE) {
            self.store_cookie(line.to_str().unwrap());
        }
        answer
    }

    fn store_cookie(&mut self, line: &str) {
        let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
        if line.to_ascii_lowercase().contains("max-age=0") || value.is_empty() {
            self.cookies.remove(name);
        } else {
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    pub fn session_cookie(&self) -> Option<&str> {
        self.cookies.get("chatlake_session").map(String::as_str)
    }

    /// Whether a person is signed in.
    pub async fn is_signed_in(&mut self) -> bool {
        self.get("/me").await.status == StatusCode::OK
    }
}

/// A person who is signed in, with a browser. Every request sends the cookies of the sign-in, so
/// that requests can run at the same time.
pub struct PersonBrowser {
    pub actor: Actor,
    pub(super) browser: Browser,
}

impl PersonBrowser {
    pub async fn get(&self, path: &str) -> Page {
        self.browser.clone().get(path).await
    }

    pub async fn get_with(&self, path: &str, header: &str, value: &str) -> Page {
        self.browser
            .clone()
            .send(Method::GET, path, None, &[(header, value)])
            .await
    }

    /// Requests a page without reading its body.
    pub async fn open(&self, path: &str) -> Response {
        self.browser
            .clone()
            .open(Method::GET, path, None, &[])
            .await
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.browser.clone().post(path, fields).await
    }
}

/// A response with its whole body.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub bytes: Vec<u8>,
}

impl Page {
    pub fn location(&self) -> String {
        self.headers
            .get(LOCATION)
            .map(|to| to.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The document of a successful response.
    pub fn html(&self) -> Html {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        Html::parse_document(&self.text)
    }

    /// The text of every element that matches, with single spaces. Unlike `all`, no space is put
    /// between the texts of neighbouring elements, and the response must be a success.
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let selector = Selector::parse(selector).unwrap();
        self.html()
            .select(&selector)
            .map(|element| {
                element
                    .text()
                    .collect::<String>()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    /// The words of every element that matches, with single spaces.
    pub fn all(&self, selector: &str) -> Vec<String> {
        let html = Html::parse_document(&self.text);
        let selector = Selector::parse(selector).unwrap();
        html.select(&selector)
            .map(|element| {
                element
                    .text()
                    .flat_map(str::split_whitespace)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    /// The words of the first element that matches; empty if there is none.
    pub fn words(&self, selector: &str) -> String {
        self.all(selector).into_iter().next().unwrap_or_default()
    }

    pub fn has(&self, selector: &str) -> bool {
        !self.all(selector).is_empty()
    }

    /// An attribute of the first element that matches.
    pub fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let html = Html::parse_document(&self.text);
        let selector = Selector::parse(selector).unwrap();
        html.select(&selector)
            .next()
            .and_then(|element| element.value().attr(name))
            .map(str::to_owned)
    }

    /// The error next to a field.
    pub fn wrong(&self, field: &str) -> String {
        self.words(&format!("[id='{field}-wrong']"))
    }

    pub fn toast(&self) -> String {
        self.words("[data-toast] > span")
    }

    pub fn title(&self) -> String {
        self.words("h1")
    }
}

/// The whole body, read as a client reads it: each piece is dropped before the next one is
/// requested.
pub async fn read_body(mut body: Body) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        all.extend_from_slice(frame.unwrap().data_ref().map_or(&[], |data| data));
    }
    all
}
