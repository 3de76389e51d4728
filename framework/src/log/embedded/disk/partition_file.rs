//! The file of one partition: its chunks and markers, one frame each.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use bytes::{Buf, BufMut, TryGetError};

use super::{
    frame::{damage, put_frame, read_frames},
    journal::replace_file,
};
use crate::log::{
    Batch, BatchBuilder, TopicPartition,
    embedded::partition::{Chunk, Marker, Outcome, Partition, Stored, TransactionNumber},
};

/// The open file of a partition.
#[derive(Debug)]
pub(super) struct PartitionFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// What a frame holds, by the first byte of its body.
mod kind {
    /// The first offset that exists, the next one to come, and open transactions (their records may be deleted).
    pub(super) const BOUNDS: u8 = 0;
    pub(super) const RECORDS: u8 = 1;
    pub(super) const MARKER: u8 = 2;
}

/// A partition file shorter than this is not written anew because of deleted records.
const REWRITE_BYTES: u64 = 4 << 20;

// === impl PartitionFile ===

impl PartitionFile {
    /// Opens or creates the file, and replays what it holds into `partition`.
    pub(super) fn open(path: PathBuf, source: &TopicPartition, partition: &mut Partition) -> io::Result<Self> {
        let bytes = read_frames(&path, |body| {
            replay(body, source, partition).map_err(|error| damage(format!("{}: {error}", path.display())))
        })?;
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Self { path, file, bytes })
    }

    /// Appends a chunk or a marker.
    pub(super) fn append(&mut self, stored: &Stored) -> io::Result<()> {
        self.write(|out| put_stored(out, stored))
    }

    /// Notes that the partition now begins at its `start`.
    pub(super) fn truncated(&mut self, partition: &Partition) -> io::Result<()> {
        if self.bytes >= REWRITE_BYTES && self.bytes / 2 >= partition.bytes as u64 {
            return self.rewrite(partition);
        }
        self.write(|out| put_bounds(out, partition))
    }

    /// Puts a file with just what the partition holds in the place of this one.
    pub(super) fn rewrite(&mut self, partition: &Partition) -> io::Result<()> {
        let mut content = Vec::new();
        put_frame(&mut content, |out| put_bounds(out, partition));
        for stored in &partition.stored {
            put_frame(&mut content, |out| put_stored(out, stored));
        }
        self.file = replace_file(&self.path, &content)?;
        self.bytes = content.len() as u64;
        Ok(())
    }

    fn write(&mut self, body: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut frame = Vec::new();
        put_frame(&mut frame, body);
        self.file.write_all(&frame)?;
        self.bytes += frame.len() as u64;
        Ok(())
    }
}

// === Encoding ===

fn put_bounds(out: &mut Vec<u8>, partition: &Partition) {
    out.put_u8(kind::BOUNDS);
    out.put_i64(partition.start);
    out.put_i64(partition.end);
    out.put_u64(partition.open.len() as u64);
    for (transaction, first) in &partition.open {
        out.put_u64(transaction.0);
        out.put_i64(*first);
    }
}

fn put_stored(out: &mut Vec<u8>, stored: &Stored) {
    match stored {
        Stored::Records(chunk) => {
            out.put_u8(kind::RECORDS);
            out.put_i64(chunk.base);
            out.put_u64(chunk.transaction.map_or(0, |transaction| transaction.0));
            put_records(out, &chunk.records);
        }
        Stored::Marker(marker) => {
            out.put_u8(kind::MARKER);
            out.put_i64(marker.offset);
            out.put_u64(marker.transaction.0);
            out.put_u8(u8::from(marker.committed));
        }
    }
}

fn put_records(out: &mut Vec<u8>, records: &Batch) {
    out.put_u64(records.len() as u64);
    for record in records.iter() {
        out.put_i64(record.offset);
        out.put_i64(record.timestamp_ms);
        put_bytes(out, record.key);
        put_bytes(out, record.value);
        out.put_u64(record.headers.iter().count() as u64);
        for (name, value) in record.headers.iter() {
            put_bytes(out, Some(name.as_bytes()));
            put_bytes(out, value);
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.put_i32(bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).expect("records are bounded far below 2 GiB")));
    out.put_slice(bytes.unwrap_or_default());
}

// === Decoding ===

fn replay(mut body: &[u8], source: &TopicPartition, partition: &mut Partition) -> Result<(), String> {
    let body = &mut body;
    match body.try_get_u8().map_err(too_short)? {
        kind::BOUNDS => {
            let (start, end) = (get_i64(body)?, get_i64(body)?);
            partition.end = partition.end.max(end);
            partition.delete_before(start);
            for _ in 0..body.try_get_u64().map_err(too_short)? {
                let transaction = TransactionNumber(body.try_get_u64().map_err(too_short)?);
                partition.open.insert(transaction, get_i64(body)?);
            }
        }
        kind::RECORDS => {
            let base = get_i64(body)?;
            let transaction = body.try_get_u64().map_err(too_short)?;
            let transaction = (transaction > 0).then_some(TransactionNumber(transaction));
            let outcome = if transaction.is_some() { Outcome::Open } else { Outcome::Visible };
            let records = Arc::new(get_records(body, source)?);
            partition.replay(Stored::Records(Chunk { base, records, transaction, outcome }));
        }
        kind::MARKER => {
            let offset = get_i64(body)?;
            let transaction = TransactionNumber(body.try_get_u64().map_err(too_short)?);
            let committed = body.try_get_u8().map_err(too_short)? == 1;
            partition.replay(Stored::Marker(Marker { offset, transaction, committed }));
        }
        unknown => return Err(format!("a frame of unknown kind {unknown}")),
    }
    Ok(())
}

fn get_records(body: &mut &[u8], source: &TopicPartition) -> Result<Batch, String> {
    let mut builder = BatchBuilder::new(source.clone());
    for _ in 0..body.try_get_u64().map_err(too_short)? {
        let (offset, timestamp_ms) = (get_i64(body)?, get_i64(body)?);
        let (key, value) = (get_bytes(body)?, get_bytes(body)?);
        let mut headers = Vec::new();
        for _ in 0..body.try_get_u64().map_err(too_short)? {
            let name = get_bytes(body)?.ok_or("a header without a name")?;
            let name = std::str::from_utf8(name).map_err(|_| "a header name that is not UTF-8")?;
            headers.push((name, get_bytes(body)?));
        }
        builder.push(offset, timestamp_ms, key, value, headers);
    }
    Ok(builder.build())
}

fn get_bytes<'b>(body: &mut &'b [u8]) -> Result<Option<&'b [u8]>, String> {
    let Ok(len) = usize::try_from(body.try_get_i32().map_err(too_short)?) else { return Ok(None) };
    let (bytes, rest) = body.split_at_checked(len).ok_or("a frame that is too short")?;
    *body = rest;
    Ok(Some(bytes))
}

fn get_i64(body: &mut &[u8]) -> Result<i64, String> {
    body.try_get_i64().map_err(too_short)
}

fn too_short(_: TryGetError) -> String {
    "a frame that is too short".to_owned()
}
