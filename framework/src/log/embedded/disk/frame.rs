//! Frames: how anything lies in a file. Length and CRC-32C (4 bytes each, big-endian), then the body.
//!
//! A process that dies in the middle of a write leaves a last frame that is cut off or does not match its CRC: a
//! torn tail, which was never acknowledged and is cut away. A bad frame with more behind it is damage, and an error.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Read},
    path::Path,
};

use bytes::BufMut;
use tracing::warn;

/// No frame is longer; a length above it is damage.
const FRAME_BYTES_MAX: usize = 64 << 20;

const HEADER_BYTES: usize = 8;

const CRC_TABLE: [u32; 256] = crc_table();

/// What the next bytes of a file are.
enum Next {
    /// A frame, its body in the buffer.
    Frame,
    /// Nothing: the file ends here.
    End,
    /// Bytes that are no frame. How many a whole frame would have taken.
    Bad { frame_bytes: u64 },
}

/// Adds a frame to `out`; `body` writes its body.
pub(super) fn put_frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_bytes(0, HEADER_BYTES);
    body(out);
    let body_start = start + HEADER_BYTES;
    let len = u32::try_from(out.len() - body_start).expect("a frame is bounded by the size of a chunk");
    let crc = crc32c(&out[body_start..]);
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    out[start + 4..body_start].copy_from_slice(&crc.to_be_bytes());
}

/// Reads all frames of a file, which is created if it is not there, and cuts a torn tail off it. Returns its length.
pub(super) fn read_frames(path: &Path, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let file_bytes = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 20, &file);
    let mut body = Vec::new();
    let mut good_bytes = 0;
    loop {
        match read_frame(&mut reader, file_bytes - good_bytes, &mut body)? {
            Next::Frame => {
                each(&body)?;
                good_bytes += (HEADER_BYTES + body.len()) as u64;
            }
            Next::End => return Ok(good_bytes),
            Next::Bad { frame_bytes } => {
                let at_tail = good_bytes + frame_bytes >= file_bytes || only_zeros_behind(&file, good_bytes)?;
                if !at_tail {
                    return Err(damage(format!("{} is damaged at byte {good_bytes}", path.display())));
                }
                let cut_bytes = file_bytes - good_bytes;
                warn!(path = %path.display(), at = good_bytes, cut_bytes, "torn tail cut off");
                file.set_len(good_bytes)?;
                return Ok(good_bytes);
            }
        }
    }
}

/// An error that says that what a file holds makes no sense.
pub(super) fn damage(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

fn read_frame(reader: &mut impl Read, rest_bytes: u64, body: &mut Vec<u8>) -> io::Result<Next> {
    if rest_bytes == 0 {
        return Ok(Next::End);
    }
    if rest_bytes < HEADER_BYTES as u64 {
        return Ok(Next::Bad { frame_bytes: HEADER_BYTES as u64 });
    }
    let (len, crc) = (read_u32(reader)?, read_u32(reader)?);
    let frame_bytes = HEADER_BYTES as u64 + u64::from(len);
    if len == 0 || len as usize > FRAME_BYTES_MAX || frame_bytes > rest_bytes {
        return Ok(Next::Bad { frame_bytes });
    }
    body.resize(len as usize, 0);
    reader.read_exact(body)?;
    Ok(if crc32c(body) == crc { Next::Frame } else { Next::Bad { frame_bytes } })
}

fn read_u32(reader: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

/// Some file systems leave zeros where a write was cut short.
fn only_zeros_behind(file: &File, from: u64) -> io::Result<bool> {
    use std::io::Seek;
    let mut file = file;
    file.seek(io::SeekFrom::Start(from))?;
    for byte in BufReader::new(file).bytes() {
        if byte? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

const fn crc_table() -> [u32; 256] {
    const POLYNOMIAL_REVERSED: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL_REVERSED } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    }

    fn file_with(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), content).expect("written");
        file
    }

    fn frames_of(file: &tempfile::NamedTempFile) -> io::Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        read_frames(file.path(), |body| {
            frames.push(body.to_vec());
            Ok(())
        })?;
        Ok(frames)
    }

    fn two_frames() -> Vec<u8> {
        let mut content = Vec::new();
        put_frame(&mut content, |out| out.extend_from_slice(b"one"));
        put_frame(&mut content, |out| out.extend_from_slice(b"two"));
        content
    }

    #[test]
    fn a_file_cut_anywhere_keeps_its_whole_frames() {
        let content = two_frames();
        for len in 0..content.len() {
            let file = file_with(&content[..len]);
            let whole = usize::from(len >= content.len() / 2);
            assert_eq!(frames_of(&file).expect("a torn tail is no error").len(), whole, "cut at {len}");
            let kept = std::fs::metadata(file.path()).expect("there").len() as usize;
            assert_eq!(kept, whole * content.len() / 2, "cut at {len}");
        }
    }

    #[test]
    fn zeros_at_the_end_are_a_torn_tail() {
        let mut content = two_frames();
        content.resize(content.len() + 100, 0);
        assert_eq!(frames_of(&file_with(&content)).expect("no error").len(), 2);
    }

    #[test]
    fn a_bad_frame_before_good_ones_is_an_error() {
        let mut content = two_frames();
        content[HEADER_BYTES] ^= 1;
        let error = frames_of(&file_with(&content)).expect_err("acknowledged data is lost");
        assert!(error.to_string().contains("damaged at byte 0"), "{error}");
    }
}
