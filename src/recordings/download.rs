//! A recording on its way out: the bytes of the joined file, read where they are.
//!
//! Any range can be asked for. A source that fails is replaced by another one that has the part;
//! when none is left, the read fails, and whoever downloads asks for the rest later.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tandem_center::RecordingId;
use tandem_media::codec::g711::alaw_encode;
use tandem_media::wav::PART_HEADER_BYTES;

use super::joined::{FRAME_BYTES, Gap, Layout, Piece, double, frames_to_double};
use super::part::Part;
use super::peers::{CHUNK_BYTES_MAX, hex};
use super::{PartId, Recordings};

/// Bytes before the samples of an A-law file.
const ALAW_HEADER_BYTES: u64 = 58;

/// How the samples of a download are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Linear, 16 bits.
    #[default]
    Pcm,
    /// G.711 A-law, 8 bits, at the rate of the recording.
    Alaw,
}

/// See the file.
#[derive(Clone, Debug)]
pub struct Download {
    recordings: Arc<Recordings>,
    layout: Arc<Layout>,
    parts: Arc<[Part]>,
    /// For each part, the nodes that have it.
    sources: Arc<[Vec<u64>]>,
    etag: Arc<str>,
    form: Form,
}

impl Download {
    pub(super) fn new(
        recordings: Arc<Recordings>,
        id: &RecordingId,
        parts: Vec<Part>,
        sources: Vec<Vec<u64>>,
        lost: &[usize],
    ) -> Self {
        let layout = Arc::new(Layout::of(&parts, lost));
        let mut hash = Sha256::new();
        hash.update(id.0.as_bytes());
        for (at, part) in parts.iter().enumerate() {
            let is_lost = lost.contains(&at);
            hash.update(format!("\n{} {} {is_lost} {:?}", part.id, part.bytes, part.sha256));
        }
        let etag = format!("\"{}\"", &hex(&hash.finalize())[..32]).into();
        Self {
            recordings,
            layout,
            parts: parts.into(),
            sources: sources.into(),
            etag,
            form: Form::Pcm,
        }
    }

    /// The same recording, written in this form.
    #[must_use]
    pub fn in_form(self, form: Form) -> Self {
        let plain = self.etag.trim_matches('"');
        let etag = match form {
            Form::Pcm => self.etag.clone(),
            Form::Alaw => format!("\"{plain}-alaw\"").into(),
        };
        Self { form, etag, ..self }
    }

    /// Bytes of the joined file.
    pub fn bytes(&self) -> u64 {
        match self.form {
            Form::Pcm => self.layout.bytes,
            Form::Alaw => ALAW_HEADER_BYTES + self.samples(),
        }
    }

    /// Samples of both channels together.
    fn samples(&self) -> u64 {
        (self.layout.bytes - self.header_bytes()) / 2
    }

    /// Bytes before the samples of the linear file.
    fn header_bytes(&self) -> u64 {
        match self.layout.piece(0) {
            Some((Piece::Header(header), _)) => header.len() as u64,
            Some((Piece::Silence(_) | Piece::Audio { .. }, _)) | None => 0,
        }
    }

    /// Changes whenever the file does.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// What it was put together from.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Where silence stands for what was not recorded.
    pub fn gaps(&self) -> &[Gap] {
        &self.layout.gaps
    }

    /// Samples a second of each channel.
    pub fn rate_hz(&self) -> u32 {
        self.layout.rate_hz
    }

    /// Some bytes at an offset, at most `max`; none at the end.
    ///
    /// # Errors
    /// No node that has them answers.
    pub async fn read(&self, at: u64, max: u64) -> io::Result<Vec<u8>> {
        match self.form {
            Form::Pcm => self.read_pcm(at, max).await,
            Form::Alaw => self.read_alaw(at, max).await,
        }
    }

    async fn read_alaw(&self, at: u64, max: u64) -> io::Result<Vec<u8>> {
        let Some(sample) = at.checked_sub(ALAW_HEADER_BYTES) else {
            let header = alaw_header(self.rate_hz(), self.samples());
            return Ok(header.iter().skip(at as usize).take(max as usize).copied().collect());
        };
        let wanted = max.min(self.samples().saturating_sub(sample));
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let pcm = self.read_pcm(self.header_bytes() + sample * 2, wanted * 2).await?;
        let samples = pcm.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]]));
        Ok(samples.map(alaw_encode).collect())
    }

    async fn read_pcm(&self, at: u64, max: u64) -> io::Result<Vec<u8>> {
        let max = max.clamp(1, CHUNK_BYTES_MAX / 2);
        let Some((piece, offset)) = self.layout.piece(at) else { return Ok(Vec::new()) };
        let bytes = max.min(piece.bytes() - offset);
        match piece {
            Piece::Header(header) => {
                Ok(header.iter().skip(offset as usize).take(bytes as usize).copied().collect())
            }
            Piece::Silence(_) => Ok(vec![0; bytes as usize]),
            Piece::Audio { part, is_doubled: false, .. } => self.audio(*part, offset, bytes).await,
            Piece::Audio { part, bytes: held, is_doubled: true } => {
                let wanted = offset..offset + bytes;
                let frames = frames_to_double(&wanted);
                let from = frames.start * FRAME_BYTES;
                let to = (frames.end * FRAME_BYTES).min(*held);
                Ok(double(&wanted, &self.audio(*part, from, to - from).await?))
            }
        }
    }

    /// Exactly these bytes of the audio of a part.
    async fn audio(&self, part: usize, from: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let (id, sources) = (&self.parts[part].id, &self.sources[part]);
        let from = from + PART_HEADER_BYTES as u64;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        // This node comes first among them.
        for node in sources {
            match self.recordings.bytes_at(*node, id, from, bytes).await {
                Ok(read) if read.len() as u64 == bytes => return Ok(read),
                Ok(_) => last = io::ErrorKind::UnexpectedEof.into(),
                Err(error) => last = error,
            }
            tracing::warn!(part = %id, node, error = %last, "a part is looked for elsewhere");
        }
        Err(last)
    }
}

/// RIFF with the format chunk of a compressed format and its count of samples, two channels.
fn alaw_header(rate_hz: u32, samples: u64) -> Vec<u8> {
    let (channels, format_alaw, bits) = (2_u16, 6_u16, 8_u16);
    // Lengths have 32 bits; players take the largest for "to the end".
    let short = |length: u64| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut header = Vec::with_capacity(ALAW_HEADER_BYTES as usize);
    header.extend(b"RIFF");
    header.extend(short(ALAW_HEADER_BYTES - 8 + samples));
    header.extend(b"WAVEfmt ");
    header.extend(18_u32.to_le_bytes());
    header.extend(format_alaw.to_le_bytes());
    header.extend(channels.to_le_bytes());
    header.extend(rate_hz.to_le_bytes());
    header.extend((rate_hz * u32::from(channels)).to_le_bytes());
    header.extend(channels.to_le_bytes());
    header.extend(bits.to_le_bytes());
    header.extend(0_u16.to_le_bytes());
    header.extend(b"fact");
    header.extend(4_u32.to_le_bytes());
    header.extend(short(samples / u64::from(channels)));
    header.extend(b"data");
    header.extend(short(samples));
    header
}

impl Recordings {
    /// Some bytes of a file of this node's or another's.
    async fn bytes_at(
        self: &Arc<Self>,
        node: u64,
        id: &PartId,
        from: u64,
        bytes: u64,
    ) -> io::Result<Vec<u8>> {
        if node == self.node {
            return self.bytes(id, from, bytes).await;
        }
        let peers = self.peers.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        peers.bytes(node, id, from, bytes).await.map_err(io::Error::other)
    }

    /// Some bytes of a file of this node's; fewer at its end.
    ///
    /// # Errors
    /// It is not here, or the disk fails.
    pub async fn bytes(&self, id: &PartId, from: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let (path, bytes) = (self.path(id), bytes.min(CHUNK_BYTES_MAX));
        let read = tokio::task::spawn_blocking(move || read_some(&path, from, bytes as usize));
        read.await.map_err(io::Error::other)?
    }
}

fn read_some(path: &Path, from: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let left = file.metadata()?.len().saturating_sub(from);
    let mut read = vec![0; bytes.min(usize::try_from(left).unwrap_or(usize::MAX))];
    file.read_exact_at(&mut read, from)?;
    Ok(read)
}
