//! Whether answers were right: of states that were committed, and never older than they say.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{bail, ensure};
use millpond::config::Guarantee;

use super::{
    Standing, account,
    answers::{Answer, Answers},
    books::Page,
};

/// `staleness_ms` is in whole ms.
const STALENESS_UNIT: Duration = Duration::from_millis(1);

/// Checks answers bit by bit.
#[derive(Debug)]
pub struct Audit {
    answers: Answers,
    guarantee: Guarantee,
    /// By account: from when on how many postings are the least, of what active tasks answered.
    active: BTreeMap<u32, Vec<Floor>>,
    /// The same of what standbys answered.
    standby: BTreeMap<u32, Vec<Floor>>,
    /// Of commits that were not read yet.
    waiting: Vec<Answer>,
    checked: Checked,
}

/// What was checked, and found right.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// All answers.
    pub answers: u64,
    /// Those of standbys.
    pub of_standbys: u64,
    /// How often there was none, by the reason.
    pub refused: BTreeMap<String, u64>,
}

/// From when on an account has so many postings.
#[derive(Debug, Clone, Copy)]
struct Floor {
    postings: u64,
    answer: Answer,
}

// === impl Audit ===

impl Audit {
    /// Nothing is checked yet.
    #[must_use]
    pub fn new(answers: Answers, guarantee: Guarantee) -> Self {
        let (active, standby) = (BTreeMap::new(), BTreeMap::new());
        Self { answers, guarantee, active, standby, waiting: Vec::new(), checked: Checked::default() }
    }

    /// Checks what was answered before this time, which has to be a second ago, so that nobody is about to keep an answer of before. What
    /// the books do not have yet waits for the next time.
    ///
    /// # Errors
    /// Shows the first answer that is wrong.
    pub fn check(&mut self, page: &Page, before: Duration) -> anyhow::Result<()> {
        let answers = self.answers.take_before(before);
        for answer in &answers {
            let floors = if answer.active { &mut self.active } else { &mut self.standby };
            let floors = floors.entry(answer.account).or_default();
            let postings = answer.standing.unwrap_or_default().postings;
            if floors.last().is_none_or(|last| last.postings < postings) {
                floors.push(Floor { postings, answer: *answer });
            }
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        for answer in &answers {
            self.checked.answers += 1;
            self.checked.of_standbys += u64::from(!answer.active);
            if !self.is_committed(answer, page)? {
                waiting.push(*answer);
            }
        }
        for answer in waiting {
            if !self.is_committed(&answer, page)? {
                self.waiting.push(answer);
            }
        }
        if self.guarantee == Guarantee::ExactlyOnce {
            self.are_as_new_as_they_say(&answers, page)?;
        }
        Ok(())
    }

    /// Checks all answers, when nobody asks any more and the books have everything.
    ///
    /// # Errors
    /// As for [`Audit::check`].
    pub fn finish(mut self, page: &Page) -> anyhow::Result<Checked> {
        self.check(page, Duration::MAX)?;
        if let Some(answer) = self.waiting.first() {
            bail!("answered, and never committed: {}", self.answers.show(answer));
        }
        self.checked.refused = self.answers.refused();
        Ok(self.checked)
    }

    /// Whether an answer is of a commit; not when there is none of its kind yet.
    fn is_committed(&self, answer: &Answer, page: &Page) -> anyhow::Result<bool> {
        let Some(standing) = answer.standing else { bail!("garbled: {}", self.answers.show(answer)) };
        if standing == Standing::default() {
            return Ok(true);
        }
        let statements = page.statements.get(&account(answer.account)).map_or(&[][..], Vec::as_slice);
        if self.guarantee == Guarantee::AtLeastOnce {
            return Ok(statements.iter().any(|statement| statement.standing == standing));
        }
        let nth = usize::try_from(standing.postings)?.checked_sub(1);
        let Some(statement) = nth.and_then(|nth| statements.get(nth)) else { return Ok(false) };
        let told = self.answers.show(answer);
        ensure!(statement.standing == standing, "never committed: {told}; committed was {:?}", statement.standing);
        Ok(true)
    }

    fn are_as_new_as_they_say(&self, answers: &[Answer], page: &Page) -> anyhow::Result<()> {
        let mut stale = Vec::new();
        for answer in answers {
            let postings = answer.standing.unwrap_or_default().postings;
            let of = answer.asked.saturating_sub(answer.staleness + STALENESS_UNIT);
            let owners = self.active.get(&answer.account).and_then(|floors| last_before(floors, of));
            if let Some(newer) = owners.filter(|newer| newer.postings > postings) {
                stale.push((answer, format!("before was {}", self.answers.show(&newer.answer))));
                continue;
            }
            let copies = self.standby.get(&answer.account).and_then(|floors| last_before(floors, of));
            if let Some(newer) = copies.filter(|newer| newer.postings > postings) {
                stale.push((answer, format!("before was {}", self.answers.show(&newer.answer))));
                continue;
            }
            let statements = page.statements.get(&account(answer.account)).map_or(&[][..], Vec::as_slice);
            let committed = statements.partition_point(|statement| statement.seen < of);
            if committed as u64 > postings {
                stale.push((answer, format!("before was committed {:?}", statements[committed - 1])));
            }
        }
        if let (Some((first, newer)), Some((last, _))) = (stale.first(), stale.last()) {
            bail!(
                "{} answers within {:?} are older than they say; the first: {}; {newer}",
                stale.len(),
                last.answered.saturating_sub(first.asked),
                self.answers.show(first)
            );
        }
        Ok(())
    }
}

/// The floor of that time. Floors are in the order of their times.
fn last_before(floors: &[Floor], time: Duration) -> Option<&Floor> {
    floors[..floors.partition_point(|floor| floor.answer.answered < time)].last()
}

#[cfg(test)]
mod tests {
    use millpond::config::Guarantee::ExactlyOnce;
    use serde_json::value::RawValue;

    use super::*;
    use crate::ledger::{Balance, Posting, books::Statement, client::Told};

    const SECOND: Duration = Duration::from_secs(1);

    fn balance(postings: u64) -> Balance {
        let posting = |id| Posting { id, account: account(0), amount: 5 };
        (0..postings).fold(Balance::default(), |balance, id| balance.after(&posting(id)))
    }

    /// What is wrong with answers (asked at, postings, by an active task, staleness, all in seconds) when each of four postings was committed in its second.
    fn wrong(answers: &[(u32, u64, bool, u32)]) -> anyhow::Result<Option<String>> {
        let mut page = Page::default();
        let statement = |nth: u64| Statement { standing: balance(nth).standing(), seen: SECOND * nth as u32 };
        page.statements.insert(account(0), (1..=4).map(statement).collect());
        let kept = Answers::default();
        for (at, postings, active, staleness) in answers {
            let value = Some(RawValue::from_string(serde_json::to_string(&balance(*postings))?)?);
            let told = Told { value, served_by: "a".into(), active: *active, staleness: SECOND * *staleness };
            kept.keep("a", 0, SECOND * *at, SECOND * *at + SECOND / 10, &Ok(told));
        }
        Ok(Audit::new(kept, ExactlyOnce).finish(&page).err().map(|error| error.to_string()))
    }

    #[test]
    fn answers_are_never_older_than_they_say() -> anyhow::Result<()> {
        assert_eq!(wrong(&[(1, 1, true, 0), (2, 2, true, 0), (4, 3, false, 0)])?, None);
        let older = wrong(&[(2, 2, true, 0), (4, 1, true, 0)])?.unwrap_or_default();
        assert!(older.contains("before was account-0000"), "{older}");
        assert_eq!(wrong(&[(2, 2, true, 0), (4, 1, false, 2)])?, None, "it says so");
        assert!(wrong(&[(2, 2, true, 0), (5, 1, false, 2)])?.is_some(), "it is even older");
        assert!(wrong(&[(2, 2, false, 0), (3, 1, true, 0)])?.is_some(), "a follower was faster");
        assert_eq!(wrong(&[(2, 2, false, 0), (3, 1, true, 2)])?, None, "its commit has been under way for so long");
        assert!(wrong(&[(6, 2, true, 0)])?.is_some(), "it was committed");
        assert!(wrong(&[(2, 5, true, 0)])?.is_some_and(|wrong| wrong.contains("never committed")));
        Ok(())
    }
}
