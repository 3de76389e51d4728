//! Lists of values in one row, as Kafka Streams' `ListSerde` writes them.
//!
//! ```text
//! list    1 (values of any length), count (4 bytes), value..
//! value   count of bytes (4), bytes
//! ```
//! Counts are big-endian.

/// What says that values may be of any length.
const ANY_LENGTH: u8 = 1;
/// Bytes in front of the values.
const HEADER: usize = 1 + COUNT;
const COUNT: usize = size_of::<u32>();

/// Makes a list of one value.
pub fn put_first(list: &mut Vec<u8>, value: &[u8]) {
    list.clear();
    list.push(ANY_LENGTH);
    list.extend_from_slice(&1_u32.to_be_bytes());
    put_value(list, value);
}

/// Appends a value to a list; `None` when the bytes are not those of a list.
pub fn append(list: &mut Vec<u8>, value: &[u8]) -> Option<()> {
    let (count, _) = split(list)?;
    list[1..HEADER].copy_from_slice(&count.checked_add(1)?.to_be_bytes());
    put_value(list, value);
    Some(())
}

/// The values of a list, in their order; `None` when the bytes are not those of a list.
#[must_use]
pub fn values(list: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let (count, mut rest) = split(list)?;
    let whole = (0..count).try_fold(rest, |rest, _| take_value(rest).map(|(_, rest)| rest))?;
    whole.is_empty().then(|| {
        std::iter::from_fn(move || {
            let (value, behind) = take_value(rest)?;
            rest = behind;
            Some(value)
        })
    })
}

/// How many values a list has; `None` when the bytes are not those of a list.
#[must_use]
pub fn count(list: &[u8]) -> Option<u32> {
    split(list).map(|(count, _)| count)
}

fn split(list: &[u8]) -> Option<(u32, &[u8])> {
    let (count, rest) = list.strip_prefix(&[ANY_LENGTH])?.split_first_chunk()?;
    Some((u32::from_be_bytes(*count), rest))
}

fn put_value(list: &mut Vec<u8>, value: &[u8]) {
    let len = u32::try_from(value.len()).expect("Kafka's records are below 2 GiB");
    list.extend_from_slice(&len.to_be_bytes());
    list.extend_from_slice(value);
}

fn take_value(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = rest.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_kafka_streams_writes() {
        let mut list = Vec::new();
        put_first(&mut list, b"a");
        assert_eq!(list, b"\x01\0\0\0\x01\0\0\0\x01a");
        append(&mut list, b"").expect("a list");
        append(&mut list, "日本".as_bytes()).expect("a list");
        assert_eq!(list, b"\x01\0\0\0\x03\0\0\0\x01a\0\0\0\0\0\0\0\x06\xe6\x97\xa5\xe6\x9c\xac");
        assert_eq!(count(&list), Some(3));
        let all: Vec<_> = values(&list).expect("a list").collect();
        assert_eq!(all, [b"a".as_slice(), b"", "日本".as_bytes()]);
        for cut in 0..list.len() {
            assert!(values(&list[..cut]).is_none(), "cut at {cut}");
        }
        list.push(0);
        assert!(values(&list).is_none(), "a byte behind the end");
    }
}
