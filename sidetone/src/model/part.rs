//! The file of an unfinished download.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::checksum::{Checksum, Hasher};
use super::directory::PART_SUFFIX;

/// A download that grows at its end, next to where the whole file will be: `ggml-NAME.bin.part`.
///
/// It is locked, so that two processes never write to the same one.
pub(super) struct PartFile {
    path: PathBuf,
    file: tokio::fs::File,
    /// Knows all bytes of the file.
    hasher: Hasher,
}

impl PartFile {
    /// Opens or makes the part of `whole`, with whatever an earlier download left in it.
    ///
    /// An error of the kind `WouldBlock` means that another process has it.
    pub(super) async fn open(whole: &Path) -> io::Result<Self> {
        let path = part_of(whole);
        blocking(move || {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)?;
            }
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // Between the two calls another process may have finished: then the file has its final name now.
            if fs::metadata(&path).ok().map(|found| found.ino()) != Some(file.metadata()?.ino()) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let hasher = Hasher::of_file(&mut file)?;
            file.seek(io::SeekFrom::Start(hasher.bytes()))?;
            Ok(Self { path, file: tokio::fs::File::from_std(file), hasher })
        })
        .await
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.hasher.bytes()
    }

    pub(super) async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Gives up what is in the file.
    pub(super) async fn clear(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.set_len(0).await?;
        self.file.rewind().await?;
        self.hasher = Hasher::default();
        Ok(())
    }

    /// Writes everything to the disk, and tells its checksum.
    pub(super) async fn sync(&mut self) -> io::Result<Checksum> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        Ok(self.hasher.clone().finish())
    }

    /// Gives the file its final name, and writes that to the disk too.
    pub(super) async fn rename(self, whole: PathBuf) -> io::Result<()> {
        blocking(move || {
            fs::rename(&self.path, &whole)?;
            whole.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
        })
        .await
    }

    pub(super) async fn delete(self) -> io::Result<()> {
        blocking(move || fs::remove_file(&self.path)).await
    }

    /// Bytes that can still be written on the file's disk.
    pub(super) fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// Runs what may wait for the disk on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn part_of(whole: &Path) -> PathBuf {
    let mut path = whole.as_os_str().to_owned();
    path.push(PART_SUFFIX);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn goes_on_where_it_was_left_and_belongs_to_one() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("deeper/model.bin");
        let mut part = PartFile::open(&whole).await.unwrap();
        part.append(b"abc").await.unwrap();
        let other = PartFile::open(&whole).await.err().map(|error| error.kind());
        assert_eq!(other, Some(io::ErrorKind::WouldBlock));
        part.sync().await.unwrap();
        drop(part);

        let mut part = PartFile::open(&whole).await.unwrap();
        assert_eq!(part.bytes(), 3);
        part.append(b"def").await.unwrap();
        let mut expected = Hasher::default();
        expected.update(b"abcdef");
        assert_eq!(part.sync().await.unwrap(), expected.finish());
        part.rename(whole.clone()).await.unwrap();
        assert_eq!(fs::read(&whole).unwrap(), b"abcdef");
        assert!(!part_of(&whole).exists());
    }

    #[tokio::test]
    async fn what_is_given_up_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("model.bin");
        let mut part = PartFile::open(&whole).await.unwrap();
        part.append(b"abcdef").await.unwrap();
        part.clear().await.unwrap();
        part.append(b"x").await.unwrap();
        part.sync().await.unwrap();
        assert_eq!((part.bytes(), fs::read(part.path()).unwrap()), (1, b"x".to_vec()));
        assert!(part.free().unwrap() > 0);
        part.delete().await.unwrap();
        assert!(!part_of(&whole).exists());
    }
}
