//! murmur3 with 128 bits for 64-bit machines, with the seed of Kafka Streams: tells values of rows apart.

/// A hash: two numbers, big-endian, as they are written to topics.
pub(super) type Hash = [u8; 16];

const SEED: u64 = 104_729;
const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The hash of bytes (`org.apache.kafka.streams.state.internals.Murmur3.hash128`).
pub(super) fn hash128(data: &[u8]) -> Hash {
    let (mut h1, mut h2) = (SEED, SEED);
    let mut blocks = data.chunks_exact(16);
    for block in &mut blocks {
        let (k1, k2) = words(block);
        h1 ^= scramble1(k1);
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= scramble2(k2);
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let rest = blocks.remainder();
    if !rest.is_empty() {
        let mut block = [0; 16];
        block[..rest.len()].copy_from_slice(rest);
        // Words of nothing but zeros change nothing, as if they were not there.
        let (k1, k2) = words(&block);
        h2 ^= scramble2(k2);
        h1 ^= scramble1(k1);
    }
    let length = data.len() as u64;
    (h1, h2) = (h1 ^ length, h2 ^ length);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2) = (avalanche(h1), avalanche(h2));
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    ((u128::from(h1) << 64) | u128::from(h2)).to_be_bytes()
}

/// The two little-endian words of a block of 16 bytes.
fn words(block: &[u8]) -> (u64, u64) {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte));
    (word(&block[..8]), word(&block[8..]))
}

fn scramble1(word: u64) -> u64 {
    word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn scramble2(word: u64) -> u64 {
    word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn avalanche(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
