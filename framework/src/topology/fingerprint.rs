//! A short text for a long one, stable over versions of this program.

/// 64-bit FNV-1a in hex. Not for secrets: it tells topologies apart.
pub(super) fn of(text: &str) -> String {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = text.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_fnv_1a() {
        assert_eq!(super::of(""), "cbf29ce484222325");
        assert_eq!(super::of("a"), "af63dc4c8601ec8c");
    }
}
