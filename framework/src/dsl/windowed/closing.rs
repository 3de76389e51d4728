//! Passing results on when their window has closed.

use std::ops::{ControlFlow, RangeInclusive};

use crate::{
    processor::{Context, ProcessError, TimedStore},
    serde::Data,
};

/// Rows that are passed on at once, at the most: more are read in pages.
const PAGE_ROWS: usize = 1000;

/// A row of a window: key, start, value, timestamp.
pub(super) type ClosedRow<K, A> = (K, i64, A, i64);

/// When windows were last looked through for those that have closed.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// The wall clock before which they are not looked through again, in ms.
    next_look_ms: i64,
}

// === impl Closing ===

impl Closing {
    /// Whether windows may have closed by `close_ms` that had not when they were last passed on; then up to which time they had.
    /// `last` is the latest time of a row that can be closed.
    ///
    /// What was passed on is part of the state, so that it is not passed on again after a restart or elsewhere.
    pub(super) fn due<K: 'static, A: 'static>(
        &mut self,
        ctx: &mut Context,
        store: &TimedStore<K, A>,
        close_ms: i64,
        last: i64,
    ) -> Result<Option<Option<i64>>, ProcessError> {
        let now_ms = ctx.wall_clock_ms();
        if now_ms < self.next_look_ms {
            return Ok(None);
        }
        self.next_look_ms = now_ms.saturating_add(ctx.emit_interval_ms());
        let since = store.closed_ms(ctx)?;
        let later = since.is_none_or(|since| since < close_ms);
        Ok((later && last >= 0).then_some(since))
    }

    /// All that was closed by `close_ms` is passed on.
    pub(super) fn closed<K: 'static, A: 'static>(
        &mut self,
        ctx: &mut Context,
        store: &TimedStore<K, A>,
        close_ms: i64,
        timestamp_ms: i64,
    ) {
        store.set_closed_ms(ctx, close_ms, timestamp_ms);
    }

    /// The next rows of windows, in the order in which they lie.
    pub(super) fn page<K: Data, A: Data>(
        ctx: &mut Context,
        store: &mut TimedStore<K, A>,
        times: RangeInclusive<i64>,
        after: Option<&(K, i64)>,
    ) -> Result<Vec<ClosedRow<K, A>>, ProcessError> {
        let mut page = Vec::new();
        store.scan_all(ctx, times, after, |key, (start_ms, _), value, timestamp_ms| {
            page.push((key, start_ms, value, timestamp_ms));
            if page.len() < PAGE_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(page)
    }
}
