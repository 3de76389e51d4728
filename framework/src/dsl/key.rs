//! Keys that name rows of tables.

/// A key by which a row of a table with keys `K` can be looked up: `K` itself, or `Option<K>`, which may name none.
#[diagnostic::on_unimplemented(
    message = "keys of type `{Self}` find nothing in a table whose keys are `{K}`",
    label = "the keys of both sides of a join must be of one type",
    note = "give the stream keys of the table's type with `select_key`"
)]
pub trait KeyOf<K> {
    /// The key of the row; `None` when there is none.
    fn key(&self) -> Option<&K>;
}

impl<K> KeyOf<K> for K {
    fn key(&self) -> Option<&K> {
        Some(self)
    }
}

impl<K> KeyOf<K> for Option<K> {
    fn key(&self) -> Option<&K> {
        self.as_ref()
    }
}
