//! The slow web service that flows ask: it answers when it is told to, and counts who asked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Requests at a time. Further connections wait.
const REQUESTS_MAX: usize = 1_024;

/// The longest request that is read.
const REQUEST_BYTES_MAX: usize = 4_096;

/// How long a request is kept. Flows give up before.
const PATIENCE: Duration = Duration::from_secs(60);

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                        Content-Length: 2\r\nConnection: close\r\n\r\n{}";

/// See the file. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    answers: watch::Sender<bool>,
    asked: Arc<Mutex<BTreeMap<String, u32>>>,
    task: JoinHandle<()>,
}

impl Web {
    pub(crate) async fn start(ip: Ipv4Addr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((ip, 0)).await?;
        let address = listener.local_addr()?;
        let (answers, told) = watch::channel(false);
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let task = tokio::spawn(serve(listener, told, asked.clone()));
        Ok(Self { address, answers, asked, task })
    }

    /// Answers those who wait, and whoever asks from now on.
    pub(crate) fn answer(&self) {
        self.answers.send_replace(true);
    }

    /// How many callers have asked.
    pub(crate) fn callers(&self) -> usize {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    told: watch::Receiver<bool>,
    asked: Arc<Mutex<BTreeMap<String, u32>>>,
) {
    let places = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (told, asked) = (told.clone(), asked.clone());
        tokio::spawn(async move {
            let _over = timeout(PATIENCE, converse(stream, told, asked)).await;
            drop(place);
        });
    }
}

async fn converse(
    mut stream: TcpStream,
    mut told: watch::Receiver<bool>,
    asked: Arc<Mutex<BTreeMap<String, u32>>>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&request);
    if let Some(caller) = text.split("caller=").nth(1).and_then(|rest| rest.get(..5)) {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked.entry(caller.to_owned()).or_default() += 1;
    }
    drop(told.wait_for(|answers| *answers).await);
    stream.write_all(ANSWER).await
}
