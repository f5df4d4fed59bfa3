//! The file system as raft-engine sees it: after a sync has failed, nothing changes any more.
//!
//! raft-engine panics when a sync fails, and again when it closes its files, which ends the
//! process without saying why. Here a failed sync is noted and seems to succeed, and whatever
//! would change the disk afterwards fails; who uses the engine looks at the note before it
//! believes it.

use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};
use std::io::{Error, Result, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What failed first, if anything did.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Arc<Mutex<Option<String>>>);

/// A file system that stops after a failure.
pub(super) struct Careful<F> {
    system: Arc<F>,
    failure: Failure,
}

pub(super) struct CarefulHandle<H> {
    handle: Arc<H>,
    failure: Failure,
}

pub(super) struct CarefulWriter<W> {
    writer: W,
    failure: Failure,
}

impl Failure {
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes it, unless something failed before.
    pub(super) fn note(&self, why: &impl ToString) {
        let mut failure = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| why.to_string());
    }

    fn check(&self) -> Result<()> {
        self.get().map_or(Ok(()), |why| Err(Error::other(format!("it failed before: {why}"))))
    }
}

impl<F: FileSystem> Careful<F> {
    pub(super) fn new(system: Arc<F>, failure: Failure) -> Self {
        Self { system, failure }
    }

    fn handle(&self, handle: F::Handle) -> CarefulHandle<F::Handle> {
        CarefulHandle { handle: Arc::new(handle), failure: self.failure.clone() }
    }
}

impl<F: FileSystem> FileSystem for Careful<F> {
    type Handle = CarefulHandle<F::Handle>;
    type Reader = F::Reader;
    type Writer = CarefulWriter<F::Writer>;

    fn create<P: AsRef<Path>>(&self, path: P) -> Result<Self::Handle> {
        self.failure.check()?;
        self.system.create(path).map(|handle| self.handle(handle))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> Result<Self::Handle> {
        self.system.open(path, permission).map(|handle| self.handle(handle))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        self.failure.check()?;
        self.system.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        self.failure.check()?;
        self.system.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<Self::Handle>) -> Result<Self::Reader> {
        self.system.new_reader(Arc::clone(&handle.handle))
    }

    fn new_writer(&self, handle: Arc<Self::Handle>) -> Result<Self::Writer> {
        let writer = self.system.new_writer(Arc::clone(&handle.handle))?;
        Ok(CarefulWriter { writer, failure: self.failure.clone() })
    }
}

impl<H: Handle> Handle for CarefulHandle<H> {
    fn truncate(&self, offset: usize) -> Result<()> {
        self.failure.check()?;
        self.handle.truncate(offset)
    }

    fn file_size(&self) -> Result<usize> {
        self.handle.file_size()
    }

    fn sync(&self) -> Result<()> {
        if self.failure.get().is_none()
            && let Err(error) = self.handle.sync()
        {
            self.failure.note(&error);
        }
        Ok(())
    }
}

impl<W: Write> Write for CarefulWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.failure.check()?;
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.flush()
    }
}

impl<W: Seek> Seek for CarefulWriter<W> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.writer.seek(to)
    }
}

impl<W: WriteExt> WriteExt for CarefulWriter<W> {
    fn truncate(&mut self, offset: usize) -> Result<()> {
        self.failure.check()?;
        self.writer.truncate(offset)
    }

    fn allocate(&mut self, offset: usize, size: usize) -> Result<()> {
        self.failure.check()?;
        self.writer.allocate(offset, size)
    }
}
