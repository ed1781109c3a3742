//! Events on disk, until the relay has them.
//!
//! An append-only file of records: its length and CRC-32 (both 4 bytes, little-endian), a byte that tells what it is, the
//! event's number (8 bytes), and the event. An event is on disk (`fdatasync`) before it leaves memory. That it was
//! delivered is written without waiting for the disk: after a crash it may be delivered again. When everything is
//! delivered the file is emptied. The last record may be torn by a crash: it is cut off when the file is opened.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use prost::Message;
use rustix::fs::{FlockOperation, flock};
use sidetone_proto::v1::CaptionEvent;
use sidetone_proto::v1::caption_event::Event;
use tracing::warn;

const MAGIC: &[u8; 8] = b"sidespl1";
const HEAD: usize = 8;
const EVENT: u8 = 1;
const DELIVERED: u8 = 2;
/// Longest record, in bytes: longer than the relay takes.
const LONGEST: usize = 2 * 1024 * 1024;

/// Where events go while the relay is away, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// The file. It is made readable by this user alone, and so is its folder if that does not exist.
    pub path: PathBuf,
    /// The longest that it gets, in bytes. When it is full, events wait in memory, and then those who deliver them.
    pub most_bytes: u64,
}

/// Why a spool can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file or its folder can't be opened.
    #[error("cannot open the spool {}: {source}; choose a path that this user may write to", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Two processes would write to it.
    #[error("the spool {} is used by another process; give each transcriber a spool of its own", .0.display())]
    Taken(PathBuf),
    /// Something else is in the file.
    #[error("{} is no spool; move it away or choose another path", .0.display())]
    Foreign(PathBuf),
}

/// The file, and where in it each event is that was not delivered.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    most_bytes: u64,
    length: u64,
    events: BTreeMap<u64, Place>,
    next_id: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    length: usize,
}

impl Spool {
    /// Opens or makes the file. Gives the events in it that were not delivered, in order.
    pub(crate) fn open(options: &SpoolOptions) -> Result<(Self, Vec<(u64, Event)>), SpoolError> {
        let path = &options.path;
        let file = open(path).map_err(|source| SpoolError::Open { path: path.clone(), source })?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(SpoolError::Taken(path.clone()));
        }
        let most_bytes = options.most_bytes;
        let mut spool = Self { file, most_bytes, length: 0, events: BTreeMap::new(), next_id: 0 };
        match spool.scan() {
            Ok(Some(events)) => Ok((spool, events)),
            Ok(None) => Err(SpoolError::Foreign(path.clone())),
            Err(source) => Err(SpoolError::Open { path: path.clone(), source }),
        }
    }

    /// Puts events on disk, in the order of their numbers. After an error none of them is there.
    pub(crate) fn append(&mut self, events: &[(u64, &Event)]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut places = Vec::with_capacity(events.len());
        for (id, event) in events {
            let message = CaptionEvent { event: Some((*event).clone()) }.encode_to_vec();
            let offset = self.length + bytes.len() as u64;
            push_record(&mut bytes, EVENT, *id, &message);
            let length = (self.length as usize + bytes.len()) - offset as usize;
            places.push((*id, Place { offset, length }));
        }
        let end = self.length + bytes.len() as u64;
        if end > self.most_bytes {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the spool is full"));
        }
        self.file.write_all_at(&bytes, self.length)?;
        self.file.sync_data()?;
        self.length = end;
        for (id, place) in places {
            self.next_id = self.next_id.max(id + 1);
            self.events.insert(id, place);
        }
        Ok(())
    }

    /// An event that was not delivered.
    pub(crate) fn read(&self, id: u64) -> io::Result<Option<Event>> {
        let Some(place) = self.events.get(&id) else { return Ok(None) };
        let mut record = vec![0; place.length];
        self.file.read_exact_at(&mut record, place.offset)?;
        Ok(take_record(&record).and_then(|record| record.event()))
    }

    /// An event needs not be kept any more.
    pub(crate) fn remove(&mut self, id: u64) -> io::Result<()> {
        if self.events.remove(&id).is_none() {
            return Ok(());
        }
        if self.events.is_empty() {
            self.length = MAGIC.len() as u64;
            return self.file.set_len(self.length);
        }
        let mut bytes = Vec::new();
        push_record(&mut bytes, DELIVERED, id, &[]);
        self.file.write_all_at(&bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// An event must not be kept any more: nothing of it is left in the file.
    pub(crate) fn erase(&mut self, id: u64) -> io::Result<()> {
        let Some(Place { offset, length }) = self.events.get(&id).copied() else { return Ok(()) };
        let mut blank = Vec::new();
        push_record(&mut blank, DELIVERED, id, &vec![0; length - HEAD - 9]);
        self.file.write_all_at(&blank, offset)?;
        self.file.sync_data()?;
        self.remove(id)
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.events.contains_key(&id)
    }

    /// Above the number of every event that was ever in it.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// In bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// `None`: this is no spool.
    fn scan(&mut self) -> io::Result<Option<Vec<(u64, Event)>>> {
        let size = self.file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, 0)?;
        if size < MAGIC.len() as u64 {
            // Made, and not written to: the process was killed in between.
            if !MAGIC.starts_with(&bytes) {
                return Ok(None);
            }
            self.file.write_all_at(MAGIC, 0)?;
            self.file.sync_data()?;
            self.length = MAGIC.len() as u64;
            return Ok(Some(Vec::new()));
        }
        if !bytes.starts_with(MAGIC) {
            return Ok(None);
        }
        let mut events = BTreeMap::new();
        let mut at = MAGIC.len();
        while let Some(record) = take_record(&bytes[at..]) {
            self.next_id = self.next_id.max(record.id.saturating_add(1));
            match record.event() {
                Some(event) => {
                    let place = Place { offset: at as u64, length: record.length };
                    self.events.insert(record.id, place);
                    events.insert(record.id, event);
                }
                None => {
                    self.events.remove(&record.id);
                    events.remove(&record.id);
                }
            }
            at += record.length;
        }
        if at < bytes.len() {
            warn!(
                bytes = bytes.len() - at,
                "the spool's last record was torn by a crash, dropping it"
            );
        }
        self.length = at as u64;
        self.file.set_len(self.length)?;
        Ok(Some(events.into_iter().collect()))
    }
}

struct Record<'a> {
    kind: u8,
    id: u64,
    message: &'a [u8],
    /// With its head, in bytes.
    length: usize,
}

impl Record<'_> {
    fn event(&self) -> Option<Event> {
        if self.kind != EVENT {
            return None;
        }
        CaptionEvent::decode(self.message).ok()?.event
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    // Also if somebody else made it: transcripts are in it.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

fn push_record(bytes: &mut Vec<u8>, kind: u8, id: u64, message: &[u8]) {
    let mut body = Vec::with_capacity(9 + message.len());
    body.push(kind);
    body.extend(id.to_le_bytes());
    body.extend(message);
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(crc32(&body).to_le_bytes());
    bytes.extend(body);
}

/// The record at the start of some bytes, if it is whole.
fn take_record(bytes: &[u8]) -> Option<Record<'_>> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = word(0)? as usize;
    if !(9..=LONGEST).contains(&length) {
        return None;
    }
    let body = bytes.get(HEAD..HEAD + length)?;
    if crc32(body) != word(4)? {
        return None;
    }
    let id = u64::from_le_bytes(body[1..9].try_into().ok()?);
    Some(Record { kind: body[0], id, message: &body[9..], length: HEAD + length })
}

/// CRC-32 as in IEEE 802.3. A spool is short, and written while there is time.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use sidetone_proto::v1::CallEnded;

    use super::*;

    const SPACIOUS: u64 = 1 << 20;

    fn options(folder: &tempfile::TempDir, most_bytes: u64) -> SpoolOptions {
        SpoolOptions { path: folder.path().join("spool/events"), most_bytes }
    }

    fn event(name: &str) -> Event {
        Event::CallEnded(CallEnded { call_id: name.to_owned(), ended_unix_ms: 0 })
    }

    fn names(events: &[(u64, Event)]) -> Vec<(u64, &str)> {
        events.iter().map(|(id, event)| (*id, name(event))).collect()
    }

    fn name(event: &Event) -> &str {
        match event {
            Event::CallEnded(ended) => &ended.call_id,
            other => panic!("unexpected {other:?}"),
        }
    }

    #[test]
    fn check_sums_are_those_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_was_not_delivered_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder, SPACIOUS);
        let (mut spool, events) = Spool::open(&options).unwrap();
        assert!(events.is_empty());
        let (a, b, c) = (event("a"), event("b"), event("c"));
        spool.append(&[(3, &a), (4, &b)]).unwrap();
        spool.append(&[(7, &c)]).unwrap();
        assert_eq!(spool.read(4).unwrap(), Some(b));
        spool.remove(4).unwrap();
        assert_eq!(spool.read(4).unwrap(), None);
        assert!(matches!(Spool::open(&options), Err(SpoolError::Taken(_))));
        drop(spool);

        let (mut spool, events) = Spool::open(&options).unwrap();
        assert_eq!(names(&events), [(3, "a"), (7, "c")]);
        assert_eq!(spool.next_id(), 8);
        spool.remove(3).unwrap();
        spool.remove(7).unwrap();
        assert_eq!(std::fs::metadata(&options.path).unwrap().len(), MAGIC.len() as u64);
    }

    /// A crash may end the file anywhere, or leave rubbish at its end.
    #[test]
    fn a_torn_record_is_dropped_and_those_before_it_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder, SPACIOUS);
        let (mut spool, _) = Spool::open(&options).unwrap();
        let (a, b) = (event("a"), event("b"));
        spool.append(&[(0, &a)]).unwrap();
        let first = spool.length();
        spool.append(&[(1, &b)]).unwrap();
        drop(spool);
        let whole = std::fs::read(&options.path).unwrap();
        for cut in first as usize..whole.len() {
            std::fs::write(&options.path, &whole[..cut]).unwrap();
            let (mut spool, events) = Spool::open(&options).unwrap();
            assert_eq!(names(&events), [(0, "a")], "cut at {cut}");
            // It is written to where it was cut.
            spool.append(&[(5, &b)]).unwrap();
            drop(spool);
            let (_, events) = Spool::open(&options).unwrap();
            assert_eq!(names(&events), [(0, "a"), (5, "b")], "cut at {cut}");
        }
        for flipped in first as usize..whole.len() {
            let mut damaged = whole.clone();
            damaged[flipped] ^= 0x40;
            std::fs::write(&options.path, damaged).unwrap();
            assert_eq!(names(&Spool::open(&options).unwrap().1), [(0, "a")], "{flipped}");
        }
        for cut in 0..MAGIC.len() {
            std::fs::write(&options.path, &whole[..cut]).unwrap();
            assert!(Spool::open(&options).unwrap().1.is_empty());
        }
    }

    #[test]
    fn it_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let (mut spool, _) = Spool::open(&options(&folder, 100)).unwrap();
        let (short, long) = (event("a"), event(&"a".repeat(100)));
        spool.append(&[(0, &short)]).unwrap();
        assert!(spool.append(&[(1, &long)]).is_err());
        assert!(!spool.contains(1));
        assert_eq!(spool.read(0).unwrap(), Some(short));
    }

    #[test]
    fn nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder, SPACIOUS);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        drop(Spool::open(&options).unwrap());
        assert_eq!(mode(&options.path), 0o600);
        assert_eq!(mode(options.path.parent().unwrap()), 0o700);
        std::fs::set_permissions(&options.path, std::fs::Permissions::from_mode(0o644)).unwrap();
        drop(Spool::open(&options).unwrap());
        assert_eq!(mode(&options.path), 0o600);
    }

    #[test]
    fn a_file_of_another_kind_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "my only copy").unwrap();
        let options = SpoolOptions { path, most_bytes: SPACIOUS };
        assert!(matches!(Spool::open(&options), Err(SpoolError::Foreign(_))));
        assert_eq!(std::fs::read(&options.path).unwrap(), b"my only copy");
    }
}
