//! A client of a node: HTTP requests and the agents' WebSocket, with the types of [`crate::api`].

use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::api::LoginAnswer;
use crate::api::error::ErrorBody;
use crate::api::frame::{ClientFrame, ServerFrame};
use crate::config::types::Secret;

/// How long a request may take, and a connection until it is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an audit of all records may take.
const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// How long a WebSocket may be silent. The node gives a sign of life every four seconds.
const SILENCE: Duration = Duration::from_secs(13);

/// Why a request failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The node says so.
    #[error("{0}")]
    Refused(ErrorBody),
    /// Nothing came, or nothing that can be understood.
    #[error("{server}: {reason}")]
    Unreachable {
        /// Whom it was asked of.
        server: String,
        /// What went wrong.
        reason: String,
    },
}

/// A node, by HTTP.
#[derive(Clone, Debug)]
pub struct Server {
    base: String,
    client: reqwest::Client,
    token: Option<String>,
}

impl Server {
    /// The node at `base`, as in `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(base: &str) -> Result<Self, ClientError> {
        let base = base.trim_end_matches('/').to_owned();
        let base = if base.contains("://") { base } else { format!("http://{base}") };
        // Another part of the process may have chosen already; either choice is good.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let builder = || reqwest::Client::builder().timeout(PATIENCE);
        // A machine without certificate authorities can still speak http.
        let client = builder().build().or_else(|_| builder().tls_certs_only([]).build());
        let client = client.map_err(|error| unreachable(&base, &error))?;
        Ok(Self { base, client, token: None })
    }

    /// Its address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The token of the last log-in.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Asks with this token from now on; it may be of another node.
    pub fn set_token(&mut self, token: String) {
        self.token = Some(token);
    }

    /// Logs in, and asks with the token from now on.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn log_in(
        &mut self,
        user: &str,
        password: &Secret,
    ) -> Result<LoginAnswer, ClientError> {
        let body = json!({ "user": user, "password": password.reveal() });
        let answer: LoginAnswer = self.post("/api/v1/login", &body).await?;
        self.token = Some(answer.token.clone());
        Ok(answer)
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(self.request(Method::GET, path)).await
    }

    /// Reads a resource that takes its time to make.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn get_patiently<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(self.request(Method::GET, path).timeout(LONG_PATIENCE)).await
    }

    /// Sends `body` to a resource.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.ask(self.request(Method::POST, path).json(body)).await
    }

    /// Removes a resource.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(self.request(Method::DELETE, path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let lost = |error: reqwest::Error| unreachable(&self.base, &error);
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let body = response.bytes().await.map_err(lost)?;
        if !status.is_success() {
            return Err(match serde_json::from_slice(&body) {
                Ok(error) => ClientError::Refused(error),
                Err(_) => ClientError::Unreachable {
                    server: self.base.clone(),
                    reason: format!("answered {status}"),
                },
            });
        }
        // An empty answer is read as null.
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|error| ClientError::Unreachable {
            server: self.base.clone(),
            reason: format!("its answer is not understood: {error}"),
        })
    }

    /// Connects to the agents' WebSocket. The first frame has to be hello.
    ///
    /// # Errors
    /// The node cannot be reached or has no place.
    pub async fn connect(&self) -> Result<Cti, ClientError> {
        let address = format!("{}/cti", self.base.replacen("http", "ws", 1));
        let lost = |reason: String| ClientError::Unreachable { server: self.base.clone(), reason };
        match timeout(PATIENCE, tokio_tungstenite::connect_async(address)).await {
            Ok(Ok((socket, _))) => Ok(Cti { socket }),
            Ok(Err(error)) => Err(lost(error.to_string())),
            Err(_) => Err(lost("no answer".to_owned())),
        }
    }
}

/// The environment variable that holds a token, instead of logging in.
const TOKEN_VARIABLE: &str = "TANDEM_TOKEN";

/// Which node is asked, and as whom.
#[derive(Debug, clap::Args)]
pub struct Login {
    /// The node.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", global = true)]
    server: String,
    /// The name to log in with, unless TANDEM_TOKEN holds a token. The password is asked for, or
    /// taken from TANDEM_PASSWORD.
    #[arg(long, value_name = "NAME", default_value = "admin", global = true)]
    user: String,
    /// A file that holds the password in its first line.
    #[arg(long, value_name = "FILE", global = true)]
    password_file: Option<PathBuf>,
}

impl Login {
    /// The node, with a token.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn server(&self) -> anyhow::Result<Server> {
        let mut server = Server::new(&self.server)?;
        if let Ok(token) = std::env::var(TOKEN_VARIABLE) {
            server.set_token(token);
            return Ok(server);
        }
        let prompt = format!("Password of {}", self.user);
        let password = super::screen::read_password(&prompt, self.password_file.as_deref())?;
        server.log_in(&self.user, &password).await?;
        Ok(server)
    }
}

/// Runs a command that waits for a node.
///
/// # Errors
/// What the command says.
pub fn on_one_thread<T>(ask: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask)
}

fn unreachable(server: &str, error: &reqwest::Error) -> ClientError {
    // The cause below says more than "error sending request".
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    ClientError::Unreachable { server: server.to_owned(), reason: cause.to_string() }
}

/// A connection to the agents' WebSocket.
#[derive(Debug)]
pub struct Cti {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Cti {
    /// Sends a frame.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn send(&mut self, frame: &ClientFrame) -> Result<(), tungstenite::Error> {
        let text = serde_json::to_string(frame).expect("frames are text and numbers");
        self.send_text(text).await
    }

    /// Sends anything as a text frame.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn send_text(&mut self, text: String) -> Result<(), tungstenite::Error> {
        self.socket.send(Message::text(text)).await
    }

    /// The next frame as it was sent; nothing when the connection is over or silent.
    pub async fn receive_text(&mut self) -> Option<String> {
        loop {
            match timeout(SILENCE, self.socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => return Some(text.to_string()),
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => return None,
                Ok(Some(Ok(
                    Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_),
                ))) => (), // Pings are answered by the library.
            }
        }
    }

    /// The next frame; nothing when the connection is over, silent, or says what no node says.
    pub async fn receive(&mut self) -> Option<ServerFrame> {
        let text = self.receive_text().await?;
        serde_json::from_str(&text).ok()
    }

    /// Ends the connection in order.
    pub async fn close(mut self) {
        let _lost = timeout(PATIENCE, self.socket.close(None)).await;
    }
}
