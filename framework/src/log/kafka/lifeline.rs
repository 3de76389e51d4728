//! A client that has lost all its brokers is given the bootstrap servers again.
//!
//! While no broker is registered with the controller (it stood still, or all of them were restarted), an answer about topics names
//! none. librdkafka (2.12; its issue 5301) then parts with all it knows, the bootstrap servers included, and may be left
//! without any for good: it asks nobody, and tells nobody.

use std::time::Duration;

use rdkafka::{ClientContext, client::Client, error::RDKafkaErrorCode as Code};

use super::raw;

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(5);
/// How often while brokers are away for longer: librdkafka keeps a copy of what it is given.
const LAST_INTERVAL: Duration = Duration::from_secs(15);

/// When to look next after one client.
#[derive(Debug, Default)]
pub(super) struct Lifeline {
    next: Duration,
    wait: Duration,
}

// === impl Lifeline ===

impl Lifeline {
    /// Looks, if it is time to, whether the client is connected to a broker; gives it the bootstrap servers if it is not. `false` when it
    /// was not, or when the broker does not answer within `answer` (zero: that is not waited for).
    pub(super) fn look<C: ClientContext>(
        &mut self,
        now: Duration,
        client: &Client<C>,
        bootstrap: &str,
        answer: Duration,
    ) -> bool {
        if self.wait.is_zero() {
            // It is just being connected.
            (self.next, self.wait) = (now + INTERVAL, INTERVAL);
        }
        if now < self.next {
            return true;
        }
        let reached = raw::reach(client, answer);
        let alone = reached == Err(Code::BrokerTransportFailure);
        self.wait = if alone { (self.wait * 2).clamp(INTERVAL, LAST_INTERVAL) } else { INTERVAL };
        self.next = now + self.wait;
        if alone {
            raw::add_brokers(client, bootstrap);
        }
        !alone && (answer.is_zero() || reached.is_ok())
    }
}
