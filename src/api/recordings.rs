//! Recordings over HTTP: as one file, any range of it; and what the nodes ask each other.
//!
//! The routes below `/node/v1` are for the cluster's own nodes. They are not in the table of routes,
//! take a signature instead of a token, and are not there on a node that is alone.

use std::io;
use std::ops::Range;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_RANGE, ETAG, IF_RANGE, RANGE,
};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_center::RecordingId;

use super::commands::require;
use super::error::{ErrorBody, ErrorCode};
use super::routes::{Who, bad_request};
use super::server::Api;
use super::words::Role;
use crate::config::types::Name;
use crate::node::unix_ms;
use crate::recordings::{Asked, Download, Form, Gap, Keeps, NoRecording, Part, PartId, Recordings};

/// Bytes of a recording that are read at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// In which form a recording is wanted.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RecordingQuery {
    /// How the samples of the WAV file are written; `pcm` if nothing is said.
    format: SampleFormat,
}

/// How samples are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum SampleFormat {
    /// Linear, 16 bits.
    #[default]
    Pcm,
    /// G.711 A-law, half as large.
    Alaw,
}

/// A recording, as the cluster knows it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecordingView {
    /// The recording.
    pub id: String,
    /// Bytes of the joined file, at this moment.
    pub bytes: u64,
    /// Samples a second of each of its two channels.
    pub rate_hz: u32,
    /// The files that it is made of, in their order.
    pub parts: Vec<PartView>,
    /// Where silence stands for what was not recorded.
    pub gaps: Vec<Gap>,
}

/// One file of a recording.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PartView {
    /// The name of the file in the folder of recordings.
    pub file: String,
    /// The epoch of the call: how many nodes had it before.
    pub epoch: u32,
    /// The node that wrote it.
    pub node: u64,
    /// When its first sample was heard.
    pub began: u64,
    /// How long it is.
    pub length_ms: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The checksum of the file; none as long as it is written.
    pub sha256: Option<String>,
    /// The nodes that are known to have it.
    pub places: Vec<u64>,
}

impl PartView {
    fn of(part: &Part) -> Self {
        Self {
            file: part.id.to_string(),
            epoch: part.id.epoch,
            node: part.node,
            began: part.began_ms,
            length_ms: part.length_ms(),
            bytes: part.bytes,
            sha256: part.sha256.clone(),
            places: part.places.iter().copied().collect(),
        }
    }
}

impl From<NoRecording> for ErrorBody {
    fn from(error: NoRecording) -> Self {
        let code = match error {
            NoRecording::Nobody => ErrorCode::NotFound,
            NoRecording::Unsure(_) | NoRecording::Down { .. } | NoRecording::Index => {
                ErrorCode::Unavailable
            }
        };
        Self::new(code, error.to_string())
    }
}

async fn find(api: &Api, who: &Who, id: &str) -> Result<Download, ErrorBody> {
    require(&who.0, Role::Supervisor)?;
    // The name of a file: nothing in it may lead elsewhere.
    let id: Name = id.parse().map_err(|error| bad_request(&error))?;
    Ok(api.backend.recording(RecordingId(id.as_str().into())).await?)
}

pub(super) async fn recording(
    api: web::Data<Api>,
    who: Who,
    id: web::Path<String>,
    query: web::Query<RecordingQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, ErrorBody> {
    let form = match query.format {
        SampleFormat::Pcm => Form::Pcm,
        SampleFormat::Alaw => Form::Alaw,
    };
    let download = find(&api, &who, &id).await?.in_form(form);
    let bytes = download.bytes();
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_same = header(IF_RANGE).is_none_or(|etag| etag == download.etag());
    let wanted = header(RANGE).filter(|_| is_same).map_or(Wanted::All, |r| Wanted::of(r, bytes));
    let mut response = HttpResponse::Ok();
    response
        .content_type("audio/wav")
        .insert_header((CONTENT_DISPOSITION, format!("inline; filename=\"{id}.wav\"")))
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((ETAG, download.etag()));
    let range = match wanted {
        Wanted::All => 0..bytes,
        Wanted::Some(range) => {
            let told = format!("bytes {}-{}/{bytes}", range.start, range.end - 1);
            response.status(StatusCode::PARTIAL_CONTENT).insert_header((CONTENT_RANGE, told));
            range
        }
        Wanted::Nothing => {
            response.status(StatusCode::RANGE_NOT_SATISFIABLE);
            return Ok(response
                .insert_header((CONTENT_RANGE, format!("bytes */{bytes}")))
                .finish());
        }
    };
    Ok(response.body(SizedStream::new(range.end - range.start, body(download, range))))
}

/// What a Range header asks for (RFC 9110 §14.2). One range is served; what asks for several, or is
/// not understood, is answered with everything, as the RFC allows.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Some(Range<u64>),
    Nothing,
}

impl Wanted {
    fn of(header: &str, bytes: u64) -> Self {
        let Some((first, last)) = header.strip_prefix("bytes=").and_then(|r| r.split_once('-'))
        else {
            return Self::All;
        };
        let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(bytes),
            (Ok(first), Err(_)) if last.trim().is_empty() => first..bytes,
            (Err(_), Ok(suffix)) if first.trim().is_empty() => bytes.saturating_sub(suffix)..bytes,
            _ => return Self::All,
        };
        if range.start < range.end { Self::Some(range) } else { Self::Nothing }
    }
}

fn body(
    download: Download,
    range: Range<u64>,
) -> impl stream::Stream<Item = io::Result<web::Bytes>> {
    stream::try_unfold((download, range), async |(download, range)| {
        if range.is_empty() {
            return Ok(None);
        }
        let read = download.read(range.start, CHUNK_BYTES.min(range.end - range.start)).await?;
        if read.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let rest = range.start + read.len() as u64..range.end;
        Ok(Some((web::Bytes::from(read), (download, rest))))
    })
}

pub(super) async fn parts(
    api: web::Data<Api>,
    who: Who,
    id: web::Path<String>,
) -> Result<HttpResponse, ErrorBody> {
    let download = find(&api, &who, &id).await?;
    Ok(HttpResponse::Ok().json(RecordingView {
        id: id.into_inner(),
        bytes: download.bytes(),
        rate_hz: download.rate_hz(),
        parts: download.parts().iter().map(PartView::of).collect(),
        gaps: download.gaps().to_vec(),
    }))
}

/// The routes for other nodes.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/node/v1/recordings/{id}", web::get().to(known))
        .route("/node/v1/parts/{file}", web::get().to(bytes))
        .route("/node/v1/told", web::post().to(told))
        .route("/node/v1/copies", web::post().to(copies));
}

type Shared = std::sync::Arc<Recordings>;

/// The recordings, and the node that asks.
fn peer(api: &Api, request: &HttpRequest, body: &[u8]) -> Result<(Shared, u64), ErrorBody> {
    let alone = || ErrorBody::not_found("this node is not in a cluster");
    let recordings = api.backend.recordings().ok_or_else(alone)?;
    let key = recordings.key().ok_or_else(alone)?;
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let asked = Asked { method: request.method().as_str(), target, body };
    let node = header.and_then(|header| key.verify(header, unix_ms(), &asked));
    let refused = "this is for the nodes of the cluster; their secret and their clocks must agree";
    let node = node.ok_or_else(|| ErrorBody::new(ErrorCode::NotLoggedIn, refused))?;
    Ok((recordings, node))
}

async fn known(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ErrorBody> {
    let (recordings, _) = peer(&api, &request, b"")?;
    let parts = web::block(move || recordings.known(&id)).await;
    let parts = parts.ok().and_then(Result::ok).ok_or_else(no_index)?;
    Ok(HttpResponse::Ok().json(parts))
}

fn no_index() -> ErrorBody {
    NoRecording::Index.into()
}

/// Which bytes of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bytes {
    from: u64,
    bytes: u64,
}

async fn bytes(
    api: web::Data<Api>,
    request: HttpRequest,
    file: web::Path<String>,
    query: web::Query<Bytes>,
) -> Result<HttpResponse, ErrorBody> {
    let (recordings, _) = peer(&api, &request, b"")?;
    let id = PartId::parse(&file).map_err(|error| bad_request(&error))?;
    match recordings.bytes(&id, query.from, query.bytes).await {
        Ok(bytes) => Ok(HttpResponse::Ok().content_type("application/octet-stream").body(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ErrorBody::not_found(format!("{id} is not on this node")))
        }
        Err(error) => Err(ErrorBody::new(ErrorCode::Internal, error.to_string())),
    }
}

fn part_of(body: &[u8]) -> Result<Part, ErrorBody> {
    serde_json::from_slice(body).map_err(|error| bad_request(&error))
}

async fn told(
    api: web::Data<Api>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, ErrorBody> {
    let (recordings, _) = peer(&api, &request, &body)?;
    let part = part_of(&body)?;
    let learnt = web::block(move || recordings.told(part)).await;
    learnt.ok().and_then(Result::ok).ok_or_else(no_index)?;
    Ok(HttpResponse::NoContent().finish())
}

async fn copies(
    api: web::Data<Api>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, ErrorBody> {
    let (recordings, node) = peer(&api, &request, &body)?;
    match recordings.keep_copy(node, part_of(&body)?).await {
        Keeps::Yes => Ok(HttpResponse::Ok().finish()),
        Keeps::Soon => Ok(HttpResponse::Accepted().finish()),
        Keeps::NotNow => Err(ErrorBody::new(ErrorCode::Unavailable, "no copy is kept now")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_served_and_nonsense_is_answered_with_everything() {
        assert_eq!(Wanted::of("bytes=0-0", 100), Wanted::Some(0..1));
        assert_eq!(Wanted::of("bytes=10-", 100), Wanted::Some(10..100));
        assert_eq!(Wanted::of("bytes=90-1000", 100), Wanted::Some(90..100));
        assert_eq!(Wanted::of("bytes=0-18446744073709551615", 100), Wanted::Some(0..100));
        assert_eq!(Wanted::of("bytes=-10", 100), Wanted::Some(90..100));
        assert_eq!(Wanted::of("bytes=-1000", 100), Wanted::Some(0..100));
        assert_eq!(Wanted::of("bytes=100-", 100), Wanted::Nothing);
        assert_eq!(Wanted::of("bytes=-0", 100), Wanted::Nothing);
        for all in ["", "bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"]
        {
            assert_eq!(Wanted::of(all, 100), Wanted::All, "{all}");
        }
    }
}
