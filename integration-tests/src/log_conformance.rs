//! The conformance suite of the log port: what every adapter has to show, rule by rule (the numbers are those of the
//! contract in [`millpond::log`]).
//!
//! A case is a function over a [`Bed`]; [`log_conformance!`](crate::log_conformance!) makes a test of each case for one
//! bed. Cases share the log of their bed with others, so every name they use is [`Bed::unique`].
//!
//! | rule | cases |
//! |---|---|
//! | 1 order, 2 fidelity, 3 partitions, 8 acknowledgement | [`records`] |
//! | 4 batches, 5 end, 7 out of range | [`reading`] |
//! | 6 isolation, 10 transactions | [`transactions`] |
//! | 11 groups, 12 fencing by epoch | [`groups`] |
//! | 9 idempotence, 13 faults | [`faults`] |
//! | 14 compaction | [`compaction`] |
//! | topics and their settings | [`admin`] |
//!
//! Rule 15 (calls block) is for callers.

pub mod admin;
pub mod beds;
pub mod compaction;
pub mod faults;
pub mod groups;
pub mod reading;
pub mod records;
mod tools;
pub mod transactions;

use std::{sync::Arc, time::Duration};

use millpond::log::Log;

/// A log to run cases on, and what else they need of its surroundings.
pub trait Bed {
    /// The log.
    fn log(&self) -> Arc<dyn Log>;
    /// A name that no other case uses.
    fn unique(&self, base: &str) -> String;
    /// For how long nothing must come before a case believes that nothing will.
    fn quiet(&self) -> Duration;
    /// Lets so much of the log's time pass.
    fn pass(&self, time: Duration);
    /// Lets the log compact a topic, where that can be asked for.
    fn compact(&self, topic: &str) -> anyhow::Result<()>;
    /// Takes the log away. Only on a bed of one's own.
    fn stop_broker(&self) -> anyhow::Result<()>;
    /// Brings it back, with all it was told.
    fn start_broker(&self) -> anyhow::Result<()>;
}

/// Makes a test of every case: on the bed that the first expression gives, and for cases that take the log away on one
/// that the second gives.
#[macro_export]
macro_rules! log_conformance {
    ($shared:expr, $own:expr) => {
        $crate::log_conformance! { @cases $shared;
            admin::creating_a_topic_that_exists_is_no_error
            admin::settings_are_read_back_with_defaults
            admin::what_cannot_be_created_is_refused_by_name
            admin::deleted_topics_are_gone
            admin::deleted_records_are_gone
            compaction::the_last_record_of_each_key_stays
            compaction::a_compacted_topic_refuses_records_without_a_key
            groups::a_new_member_makes_a_generation_and_the_leader_stays
            groups::a_member_that_leaves_is_gone_at_once
            groups::a_leader_that_leaves_is_followed_by_another
            groups::a_member_that_rejoins_comes_back_as_another
            groups::a_dropped_member_is_gone_after_its_session
            groups::a_member_that_does_not_poll_is_voted_out
            groups::committed_positions_are_read_back
            groups::a_commit_with_a_stale_epoch_is_fenced
            reading::a_poll_keeps_to_its_bounds
            reading::reading_begins_where_it_was_told
            reading::the_end_is_told_whenever_it_is_reached
            reading::the_end_lies_behind_transaction_markers
            reading::a_position_that_does_not_exist_is_told
            reading::a_time_is_found
            reading::a_paused_partition_stands_still
            reading::an_unassigned_partition_brings_nothing
            reading::an_assigned_partition_can_be_moved
            records::records_are_read_in_the_order_of_their_offsets
            records::records_are_read_as_they_were_appended
            records::partitions_are_those_of_the_java_producer
            records::many_records_are_all_read
            records::a_record_near_the_limit_is_kept_and_a_larger_one_refused
            records::a_refused_record_is_reported_by_flush
            records::acknowledged_is_the_offset_of_the_last_record
            transactions::a_committed_transaction_is_visible_in_all_partitions
            transactions::an_aborted_transaction_is_never_visible
            transactions::nothing_behind_an_open_transaction_is_visible
            transactions::offsets_are_committed_with_the_transaction
            transactions::offsets_of_an_open_transaction_are_waited_for
            transactions::offsets_of_a_stale_epoch_abort_the_transaction
            transactions::a_second_producer_fences_the_first
            transactions::a_new_producer_aborts_what_a_dead_one_left_open
        }
        $crate::log_conformance! { @cases $own;
            faults::clients_go_on_when_the_log_is_back
            faults::a_transaction_survives_an_outage
        }
    };
    (@cases $bed:expr; $($module:ident :: $case:ident)*) => {
        $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                $crate::log_conformance::$module::$case(&$bed?)
            }
        )*
    };
}
