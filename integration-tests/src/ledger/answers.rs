//! What a ledger's instances answered, kept until it is checked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Balance, Standing, account,
    client::{Refused, Told},
};

/// What was answered for an account.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// When it was asked, and when the answer was there.
    pub asked: Duration,
    /// See above.
    pub answered: Duration,
    /// The account's number.
    pub account: u32,
    /// What it had; nothing when there was no such account, and `None` when the answer was not whole.
    pub standing: Option<Standing>,
    /// How old the answer may be, as it says itself.
    pub staleness: Duration,
    /// Whether an active task gave it.
    pub active: bool,
    at: u16,
    served_by: u16,
}

/// Answers as they come. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Answers(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    names: Vec<String>,
    answers: Vec<Answer>,
    refused: BTreeMap<String, u64>,
}

// === impl Answers ===

impl Answers {
    /// Keeps what the instance at this address said about an account, which it was asked and which was there at these times.
    pub fn keep(&self, at: &str, number: u32, asked: Duration, answered: Duration, told: &Result<Told, Refused>) {
        let mut kept = self.kept();
        match told {
            Ok(told) => {
                let (at, served_by) = (kept.name(at), kept.name(&told.served_by));
                let Told { active, staleness, .. } = *told;
                let standing = standing(told);
                kept.answers.push(Answer {
                    asked,
                    answered,
                    account: number,
                    standing,
                    staleness,
                    active,
                    at,
                    served_by,
                });
            }
            Err(refused) => *kept.refused.entry(refused.to_string()).or_default() += 1,
        }
    }

    /// Takes those out that were there before this time, in the order of that.
    pub(super) fn take_before(&self, time: Duration) -> Vec<Answer> {
        let mut kept = self.kept();
        let (mut taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut kept.answers).into_iter().partition(|answer| answer.answered < time);
        kept.answers = left;
        drop(kept);
        taken.sort_by_key(|answer| answer.answered);
        taken
    }

    /// How often there was no answer so far, by the reason.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<String, u64> {
        self.kept().refused.clone()
    }

    /// An answer for people.
    pub(super) fn show(&self, answer: &Answer) -> String {
        let kept = self.kept();
        let name = |name: u16| kept.names[usize::from(name)].as_str();
        let role = if answer.active { "active" } else { "standby" };
        format!(
            "{} is {:?}, said by {} ({role}, {:?} old at most), asked at {} at {:?}, answered at {:?}",
            account(answer.account),
            answer.standing,
            name(answer.served_by),
            answer.staleness,
            name(answer.at),
            answer.asked,
            answer.answered
        )
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn standing(told: &Told) -> Option<Standing> {
    // That there is no such account is an answer too, and after the first deposit one that is out of date.
    let Some(value) = &told.value else { return Some(Standing::default()) };
    let balance: Balance = serde_json::from_str(value.get()).ok()?;
    balance.is_whole().then(|| balance.standing())
}

// === impl Kept ===

impl Kept {
    /// The number of a name; there are few.
    fn name(&mut self, name: &str) -> u16 {
        let known = self.names.iter().position(|known| known == name);
        let number = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        u16::try_from(number).unwrap_or(u16::MAX)
    }
}
