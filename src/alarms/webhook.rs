//! Tells alarms to a web service of the operator's: one POST for each beginning and each end.
//!
//! A task of its own sends them in their order, and repeats what fails a bounded number of times,
//! each time after a longer pause that is partly random. Whatever the receiver does, or does not,
//! the node only loses what finds no place in a bounded queue, and counts it.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use prometheus::IntCounterVec;
use rand::Rng as _;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, redirect};
use serde::Serialize;
use sha2::Sha256;
use tokio::sync::mpsc;

use super::Alarm;
use crate::config::sections::Alarms;
use crate::config::types::Secret;
use crate::metrics::Metrics;

/// Messages that wait to be sent. Full: an alarm that begins is offered again, one that ends is
/// not told any more.
const WAITING_MAX: usize = 128;

/// How often a message is sent before it is given up: over about two minutes.
const TRIES: u32 = 8;

/// The pause after the first failure. It doubles, up to the longest.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The signature of the body: `sha256=` and the hexadecimal HMAC-SHA-256 (RFC 2104).
const SIGNATURE: &str = "Tandem-Signature";

/// The same for every repetition of a message, and for no other message.
const DELIVERY: &str = "Tandem-Delivery";

/// Whether an alarm begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    Raised,
    Cleared,
}

/// The body of a request.
#[derive(Clone, Debug, Serialize)]
struct Message {
    status: Status,
    #[serde(flatten)]
    alarm: Alarm,
}

impl Message {
    fn delivery(&self) -> String {
        let status = match self.status {
            Status::Raised => "raised",
            Status::Cleared => "cleared",
        };
        format!("{}-{status}", self.alarm.id)
    }
}

/// The way to the task. The task ends when this is dropped and the queue is empty.
#[derive(Debug)]
pub(super) struct Webhook {
    queue: mpsc::Sender<Message>,
    results: IntCounterVec,
}

impl Webhook {
    /// Starts the task, if there is somebody to be told. Within a Tokio runtime.
    pub(super) fn start(config: &Alarms, metrics: &Arc<Metrics>) -> Option<Self> {
        let url = config.webhook.as_ref()?.as_str().to_owned();
        let client = match client(Duration::from_secs(config.timeout_seconds.get().into())) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "there is no HTTP client: no alarm is told by webhook");
                return None;
            }
        };
        let (queue, messages) = mpsc::channel(WAITING_MAX);
        let results = metrics.webhook_total.clone();
        let teller =
            Teller { client, url, secret: config.secret.clone(), results: results.clone() };
        tokio::spawn(teller.run(messages));
        Some(Self { queue, results })
    }

    /// Queues a message. False if there is no place.
    pub(super) fn send(&self, alarm: &Alarm, status: Status) -> bool {
        let queued = self.queue.try_send(Message { status, alarm: alarm.clone() }).is_ok();
        if !queued && status == Status::Cleared {
            tracing::warn!(id = alarm.id, "too many alarms wait for the webhook: one is not told");
            self.results.with_label_values(&["dropped"]).inc();
        }
        queued
    }
}

fn client(timeout: Duration) -> Result<Client, reqwest::Error> {
    // Another part of the node may have chosen already; either choice is good.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        Client::builder()
            .user_agent(concat!("tandem/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .timeout(timeout)
            // A signed message is for the one who is configured.
            .redirect(redirect::Policy::none())
    };
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}

struct Teller {
    client: Client,
    url: String,
    secret: Option<Secret>,
    results: IntCounterVec,
}

impl Teller {
    async fn run(self, mut messages: mpsc::Receiver<Message>) {
        while let Some(message) = messages.recv().await {
            self.tell(&message).await;
        }
    }

    async fn tell(&self, message: &Message) {
        let Ok(body) = serde_json::to_vec(message) else { return };
        let delivery = message.delivery();
        for tried in 1..=TRIES {
            match self.post(&body, &delivery).await {
                Ok(()) => {
                    self.results.with_label_values(&["sent"]).inc();
                    return;
                }
                Err(why) if tried == TRIES => {
                    tracing::error!(delivery, why, "an alarm could not be told by webhook");
                    self.results.with_label_values(&["failed"]).inc();
                }
                Err(why) => {
                    tracing::warn!(delivery, why, tried, "the webhook failed and is tried again");
                    self.results.with_label_values(&["repeated"]).inc();
                    tokio::time::sleep(pause(tried)).await;
                }
            }
        }
    }

    async fn post(&self, body: &[u8], delivery: &str) -> Result<(), String> {
        let mut request = self.client.post(&self.url).header(CONTENT_TYPE, "application/json");
        request = request.header(DELIVERY, delivery);
        if let Some(secret) = &self.secret {
            request = request.header(SIGNATURE, signature(secret, body));
        }
        // The URL may hold a token of the operator's: it does not go into the log.
        let said = |error: reqwest::Error| error.without_url().to_string();
        let answer = request.body(body.to_vec()).send().await.map_err(said)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answered {status}")),
        }
    }
}

fn signature(secret: &Secret, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(body);
    let hex = |byte: &u8| format!("{byte:02x}");
    format!("sha256={}", mac.finalize().into_bytes().iter().map(hex).collect::<String>())
}

/// Between half of it and all of it, so that the nodes of a cluster do not come together.
fn pause(tried: u32) -> Duration {
    let whole = (PAUSE * 2_u32.pow(tried.min(16) - 1)).min(PAUSE_MAX);
    whole.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_signed_as_rfc_4231_has_it() {
        // Test case 2 of RFC 4231 §4.3.
        let signed = signature(&Secret::new("Jefe"), b"what do ya want for nothing?");
        let known = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signed, known);
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        for tried in 1..TRIES {
            let whole = (PAUSE * 2_u32.pow(tried - 1)).min(PAUSE_MAX);
            let pause = pause(tried);
            assert!(pause >= whole / 2 && pause <= whole, "{tried}: {pause:?}");
        }
        let all: Duration = (1..TRIES).map(|tried| PAUSE * 2_u32.pow(tried - 1)).sum();
        assert!(all < Duration::from_secs(120));
    }
}
