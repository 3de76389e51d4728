//! librdkafka's errors, by what the caller must do about them.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::{context::Trouble, raw::Failure};
use crate::log::LogError;

/// The error of a call, where `what` names the call and what it was about.
pub(super) fn log_error(what: &str, error: &KafkaError, timeout: Duration) -> LogError {
    match error {
        KafkaError::Transaction(error) => {
            let failure = Failure {
                code: error.code(),
                reason: error.string(),
                fatal: error.is_fatal(),
                retriable: error.is_retriable(),
                must_abort: error.txn_requires_abort(),
            };
            failure_error(what, failure, timeout)
        }
        KafkaError::ClientCreation(reason) | KafkaError::AdminOpCreation(reason) => {
            LogError::Refused { what: what.into(), reason: reason.clone() }
        }
        KafkaError::ClientConfig(_, reason, name, value) => {
            LogError::Refused { what: format!("{what}: Kafka property `{name}={value}`"), reason: reason.clone() }
        }
        KafkaError::AdminOp(code) => code_error(what, *code, timeout),
        error => match error.rdkafka_error_code() {
            Some(code) => code_error(what, code, timeout),
            None => LogError::Refused { what: what.into(), reason: error.to_string() },
        },
    }
}

/// The error of a call that failed with librdkafka's advice.
pub(super) fn failure_error(what: &str, failure: Failure, timeout: Duration) -> LogError {
    let Failure { code, reason, fatal, retriable, must_abort } = failure;
    let full = format!("{what}: {reason}");
    match code {
        // Also the epoch of a group that is not the present one: the producer itself is good for the next transaction.
        _ if must_abort && !fatal => LogError::Abortable { reason: full },
        code if is_fenced(code) => LogError::Fenced { reason: full },
        _ if fatal => LogError::Fatal { reason: full },
        code if is_timeout(code) => LogError::Timeout { what: what.into(), after: timeout },
        code if retriable || is_unreachable(code) => LogError::Unavailable { what: what.into(), reason },
        _ => LogError::Refused { what: what.into(), reason },
    }
}

/// The error of a call that ended with `code`.
pub(super) fn code_error(what: &str, code: Code, timeout: Duration) -> LogError {
    let what = what.to_owned();
    match code {
        code if is_timeout(code) => LogError::Timeout { what, after: timeout },
        code if is_unreachable(code) => LogError::Unavailable { what, reason: code.to_string() },
        code if is_fenced(code) => LogError::Fenced { reason: format!("{what}: {code}") },
        Code::Fatal | Code::BrokerDestroy => LogError::Fatal { reason: format!("{what}: {code}") },
        code => LogError::Refused { what, reason: code.to_string() },
    }
}

/// The error of a call about one topic.
pub(super) fn topic_error(what: &str, topic: &str, code: Code, timeout: Duration) -> LogError {
    if is_unknown_topic(code) {
        LogError::UnknownTopic { topic: topic.into() }
    } else {
        code_error(what, code, timeout)
    }
}

/// Adds the address, and what is known of the connection: a call that timed out because nobody could be reached says so.
pub(super) fn explain(error: LogError, bootstrap: &str, trouble: Option<Trouble>) -> LogError {
    match (error, trouble) {
        (LogError::Timeout { what, .. } | LogError::Unavailable { what, .. }, Some(trouble))
            if is_denied(trouble.code) =>
        {
            LogError::Refused { what: format!("{what} at {bootstrap}"), reason: trouble.reason }
        }
        (LogError::Timeout { what, .. }, Some(trouble)) => {
            LogError::Unavailable { what: format!("{what} at {bootstrap}"), reason: trouble.reason }
        }
        (LogError::Timeout { what, after }, None) => {
            LogError::Timeout { what: format!("{what} at {bootstrap}"), after }
        }
        (LogError::Unavailable { what, reason }, trouble) => {
            let reason = trouble.map_or(reason, |trouble| trouble.reason);
            LogError::Unavailable { what: format!("{what} at {bootstrap}"), reason }
        }
        (error, _) => error,
    }
}

/// The deadline has passed; the request may or may not have been carried out.
pub(super) fn is_timeout(code: Code) -> bool {
    matches!(code, Code::OperationTimedOut | Code::RequestTimedOut | Code::MessageTimedOut | Code::TimedOutQueue)
}

/// Nobody answers, or who answers cannot serve now: it will pass.
pub(super) fn is_unreachable(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::DestroyBroker
            | Code::Resolve
            | Code::NodeUpdate
            | Code::WaitingForCoordinator
            | Code::InProgress
            | Code::Retry
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotController
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::RebalanceInProgress
            | Code::KafkaStorageError
            | Code::ConcurrentTransactions
            | Code::UnknownBroker
            | Code::UnstableOffsetCommit
    )
}

/// The member, the generation or the producer is no longer the current one.
pub(super) fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::FencedInstanceId
            | Code::InvalidProducerEpoch
            | Code::ProducerFenced
            | Code::Fenced
            | Code::AssignmentLost
    )
}

/// There is no such topic. (That a topic has no such partition librdkafka says by another code.)
pub(super) fn is_unknown_topic(code: Code) -> bool {
    matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic)
}

/// The record itself is why it was not appended.
pub(super) fn is_bad_record(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::InvalidTimestamp
            | Code::InvalidRecord
    )
}

/// Credentials or certificates do not fit: nothing but changing them helps.
fn is_denied(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
    )
}
