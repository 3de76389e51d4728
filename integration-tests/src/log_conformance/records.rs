//! Records: order (rule 1), fidelity (2), partitions (3), acknowledgement (8).

use anyhow::{Context, ensure};
use millpond::log::{Append, Headers, Isolation, LogError, Partitioner};

use super::{
    Bed,
    tools::{DEADLINE, Reading, append, ensure_error, numbered, partition, topic, write},
};

/// Rule 1: offsets only grow, and records come in their order, over several flushes and partitions.
pub fn records_are_read_in_the_order_of_their_offsets(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 2, &[])?;
    let partitions = [partition(&topic, 0), partition(&topic, 1)];
    let mut producer = bed.log().producer()?;
    for number in 0..2_000 {
        append(&mut *producer, &partitions[number % 2], number.to_string().as_bytes(), None)?;
        if number % 300 == 0 {
            producer.flush(DEADLINE)?;
        }
    }
    producer.flush(DEADLINE)?;

    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &partitions)?;
    reading.until_end(2)?;
    for index in 0..2 {
        let of_partition: Vec<_> = reading.seen.iter().filter(|seen| seen.partition == index).collect();
        ensure!(of_partition.windows(2).all(|pair| pair[0].offset < pair[1].offset), "offsets grow");
        let appended: Vec<String> =
            (0..2_000).filter(|number| number % 2 == index).map(|number| number.to_string()).collect();
        ensure!(reading.keys(index) == appended, "partition {index} in order: {:?}", reading.keys(index));
    }
    Ok(())
}

/// Rule 2: null is not empty, headers keep their order and may repeat, times are kept to the ms.
pub fn records_are_read_as_they_were_appended(bed: &dyn Bed) -> anyhow::Result<()> {
    type Fields<'f> = (Option<&'f [u8]>, Option<&'f [u8]>, i64, Vec<(&'f str, Option<&'f [u8]>)>);
    let topic = topic(bed, 1, &[])?;
    let records: Vec<Fields<'_>> = vec![
        (Some(b"key"), Some(b"value"), 1_700_000_000_123, vec![]),
        (None, Some(b"no key"), 1_700_000_000_122, vec![]),
        (Some(b""), Some(b""), 1, vec![]),
        (Some(b"no value"), None, 1_234, vec![]),
        (None, None, 2, vec![("only", Some(b"a header"))]),
        (
            Some(&[0, 255, 10]),
            Some(&[0; 300]),
            1_700_000_000_000,
            vec![("b", Some(b"1")), ("a", None), ("b", Some(b"")), ("\u{448}", Some(&[0, 255]))],
        ),
    ];
    let mut producer = bed.log().producer()?;
    for (key, value, timestamp_ms, headers) in &records {
        let (key, value, timestamp_ms) = (*key, *value, *timestamp_ms);
        let headers = Headers::new(headers.iter().copied());
        producer.append(Append { topic: &topic, partition: 0, key, value, timestamp_ms, headers: &headers })?;
    }
    producer.flush(DEADLINE)?;

    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[partition(&topic, 0)])?;
    reading.until_end(1)?;
    ensure!(reading.seen.len() == records.len(), "{} records of {}", reading.seen.len(), records.len());
    for (seen, (key, value, timestamp_ms, headers)) in reading.seen.iter().zip(&records) {
        let seen_headers: Vec<_> = seen.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let same = (seen.key.as_deref(), seen.value.as_deref(), seen.timestamp_ms) == (*key, *value, *timestamp_ms)
            && seen_headers == *headers;
        ensure!(same, "appended {key:?} {value:?} {timestamp_ms} {headers:?}, read {seen:?}");
    }
    Ok(())
}

/// Rule 3: a key is read from the partition where the Java producer would have put it.
pub fn partitions_are_those_of_the_java_producer(bed: &dyn Bed) -> anyhow::Result<()> {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../../../framework/tests/data/murmur2.json"))?;
    let vectors = vectors["murmur2"].as_array().context("a list of vectors")?;
    let topic = topic(bed, 7, &[])?;
    let mut producer = bed.log().producer()?;
    let mut partitioner = Partitioner::new();
    let mut expected = Vec::new();
    for vector in vectors {
        let hex = vector["hex"].as_str().context("the key in hex")?;
        let key = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        let key = key.collect::<Result<Vec<u8>, _>>()?;
        append(&mut *producer, &partition(&topic, partitioner.partition(Some(&key), 7)), &key, None)?;
        expected.push((key, vector["partition"]["7"].as_i64().context("its partition of 7")?));
    }
    producer.flush(DEADLINE)?;

    let partitions: Vec<_> = (0..7).map(|index| partition(&topic, index)).collect();
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &partitions)?;
    reading.until("all records", |reading| reading.seen.len() >= expected.len())?;
    let mut seen: Vec<_> =
        reading.seen.into_iter().map(|seen| (seen.key.unwrap_or_default(), i64::from(seen.partition))).collect();
    seen.sort();
    expected.sort();
    ensure!(seen == expected, "keys and partitions differ");
    Ok(())
}

/// Rules 1 and 4: 200,000 records, 8 MiB, over 4 partitions; none lost, repeated or out of order.
pub fn many_records_are_all_read(bed: &dyn Bed) -> anyhow::Result<()> {
    const RECORDS: usize = 200_000;
    let topic = topic(bed, 4, &[])?;
    let partitions: Vec<_> = (0..4).map(|index| partition(&topic, index)).collect();
    let mut producer = bed.log().producer()?;
    for number in 0..RECORDS {
        let to = &partitions[number % partitions.len()];
        append(&mut *producer, to, &number.to_be_bytes(), Some(&[number as u8; 34]))?;
        if number % 5_000 == 0 {
            producer.serve();
        }
    }
    producer.flush(DEADLINE)?;

    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &partitions)?;
    reading.until("all records", |reading| reading.seen.len() >= RECORDS)?;
    reading.linger()?;
    ensure!(reading.seen.len() == RECORDS, "{} records", reading.seen.len());
    let mut next = [0_usize, 1, 2, 3];
    for seen in &reading.seen {
        let number = &mut next[usize::try_from(seen.partition)?];
        ensure!(seen.key.as_deref() == Some(&number.to_be_bytes()), "record {number} expected, not {seen:?}");
        ensure!(seen.value.as_deref() == Some(&[*number as u8; 34]), "value of record {number}");
        *number += partitions.len();
    }
    Ok(())
}

/// Rule 8: a record just below the default limit is kept whole; one above is refused with an error that names the
/// topic.
pub fn a_record_near_the_limit_is_kept_and_a_larger_one_refused(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    let to = partition(&topic, 0);
    let mut producer = bed.log().producer()?;
    let large = noise(990_000);
    append(&mut *producer, &to, b"large", Some(&large))?;
    producer.flush(DEADLINE)?;
    let refused =
        append(&mut *producer, &to, b"too large", Some(&noise(2_000_000))).and_then(|()| producer.flush(DEADLINE));
    match refused {
        Err(LogError::RecordRefused { topic: named, .. }) => ensure!(*named == *topic, "`{named}` is named"),
        other => anyhow::bail!("a refusal expected, not {other:?}"),
    }
    write(bed, &to, numbered("small", 1))?;

    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[to])?;
    reading.until_end(1)?;
    ensure!(reading.keys(0) == ["large", "small0"], "{:?}", reading.keys(0));
    ensure!(reading.seen[0].value.as_ref() == Some(&large), "the large record is whole");
    Ok(())
}

/// Rule 8: a record that only the log refuses is reported by `flush`, and the producer goes on.
pub fn a_refused_record_is_reported_by_flush(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[("max.message.bytes", "1000")])?;
    let to = partition(&topic, 0);
    let mut producer = bed.log().producer()?;
    append(&mut *producer, &to, b"refused", Some(&noise(3_000)))?;
    ensure_error!(producer.flush(DEADLINE), LogError::RecordRefused { .. });
    append(&mut *producer, &to, b"kept", None)?;
    producer.flush(DEADLINE)?;
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[to])?;
    reading.until_end(1)?;
    ensure!(reading.keys(0) == ["kept"], "{:?}", reading.keys(0));
    Ok(())
}

/// Rule 8: after a flush a producer knows the offset of its last record in each partition.
pub fn acknowledged_is_the_offset_of_the_last_record(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 2, &[])?;
    write(bed, &partition(&topic, 1), numbered("before", 5))?;
    let mut producer = bed.log().producer()?;
    ensure!(producer.acknowledged(&topic, 1).is_none(), "nothing was appended by this producer");
    for key in numbered("k", 3) {
        append(&mut *producer, &partition(&topic, 1), key.as_bytes(), None)?;
    }
    producer.flush(DEADLINE)?;
    ensure!(producer.acknowledged(&topic, 1) == Some(7), "{:?}", producer.acknowledged(&topic, 1));
    ensure!(producer.acknowledged(&topic, 0).is_none(), "nothing was appended there");
    Ok(())
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
