//! The codes of all failures: each with one fixed status. `docs/errors.md` says what a caller may do about them.

use std::fmt;

use axum::http::StatusCode;

/// Declares [`Code`] from one table, so that no code is without its status, title and advice.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident: $status:ident, $retry:ident, $title:literal;)+) => {
        /// Why a request was not answered. A code never changes its status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The code as bodies and metrics show it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// One short sentence that is the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// After how many seconds the same request is worth another try; `None`: it will fail again.
            #[must_use]
            pub const fn retry_after_s(self) -> Option<u32> {
                match self { $(Self::$name => $retry,)+ }
            }
        }
    };
}

/// What fails now and should work soon: hand-overs, restores of small tasks and load peaks end within seconds.
const SOON: Option<u32> = Some(1);
/// What fails until somebody changes something.
const NEVER: Option<u32> = None;

codes! {
    /// The store has no entry for the key.
    NotFound: NOT_FOUND, NEVER, "the key is not in the store";
    /// No store of that name is declared queryable.
    UnknownStore: NOT_FOUND, NEVER, "there is no such store";
    /// Nothing answers at this path.
    UnknownPath: NOT_FOUND, NEVER, "there is nothing at this path";
    /// The path exists, the method does not.
    MethodNotAllowed: METHOD_NOT_ALLOWED, NEVER, "the path does not take this method";
    /// The key's text does not parse as the store's key type.
    InvalidKey: BAD_REQUEST, NEVER, "the key does not parse";
    /// The key's text is longer than this instance takes.
    KeyTooLong: URI_TOO_LONG, NEVER, "the key is too long";
    /// A header or a parameter is wrong.
    InvalidRequest: BAD_REQUEST, NEVER, "a header or a parameter is wrong";
    /// The owner is still restoring the store.
    StoreRestoring: SERVICE_UNAVAILABLE, SOON, "the store is being restored";
    /// No live instance owns the key's partition.
    NoLiveOwner: SERVICE_UNAVAILABLE, SOON, "no live instance owns the key";
    /// The owner of the key's partition could not be asked.
    OwnerUnreachable: SERVICE_UNAVAILABLE, SOON, "the owner of the key cannot be reached";
    /// The partition is on its way from one instance to another.
    OwnerChanging: SERVICE_UNAVAILABLE, SOON, "the owner of the key is changing";
    /// A forwarded request came to an instance that does not own the key. Between instances only.
    HopLimit: MISDIRECTED_REQUEST, NEVER, "a forwarded request is not forwarded again";
    /// The request's deadline passed.
    DeadlineExceeded: GATEWAY_TIMEOUT, NEVER, "the deadline passed";
    /// Too many requests are in flight on this instance.
    Overloaded: SERVICE_UNAVAILABLE, SOON, "the instance is overloaded";
    /// The instance has not yet learned its stores from the log.
    Starting: SERVICE_UNAVAILABLE, SOON, "the instance is starting";
    /// The instance is not ready to serve.
    NotReady: SERVICE_UNAVAILABLE, SOON, "the instance is not ready";
    /// The instance does not live: it should be restarted.
    NotLive: SERVICE_UNAVAILABLE, NEVER, "the instance is not alive";
    /// The owner's answer is larger than this instance passes on.
    AnswerTooLarge: BAD_GATEWAY, NEVER, "the answer is too large to be passed on";
    /// The bytes in the store do not decode as the store's declared type.
    Undecodable: INTERNAL_SERVER_ERROR, NEVER, "the stored bytes do not decode";
    /// Reading the store failed.
    StoreFailed: INTERNAL_SERVER_ERROR, NEVER, "the store cannot be read";
    /// Something failed that has no code of its own.
    Internal: INTERNAL_SERVER_ERROR, NEVER, "the instance failed";
}

// === impl Code ===

impl Code {
    /// Where the code is explained: the `type` of its problem body.
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("{}/blob/main/docs/errors.md#{}", env!("CARGO_PKG_REPOSITORY"), self.as_str().to_ascii_lowercase())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
