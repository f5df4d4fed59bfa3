//! What happened, as one number, and as lines when somebody wants to read it.

use crate::Micros;

/// The trace of a world.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(keeps_lines: bool) -> Self {
        Self { hash: 0, lines: keeps_lines.then(Vec::new) }
    }

    /// Something happened: a word, two numbers, and a line that is made only if it is kept.
    pub(crate) fn note(
        &mut self,
        now: Micros,
        what: &'static str,
        numbers: [u64; 2],
        line: impl FnOnce() -> String,
    ) {
        for word in [now, what.len() as u64, numbers[0], numbers[1]] {
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        if let Some(lines) = &mut self.lines {
            let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
            lines.push(format!("{seconds:4}.{micros:06} {what:9} {}", line()));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
