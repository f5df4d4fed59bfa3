//! Asks the web services of flows.
//!
//! One client for all calls. Whatever a service does (nothing, too much, something else) ends
//! within the time that the flow gives and becomes an [`IvrResult::Http`]: a flow has a
//! fallback for it. Only `http` and `https` are spoken, also after a redirect.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{
    Client, Method,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use serde_json::Value;
use tandem_center::flow::{HttpMethod, HttpRequest, IvrResult};
use tokio::sync::Semaphore;

/// Bytes of an answer. A look-up of one customer is a few hundred; past this the answer counts
/// as an error.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Requests under way at a time. What comes after waits within its own time-out, so a service
/// that hangs cannot pile up sockets.
const REQUESTS_MAX: usize = 512;

/// Redirects that are followed for one request.
const REDIRECTS_MAX: usize = 5;

/// Idle connections that are kept to one service, so that most calls find one open.
const IDLE_PER_HOST_MAX: usize = 16;

/// For how long an idle connection is kept: shorter than what common servers keep.
const IDLE_FOR: Duration = Duration::from_secs(20);

/// The client of all flows.
#[derive(Debug)]
pub struct IvrHttp {
    client: Client,
    requests: Semaphore,
}

/// Why a web service gave nothing of use.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The request itself cannot be sent.
    #[error("the request is wrong: {0}")]
    Request(String),
    /// Not within the time that the flow gives.
    #[error("no answer within {ms} ms")]
    TimedOut { ms: u32 },
    /// The connection failed, with all that is known of the cause.
    #[error("{0}")]
    Connection(String),
    /// It answered, but not with a 2xx.
    #[error("the service answered {status}")]
    Status { status: u16 },
    /// More than [`ANSWER_BYTES_MAX`].
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// Fields are wanted, and the answer is no JSON.
    #[error("the answer is no JSON: {0}")]
    NoJson(serde_json::Error),
}

impl IvrHttp {
    /// A client with the certificate authorities of the system. Without any, `https` fails at
    /// each request, and `http` works.
    pub fn new() -> Result<Self, reqwest::Error> {
        // Another part of the node may have chosen already; either choice is good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = builder().build().or_else(|error| {
            tracing::warn!(%error, "no certificate authorities: flows cannot use https");
            builder().tls_certs_only([]).build()
        })?;
        Ok(Self { client, requests: Semaphore::new(REQUESTS_MAX) })
    }

    /// Asks, and puts the answer's fields where the flow wants them.
    pub async fn execute(&self, request: &HttpRequest) -> IvrResult {
        let within = Duration::from_millis(request.timeout_ms.into());
        let asked = match tokio::time::timeout(within, self.ask(request)).await {
            Ok(asked) => asked,
            Err(_) => Err(AskError::TimedOut { ms: request.timeout_ms }),
        };
        match asked {
            Ok(fields) => IvrResult::Http { ok: true, fields },
            Err(error) => {
                // The path may hold a caller's number: the host is enough to find the fault.
                let host = reqwest::Url::parse(&request.url).ok();
                let host = host.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
                tracing::warn!(host, %error, "a web service failed a flow");
                tracing::debug!(url = request.url, "the failed request");
                IvrResult::Http { ok: false, fields: BTreeMap::new() }
            }
        }
    }

    async fn ask(&self, request: &HttpRequest) -> Result<BTreeMap<String, String>, AskError> {
        // The semaphore is never closed; if it were, asking at once is right.
        let _permit = self.requests.acquire().await.ok();
        let mut asking =
            self.client.request(method(request.method), &request.url).headers(headers(request)?);
        if let Some(body) = &request.body {
            asking = asking.body(body.clone());
        }
        let mut answer = asking.send().await.map_err(connection)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(AskError::Status { status: status.as_u16() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(connection)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(AskError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        if request.save.is_empty() {
            return Ok(BTreeMap::new());
        }
        let document: Value = serde_json::from_slice(&body).map_err(AskError::NoJson)?;
        Ok(fields(&document, &request.save))
    }
}

fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(concat!("tandem/", env!("CARGO_PKG_VERSION")))
        // A proxy of the environment is meant for people's tools, not for calls.
        .no_proxy()
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .pool_idle_timeout(IDLE_FOR)
        .tcp_nodelay(true)
        .redirect(redirect::Policy::custom(|attempt| {
            let from_tls = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
            let good = match attempt.url().scheme() {
                "https" => true,
                "http" => !from_tls, // What was asked in secret is not repeated in the open.
                _ => false,
            };
            if !good {
                attempt.error("a redirect to another scheme is not followed")
            } else if attempt.previous().len() > REDIRECTS_MAX {
                attempt.error("too many redirects")
            } else {
                attempt.follow()
            }
        }))
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    }
}

fn headers(request: &HttpRequest) -> Result<HeaderMap, AskError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if request.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &request.headers {
        let wrong = || AskError::Request(format!("header {name:?}"));
        let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn connection(error: reqwest::Error) -> AskError {
    // Without the URL, which may hold a caller's number.
    let error = error.without_url();
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    if error.is_builder() { AskError::Request(said) } else { AskError::Connection(said) }
}

/// A field that is missing or `null` is left out; a list or an object is saved as JSON.
fn fields(document: &Value, save: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(value.to_string())
        }
    };
    (save.iter())
        .filter_map(|(variable, pointer)| {
            Some((variable.clone(), document.pointer(pointer).and_then(text)?))
        })
        .collect()
}

#[cfg(test)]
mod tests;
