//! Which partition a key belongs to: murmur2, bit for bit as the Java producer computes it.

/// Chooses partitions as `BuiltInPartitioner.partitionForKey` does (`murmur2_random` in librdkafka's terms).
///
/// Records without a key go round robin; a key always has the same partition.
#[derive(Debug, Default)]
pub struct Partitioner {
    next: u32,
}

// === impl Partitioner ===

impl Partitioner {
    /// A partitioner that starts its round of keyless records at partition 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The partition for a record.
    pub fn partition(&mut self, key: Option<&[u8]>, partitions: i32) -> i32 {
        match key {
            Some(key) => Self::for_key(key, partitions),
            None => {
                self.next = self.next.wrapping_add(1);
                (self.next.wrapping_sub(1) & 0x7fff_ffff) as i32 % partitions.max(1)
            }
        }
    }

    /// The partition of a key. Where to look for it, and where it was written.
    #[must_use]
    pub fn for_key(key: &[u8], partitions: i32) -> i32 {
        (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
    }
}

/// Kafka's 32-bit murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`).
#[must_use]
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    let mut h = SEED ^ (data.len() as u32);
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    h as i32
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn keys_hash_and_go_where_the_java_producer_sends_them() {
        // Captured from Kafka's own classes: see the note in the file.
        let vectors: Value = serde_json::from_str(include_str!("../../tests/data/murmur2.json")).expect("valid JSON");
        let vectors = vectors["murmur2"].as_array().expect("a list");
        assert!(vectors.len() > 100, "only {} vectors", vectors.len());
        for vector in vectors {
            let key = from_hex(vector["hex"].as_str().expect("hex"));
            assert_eq!(i64::from(murmur2(&key)), vector["murmur2"].as_i64().expect("a number"), "{vector}");
            for (partitions, partition) in vector["partition"].as_object().expect("a map") {
                let partitions: i32 = partitions.parse().expect("a number");
                let partition = partition.as_i64().expect("a number");
                assert_eq!(i64::from(Partitioner::for_key(&key, partitions)), partition, "{vector} of {partitions}");
                assert_eq!(
                    Partitioner::new().partition(Some(&key), partitions),
                    Partitioner::for_key(&key, partitions)
                );
            }
        }
    }

    #[test]
    fn records_without_a_key_go_round() {
        let mut partitioner = Partitioner::new();
        let round: Vec<i32> = (0..7).map(|_| partitioner.partition(None, 3)).collect();
        assert_eq!(round, [0, 1, 2, 0, 1, 2, 0]);
        let mut at_wrap = Partitioner { next: u32::MAX };
        let round: Vec<i32> = (0..4).map(|_| at_wrap.partition(None, 3)).collect();
        assert!(round.iter().all(|partition| (0..3).contains(partition)), "{round:?}");
    }

    fn from_hex(hex: &str) -> Vec<u8> {
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
        (0..hex.len()).step_by(2).map(digits).collect()
    }
}
