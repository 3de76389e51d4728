//! Functions of users that may fail.

use std::{any::type_name, error::Error, sync::Arc};

use crate::processor::ProcessError;

/// Any error of a user's function.
type AnyError = Box<dyn Error + Send + Sync>;

/// An error of a user's function: whatever `?` turns into a `Box<dyn Error + Send + Sync>`, texts included.
pub trait UserError: Into<AnyError> {}

// === impl UserError ===

impl<E: Into<AnyError>> UserError for E {}

/// The error of a node whose function failed.
#[cold]
pub(super) fn failed<E: UserError>(node: &Arc<str>, error: E) -> ProcessError {
    ProcessError::User { node: Arc::clone(node), class: type_name::<E>(), source: error.into() }
}
