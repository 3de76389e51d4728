//! The books of a ledger as its topics have them, and what must hold of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use millpond::{
    config::Guarantee,
    log::{Batch, Isolation, Log, ReadFrom, Reader, TopicPartition},
    state::TaskId,
    time::{Clock as _, SystemClock},
};

use super::{BALANCES, Balance, COUNTS, DEPOSIT, Receipt, Standing, Topics, Transfer};

/// The books: what can be read of the topics, committed records only.
#[derive(Debug)]
pub struct Books {
    reader: Box<dyn Reader>,
    topics: Topics,
    balances_changelog: String,
    counts_changelog: String,
    guarantee: Guarantee,
    clock: SystemClock,
    page: Page,
}

/// An account after one of its postings, as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// What it says.
    pub standing: Standing,
    /// When it was read.
    pub seen: Duration,
}

/// What was read so far.
#[derive(Debug, Default)]
pub struct Page {
    /// By id.
    pub transfers: BTreeMap<u64, Transfer>,
    /// How often each transfer has a receipt.
    pub receipts: BTreeMap<u64, u64>,
    /// By account, in the order of the topic.
    pub statements: BTreeMap<String, Vec<Statement>>,
    /// When receipts and statements came, by the task that wrote them: that of sub-topology 0 or 1.
    pub arrivals: BTreeMap<TaskId, Vec<Duration>>,
    /// Latest by account, from the changelog.
    pub balances: BTreeMap<String, Balance>,
    /// Latest by teller, from the changelog.
    pub counts: BTreeMap<String, i64>,
    /// By teller, from the inputs.
    pub by_teller: BTreeMap<String, i64>,
    /// By account, from the inputs: how many postings, and their sum.
    pub expected: BTreeMap<String, (u64, i64)>,
    receipts_read: u64,
    statements_read: u64,
    postings: u64,
    /// The first statement whose parts do not belong to each other.
    garbled: Option<String>,
}

/// How far a ledger is: transfers and postings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// That were fed.
    pub fed: (u64, u64),
    /// That have their receipts and statements; at least once, some of them twice.
    pub done: (u64, u64),
}

/// Records per poll.
const POLL_RECORDS: usize = 20_000;
/// How long a poll waits for more.
const POLL: Duration = Duration::from_millis(50);

// === impl Books ===

impl Books {
    /// The books of the ledger that has these topics; its changelogs must exist. Whoever compares times with those of others gives their clock.
    ///
    /// # Errors
    /// When the log refuses.
    pub fn open(log: &dyn Log, topics: &Topics, guarantee: Guarantee, clock: SystemClock) -> anyhow::Result<Self> {
        let topics = topics.clone();
        let changelog = |store: &str| format!("{}-{store}-changelog", topics.prefix);
        let (balances_changelog, counts_changelog) = (changelog(BALANCES), changelog(COUNTS));
        let mut reader = log.reader(Isolation::ReadCommitted)?;
        for topic in [&topics.transfers, &topics.receipts, &topics.statements, &balances_changelog, &counts_changelog] {
            let topic: Arc<str> = topic.as_str().into();
            for partition in 0..topics.partitions {
                reader.assign(&TopicPartition::new(Arc::clone(&topic), partition), ReadFrom::Beginning)?;
            }
        }
        Ok(Self { reader, topics, balances_changelog, counts_changelog, guarantee, clock, page: Page::default() })
    }

    /// What was promised of them.
    #[must_use]
    pub fn guarantee(&self) -> Guarantee {
        self.guarantee
    }

    /// What was read.
    #[must_use]
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// Reads what there is.
    ///
    /// # Errors
    /// When the log refuses, or a record cannot be read.
    pub fn read(&mut self) -> anyhow::Result<()> {
        while self.read_some(POLL)? {}
        Ok(())
    }

    /// Waits so long for something, and reads it; says whether there was any.
    ///
    /// # Errors
    /// As for [`Books::read`].
    pub fn read_some(&mut self, wait: Duration) -> anyhow::Result<bool> {
        let fetched = self.reader.poll(POLL_RECORDS, wait)?;
        for batch in &fetched.batches {
            self.take(batch).with_context(|| format!("reading {}", batch.source()))?;
        }
        Ok(!fetched.batches.is_empty())
    }

    fn take(&mut self, batch: &Batch) -> anyhow::Result<()> {
        let (page, seen) = (&mut self.page, self.clock.monotonic());
        let source = batch.source();
        let written_by = [&self.topics.receipts, &self.topics.statements].map(|topic| **topic == *source.topic);
        if let Some(sub_topology) = written_by.iter().position(|it| *it) {
            let task = TaskId::new(u32::try_from(sub_topology)?, source.partition);
            page.arrivals.entry(task).or_default().push(seen);
        }
        for record in batch.iter() {
            let key = String::from_utf8(record.key.context("a record has no key")?.to_vec())?;
            let value = record.value.context("a record has no value")?;
            match &*batch.source().topic {
                topic if topic == self.topics.transfers => page.put_transfer(&key, serde_json::from_slice(value)?)?,
                topic if topic == self.topics.receipts => {
                    let Receipt { id } = serde_json::from_slice(value)?;
                    *page.receipts.entry(id).or_default() += 1;
                    page.receipts_read += 1;
                }
                topic if topic == self.topics.statements => {
                    let balance: Balance = serde_json::from_slice(value)?;
                    if !balance.is_whole() {
                        page.garbled.get_or_insert_with(|| format!("a statement of {key} is garbled: {balance:?}"));
                    }
                    page.statements.entry(key).or_default().push(Statement { standing: balance.standing(), seen });
                    page.statements_read += 1;
                }
                topic if topic == self.balances_changelog => {
                    page.balances.insert(key, serde_json::from_slice(value)?);
                }
                topic => {
                    ensure!(topic == self.counts_changelog, "nobody asked for {topic}");
                    page.counts.insert(key, i64::from_be_bytes(value.try_into()?));
                }
            }
        }
        Ok(())
    }

    /// Whether everything that was fed has come out at all ends.
    #[must_use]
    pub fn are_settled(&self) -> bool {
        let page = &self.page;
        let settled = page.receipts.len() >= page.transfers.len()
            && page.receipts_read >= page.transfers.len() as u64
            && page.statements_read >= page.postings;
        // At least once, what was done twice makes up for what is not done yet: all that is checked has to be right.
        settled && self.stores_agree().is_ok() && (self.guarantee == Guarantee::ExactlyOnce || self.check().is_ok())
    }

    /// What is missing until they are settled, for a message.
    #[must_use]
    pub fn missing(&self) -> String {
        let page = &self.page;
        format!(
            "{} transfers, {} receipts of {}; {} postings, {} statements; {}",
            page.transfers.len(),
            page.receipts_read,
            page.receipts.len(),
            page.postings,
            page.statements_read,
            self.check().err().map_or("all is right".into(), |error| format!("{error:#}")),
        )
    }

    /// Whether nothing was done twice so far; of at least once, whether what came out is at all possible.
    ///
    /// # Errors
    /// Names the first record that is wrong.
    pub fn check_outputs(&self) -> anyhow::Result<()> {
        let page = &self.page;
        for (id, count) in &page.receipts {
            ensure!(page.transfers.contains_key(id), "a receipt of transfer {id}, which is none");
            ensure!(*count == 1 || self.guarantee == Guarantee::AtLeastOnce, "transfer {id} has {count} receipts");
        }
        if let Some(garbled) = &page.garbled {
            bail!("{garbled}");
        }
        for (account, statements) in &page.statements {
            if self.guarantee == Guarantee::ExactlyOnce {
                page.check_chain(account, statements)?;
            }
        }
        Ok(())
    }

    /// Whether all is right: nothing lost, and nothing done twice (exactly once). Call it when they are settled.
    ///
    /// # Errors
    /// Names the first thing that is wrong.
    pub fn check(&self) -> anyhow::Result<()> {
        self.check_outputs()?;
        let page = &self.page;
        if let Some(id) = page.transfers.keys().find(|id| !page.receipts.contains_key(id)) {
            bail!("transfer {id} has no receipt");
        }
        self.stores_agree()?;
        for (account, balance) in &page.balances {
            ensure!(balance.is_whole(), "the balance of {account} is garbled: {balance:?}");
            let statements = page.statements.get(account).map_or(&[][..], Vec::as_slice);
            let told = match self.guarantee {
                Guarantee::ExactlyOnce => statements.last().is_some_and(|last| last.standing == balance.standing()),
                // What a producer that was given up still had under way may have come in behind it.
                Guarantee::AtLeastOnce => statements.iter().any(|one| one.standing == balance.standing()),
            };
            let last = statements.last();
            ensure!(told, "{account}: the changelog has {balance:?}, the last statement {last:?}");
        }
        if self.guarantee == Guarantee::ExactlyOnce {
            let paid_in = page.transfers.values().filter(|transfer| transfer.from.is_none()).count();
            let (total, counted) =
                (page.balances.values().map(|balance| balance.balance).sum::<i64>(), page.counts.values().sum::<i64>());
            let paid_in = i64::try_from(paid_in)? * DEPOSIT;
            ensure!(total == paid_in, "all balances are {total}, and {paid_in} was paid in");
            let transfers = page.transfers.len();
            ensure!(counted == i64::try_from(transfers)?, "{counted} transfers were counted, of {transfers}");
        }
        Ok(())
    }

    /// Whether the changelogs have what follows from the inputs, or more with at least once.
    fn stores_agree(&self) -> anyhow::Result<()> {
        let page = &self.page;
        for (teller, expected) in &page.by_teller {
            let got = page.counts.get(teller).copied().unwrap_or(0);
            self.agree(teller, &got, expected)?;
        }
        for (account, (postings, balance)) in &page.expected {
            let got = page.balances.get(account).cloned().unwrap_or_default();
            self.agree(account, &got.postings, postings)?;
            if self.guarantee == Guarantee::ExactlyOnce {
                self.agree(account, &got.balance, balance)?;
            }
        }
        Ok(())
    }

    fn agree<T: PartialOrd + Debug>(&self, key: &str, got: &T, expected: &T) -> anyhow::Result<()> {
        let agree = match self.guarantee {
            Guarantee::ExactlyOnce => got == expected,
            Guarantee::AtLeastOnce => got >= expected,
        };
        ensure!(agree, "{key}: the changelog has {got:?}, and {expected:?} follows from the inputs");
        Ok(())
    }
}

// === impl Page ===

impl Page {
    /// How much was fed, and how much of it is done: transfers with their receipts, postings with their statements.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { fed: (self.transfers.len() as u64, self.postings), done: (self.receipts_read, self.statements_read) }
    }

    fn put_transfer(&mut self, teller: &str, transfer: Transfer) -> anyhow::Result<()> {
        *self.by_teller.entry(teller.to_owned()).or_default() += 1;
        for posting in transfer.postings() {
            let (postings, balance) = self.expected.entry(posting.account).or_default();
            *postings += 1;
            *balance += posting.amount;
            self.postings += 1;
        }
        let id = transfer.id;
        ensure!(self.transfers.insert(id, transfer).is_none(), "the feeder wrote transfer {id} twice");
        Ok(())
    }

    /// The statements of an account are 1, 2, 3, ..., each of another transfer, each the balance before with that transfer's posting.
    fn check_chain(&self, account: &str, statements: &[Statement]) -> anyhow::Result<()> {
        let (mut before, mut seen) = (Standing::default(), BTreeSet::new());
        for Statement { standing: statement, .. } in statements {
            let id = statement.last;
            let transfer = self.transfers.get(&id).with_context(|| format!("{account}: there is no transfer {id}"))?;
            let posting = transfer.postings().into_iter().find(|posting| posting.account == account);
            let posting = posting.with_context(|| format!("{account} has no part in {transfer:?}"))?;
            let expected = before.after(&posting);
            ensure!(*statement == expected, "{account}: after {before:?} comes {statement:?}, not {expected:?}");
            ensure!(seen.insert(id), "{account}: transfer {id} was posted twice");
            before = expected;
        }
        Ok(())
    }
}
