//! The default serde of a type.

use std::{
    any::{Any, TypeId},
    sync::Arc,
};

use super::{BigEndian, Data, Json, Nullable, Raw, Serde, Utf8};

/// The serde of a type when none is given.
///
/// `String` is UTF-8; `i64`, `i32`, `u64` and `u32` are big-endian; `Vec<u8>` is taken as it is; `Option` of those is the
/// same with null; everything else is JSON.
#[must_use]
pub fn default_serde<T: Data>() -> Arc<dyn Serde<T>> {
    basic::<T, String>(Utf8)
        .or_else(|| basic::<T, i64>(BigEndian))
        .or_else(|| basic::<T, i32>(BigEndian))
        .or_else(|| basic::<T, u64>(BigEndian))
        .or_else(|| basic::<T, u32>(BigEndian))
        .or_else(|| basic::<T, Vec<u8>>(Raw))
        .unwrap_or_else(|| Arc::new(Json))
}

/// `serde` when `T` is `B`, its nullable form when `T` is `Option<B>`.
fn basic<T: Data, B: Data>(serde: impl Serde<B>) -> Option<Arc<dyn Serde<T>>> {
    if TypeId::of::<T>() == TypeId::of::<B>() {
        return Some(same_type::<B, T>(Arc::new(serde)));
    }
    if TypeId::of::<T>() == TypeId::of::<Option<B>>() {
        return Some(same_type::<Option<B>, T>(Arc::new(Nullable::new(Arc::new(serde)))));
    }
    None
}

/// Renames a type parameter that is known to be the other one.
fn same_type<A: Data, B: Data>(serde: Arc<dyn Serde<A>>) -> Arc<dyn Serde<B>> {
    let serde: Box<dyn Any> = Box::new(serde);
    *serde.downcast().expect("the caller has compared the type ids")
}
