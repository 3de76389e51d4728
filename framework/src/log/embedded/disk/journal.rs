//! The journal: everything that is not a record. Topics, generations and offsets of groups, decisions on transactions.
//!
//! One file, so that one write decides: a transaction is committed when its entry is here, with its offsets. The
//! markers in the partitions follow; those that a dead process did not write are written when the log is opened again.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::frame::{damage, put_frame, read_frames};
use crate::log::TopicId;

/// One entry, as JSON in a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::log::embedded) enum Entry {
    /// The first entry of a journal.
    Format {
        version: u32,
    },
    /// Numbers below it may have been used.
    NextTransaction {
        number: u64,
    },
    TopicCreated {
        name: String,
        /// None in entries that were written before there were ids.
        #[serde(default)]
        id: Option<TopicId>,
        partitions: i32,
        config: BTreeMap<String, String>,
    },
    TopicDeleted {
        name: String,
    },
    Generation {
        group: String,
        generation: i32,
    },
    Offsets {
        group: String,
        offsets: Positions,
    },
    /// Before the markers in the partitions.
    Committed {
        transaction: u64,
        offsets: BTreeMap<String, Positions>,
    },
}

/// Positions by topic and partition.
pub(in crate::log::embedded) type Positions = Vec<(Arc<str>, i32, i64)>;

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Length right after it was last written anew.
    bytes_rewritten: u64,
}

const FORMAT_VERSION: u32 = 1;

/// A journal shorter than this is not written anew.
const REWRITE_BYTES: u64 = 1 << 20;

// === impl Journal ===

impl Journal {
    /// Opens or creates a journal and hands its entries to `each`, in order.
    pub(super) fn open(path: PathBuf, mut each: impl FnMut(Entry) -> io::Result<()>) -> io::Result<Self> {
        let bytes = read_frames(&path, |body| {
            match serde_json::from_slice(body).map_err(|error| damage(format!("{}: {error}", path.display())))? {
                Entry::Format { version: FORMAT_VERSION } => Ok(()),
                Entry::Format { version } => Err(damage(format!(
                    "{} has format version {version}, this build knows {FORMAT_VERSION}",
                    path.display()
                ))),
                entry => each(entry),
            }
        })?;
        let file = OpenOptions::new().append(true).open(&path)?;
        let mut journal = Self { path, file, bytes, bytes_rewritten: bytes };
        if bytes == 0 {
            journal.append(&Entry::Format { version: FORMAT_VERSION })?;
        }
        Ok(journal)
    }

    /// Appends an entry.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let content = encode([entry])?;
        self.file.write_all(&content)?;
        self.bytes += content.len() as u64;
        Ok(())
    }

    /// Whether it has outgrown what it says.
    pub(super) fn wants_rewrite(&self) -> bool {
        self.bytes >= REWRITE_BYTES.max(self.bytes_rewritten.saturating_mul(4))
    }

    /// Puts a new journal with the same meaning in the place of this one.
    pub(super) fn rewrite(&mut self, entries: &[Entry]) -> io::Result<()> {
        let format = Entry::Format { version: FORMAT_VERSION };
        let content = encode(std::iter::once(&format).chain(entries))?;
        self.file = replace_file(&self.path, &content)?;
        self.bytes = content.len() as u64;
        self.bytes_rewritten = self.bytes;
        Ok(())
    }
}

/// Puts a file in the place of another in one step, and opens it for appending.
pub(super) fn replace_file(path: &Path, content: &[u8]) -> io::Result<File> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(&temporary, path)?;
    OpenOptions::new().append(true).open(path)
}

fn encode<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    for entry in entries {
        let body = serde_json::to_vec(entry)?;
        put_frame(&mut content, |out| out.extend_from_slice(&body));
    }
    Ok(content)
}
