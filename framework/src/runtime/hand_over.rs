//! Open stores that go from one thread of an instance to another: to a worker when a standby is promoted, to the follower when a task
//! is active elsewhere from now on.
//!
//! The receiver is told first, and looks now and then whether the stores are there; so neither waits for the other, and whatever the
//! control thread tells one of them comes in its order.

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use crate::state::TaskStores;

/// What is handed over.
#[derive(Debug)]
pub(crate) enum HandedOver {
    /// The open stores.
    Stores(Box<TaskStores>),
    /// Nothing: they are not open, and who takes the task opens them.
    NotOpen,
    /// Nothing: the task has ended, and that was reported.
    Gone,
    /// Who gives had yet to take them itself.
    From(Taker),
}

/// Gives once. Dropped, it says that nothing is open.
#[derive(Debug, Clone)]
pub(crate) struct Giver(Sender<HandedOver>);

/// Takes once. Dropped, the stores go back to the giver, or are closed.
#[derive(Debug, Clone)]
pub(crate) struct Taker(Receiver<HandedOver>);

/// Both ends of a hand-over.
pub(crate) fn hand_over() -> (Giver, Taker) {
    let (give, take) = bounded(1);
    (Giver(give), Taker(take))
}

// === impl Giver ===

impl Giver {
    /// Gives, without waiting; nobody who takes gives it back.
    pub(crate) fn give(self, handed: HandedOver) -> Result<(), HandedOver> {
        // The one place is free: it gives once.
        self.0.try_send(handed).map_err(crossbeam_channel::TrySendError::into_inner)
    }
}

// === impl Taker ===

impl Taker {
    /// What was given; `None` as long as nothing was.
    pub(crate) fn take(&mut self) -> Option<HandedOver> {
        loop {
            match self.0.try_recv() {
                Ok(HandedOver::From(other)) => *self = other,
                Ok(handed) => return Some(handed),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => return Some(HandedOver::NotOpen),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{StateSettings, TaskId};

    fn stores() -> HandedOver {
        let opened = TaskStores::open(&StateSettings::default(), TaskId::new(0, 0), [].into());
        HandedOver::Stores(Box::new(opened.expect("stores in memory")))
    }

    #[test]
    fn what_is_given_is_taken_even_through_others() {
        let ((first, mut of_first), (second, mut of_second)) = (hand_over(), hand_over());
        assert!(of_first.take().is_none(), "nothing is given yet");
        assert!(second.give(HandedOver::From(of_first)).is_ok());
        assert!(of_second.take().is_none(), "who gives has nothing yet");
        assert!(first.give(stores()).is_ok());
        assert!(matches!(of_second.take(), Some(HandedOver::Stores(_))));
    }

    #[test]
    fn who_is_gone_gives_and_takes_nothing() {
        let (giver, mut taker) = hand_over();
        drop(giver);
        assert!(matches!(taker.take(), Some(HandedOver::NotOpen)));
        let (giver, taker) = hand_over();
        drop(taker);
        assert!(matches!(giver.give(stores()), Err(HandedOver::Stores(_))), "it has them back");
    }
}
