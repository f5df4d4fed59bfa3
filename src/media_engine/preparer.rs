//! Encodes clips for the codecs in which they are played, away from the packet threads.
//!
//! A clip that is not encoded yet is encoded frame by frame by each port that plays it; this
//! thread makes that the exception. It forgets nothing and owns nothing: the encoded frames
//! stay with the clip.

use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use tandem_media::clip::Clip;
use tandem_media::codec::CodecKind;

/// Clips that wait to be encoded. Past it they are left to the ports that play them, until one
/// that plays them again finds room.
const WAITING_MAX: usize = 256;

/// A handle to the thread, which ends when the last one is dropped.
#[derive(Clone, Debug)]
pub(super) struct Preparer {
    orders: SyncSender<(Clip, CodecKind)>,
}

impl Preparer {
    pub(super) fn start() -> io::Result<(Self, JoinHandle<()>)> {
        let (orders, queue) = mpsc::sync_channel::<(Clip, CodecKind)>(WAITING_MAX);
        let thread = thread::Builder::new().name("clip-encoder".into()).spawn(move || {
            for (clip, kind) in queue {
                if let Err(error) = clip.prepare(kind) {
                    tracing::warn!(%kind, %error, "cannot encode a clip");
                }
            }
        })?;
        Ok((Self { orders }, thread))
    }

    /// Has the clips encoded that are not; does not wait for it.
    pub(super) fn prepare(&self, clips: &[Clip], kind: CodecKind) {
        for clip in clips.iter().filter(|clip| clip.frames(kind).is_none()) {
            // Full: the port encodes it itself.
            let _ = self.orders.try_send((clip.clone(), kind));
        }
    }
}
