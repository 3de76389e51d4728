//! What the descriptions of the vectors call by name.

/// The last 24 characters.
pub(super) fn keep(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(24);
    text.chars().skip(skipped).collect()
}

/// The text, or "null".
pub(super) fn or_null<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "null".to_owned(), ToString::to_string)
}

/// The joiner of most joins.
pub(super) fn plus<L: ToString, R: ToString>(left: Option<&L>, right: Option<&R>) -> String {
    format!("{}+{}", or_null(left), or_null(right))
}

/// The first character; `None` for null and for the empty text.
pub(super) fn first(text: Option<&String>) -> Option<String> {
    text?.chars().next().map(String::from)
}

/// The part before the separator; `None` for null and when there is nothing before it.
pub(super) fn before(text: Option<&String>, separator: char) -> Option<String> {
    let part = text?.split(separator).next().unwrap_or_default();
    (!part.is_empty()).then(|| part.to_owned())
}

/// The words between single spaces.
pub(super) fn words(text: Option<&String>) -> Vec<String> {
    text.map(String::as_str).unwrap_or_default().split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// How many characters.
pub(super) fn length(text: &str) -> usize {
    text.chars().count()
}

/// The aggregator of most windows: the values one behind the other.
pub(super) fn append(so_far: &str, value: Option<&String>) -> String {
    format!("{so_far}{}", or_null(value))
}
