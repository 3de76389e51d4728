//! A ledger: money that moves between accounts, so that what is lost or done twice shows.
//!
//! Sub-topology 0 reads `<prefix>-transfers`, writes a receipt for each and counts them by teller. Through a repartition topic,
//! sub-topology 1 books both sides of each transfer and writes a statement of the account after each posting. So
//!
//! * the balances of all accounts are together what was paid in, and the counts of all tellers the number of transfers;
//! * `<prefix>-receipts` has each transfer once;
//! * `<prefix>-statements` has, for each account, the first posting, the second, and so on: none left out, none twice, and each balance
//!   the one before plus the posting.

pub mod answers;
pub mod audit;
pub mod bed;
pub mod books;
pub mod client;
pub mod feeder;
pub mod observer;
pub mod rows;
pub mod watch;

use std::collections::BTreeMap;

use millpond::{
    Serdes, Topology, TopologyError,
    log::{Log, LogError, NewTopic},
};
use serde::{Deserialize, Serialize};

/// The environment variable that names a failpoint at which a `ledger` dies, counted from its start.
pub const FAILPOINT: &str = "LEDGER_FAILPOINT";
/// The environment variable that says how long, in ms, a producer of a `ledger` goes on with a record outside of transactions.
pub const DELIVERY_TIMEOUT_MS: &str = "LEDGER_DELIVERY_TIMEOUT_MS";
/// How many accounts there are.
pub const ACCOUNTS: u32 = 300;
/// How many tellers there are for [`PARTITIONS`]; more of them for more partitions, so that each has some.
pub const TELLERS: u32 = 40;
/// Tellers who count one transfer each, in which nothing moves: rows enough for a restore to make tables of them, in every partition.
pub const VISITORS: u32 = 64_000;
/// What is paid into each account at first.
pub const DEPOSIT: i64 = 1_000;
/// Partitions of each topic, and so tasks of each of the two sub-topologies, where nothing else is asked for.
pub const PARTITIONS: i32 = 4;
/// The store of balances by account.
pub const BALANCES: &str = "balances";
/// The store of counts by teller.
pub const COUNTS: &str = "transfers-by-teller";

/// How the names of visitors begin.
const VISITOR: &str = "visitor-";

/// An input: an amount goes from one account to another; without a first account it is paid in, and from an account to itself nothing moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Unique.
    pub id: u64,
    /// Where the amount comes from.
    pub from: Option<String>,
    /// Where it goes to.
    pub to: String,
    /// How much.
    pub amount: i64,
}

/// An output of each input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The transfer's.
    pub id: u64,
}

/// One side of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// The transfer's.
    pub id: u64,
    /// Whose balance changes.
    pub account: String,
    /// By how much.
    pub amount: i64,
}

/// An account after its last posting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// How many there were.
    pub postings: u64,
    /// Their sum.
    pub balance: i64,
    /// The id of the last one's transfer.
    pub last: u64,
    /// Text that follows from the rest; it gives the rows weight, so that they go to disk soon, and shows bytes that were changed there.
    pub memo: String,
}

/// What a [`Balance`] says, without its text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many postings there were.
    pub postings: u64,
    /// Their sum.
    pub balance: i64,
    /// The id of the last one's transfer.
    pub last: u64,
}

/// The names of a ledger's own topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// What their names, and those of the changelogs, begin with: the application id.
    pub prefix: String,
    /// Partitions of each, and so tasks of each of the two sub-topologies.
    pub partitions: i32,
    /// The inputs.
    pub transfers: String,
    /// An output per input.
    pub receipts: String,
    /// An output per posting.
    pub statements: String,
}

/// The topology of the ledger that has this prefix, which is its application id too.
///
/// # Errors
/// None.
pub fn topology(prefix: &str) -> Result<Topology, TopologyError> {
    let topics = Topics::of(prefix);
    let topology = Topology::builder(prefix);
    let transfers = topology.stream(&topics.transfers, Serdes::<String, Transfer>::json());
    transfers.map_values(|_, transfer| Receipt { id: transfer.id }).to(&topics.receipts);
    transfers.group_by_key().count().materialized(COUNTS).queryable();
    transfers
        .flat_map_values(|_, transfer| transfer.postings())
        .group_by(|_, posting| posting.account.clone())
        .aggregate(Balance::default, |_, posting, balance: Balance| balance.after(posting))
        .materialized(BALANCES)
        .queryable()
        .to_stream()
        .to(&topics.statements);
    topology.build()
}

/// The name of an account.
#[must_use]
pub fn account(number: u32) -> String {
    format!("account-{number:04}")
}

/// The name of a teller.
#[must_use]
pub fn teller(number: u32) -> String {
    format!("teller-{number:02}")
}

/// The name of a teller with one transfer. It is so long that the rows of one poll are enough for a table: a restore makes several.
#[must_use]
pub fn visitor(number: u32) -> String {
    format!(
        "{VISITOR}{number:06} of {:0210x}",
        u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    )
}

/// Whether a teller is a [`visitor`].
#[must_use]
pub fn is_visitor(teller: &str) -> bool {
    teller.starts_with(VISITOR)
}

// === impl Topics ===

impl Topics {
    /// Those of the ledger with this prefix, of [`PARTITIONS`] partitions.
    #[must_use]
    pub fn of(prefix: &str) -> Self {
        let name = |what: &str| format!("{prefix}-{what}");
        let (transfers, receipts, statements) = (name("transfers"), name("receipts"), name("statements"));
        Self { prefix: prefix.to_owned(), partitions: PARTITIONS, transfers, receipts, statements }
    }

    /// The same with another number of partitions.
    #[must_use]
    pub fn with_partitions(self, partitions: i32) -> Self {
        Self { partitions, ..self }
    }

    /// How many tellers write transfers.
    #[must_use]
    pub fn tellers(&self) -> u32 {
        TELLERS * self.partitions.max(PARTITIONS).unsigned_abs() / PARTITIONS.unsigned_abs()
    }

    /// Creates them.
    ///
    /// # Errors
    /// When the log refuses.
    pub fn create(&self, log: &dyn Log) -> Result<(), LogError> {
        let new = |name: &String| NewTopic {
            name: name.clone(),
            partitions: self.partitions,
            replication_factor: None,
            config: BTreeMap::new(),
        };
        log.admin()?.create_topics(&[&self.transfers, &self.receipts, &self.statements].map(new))
    }
}

// === impl Transfer ===

impl Transfer {
    /// Its sides.
    #[must_use]
    pub fn postings(&self) -> Vec<Posting> {
        if self.from.as_ref() == Some(&self.to) {
            return Vec::new();
        }
        let posting = |account: &String, amount| Posting { id: self.id, account: account.clone(), amount };
        let from = self.from.as_ref().map(|from| posting(from, -self.amount));
        from.into_iter().chain([posting(&self.to, self.amount)]).collect()
    }
}

// === impl Balance ===

impl Balance {
    /// With one more posting.
    #[must_use]
    pub fn after(&self, posting: &Posting) -> Self {
        let after = self.standing().after(posting);
        let Standing { postings, balance, last } = after;
        Self { postings, balance, last, memo: memo(after) }
    }

    /// What it says, without its text.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { postings: self.postings, balance: self.balance, last: self.last }
    }

    /// Whether its parts belong to each other.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.memo == memo(self.standing())
    }
}

// === impl Standing ===

impl Standing {
    /// With one more posting.
    #[must_use]
    pub fn after(self, posting: &Posting) -> Self {
        Self { postings: self.postings + 1, balance: self.balance + posting.amount, last: posting.id }
    }
}

/// 1 KiB that looks random, and so is hardly compressed.
fn memo(Standing { postings, balance, last }: Standing) -> String {
    let mut rng = crate::faults::Rng::new(postings ^ balance.cast_unsigned().rotate_left(20) ^ last.rotate_left(40));
    (0..64).map(|_| format!("{:016x}", rng.next())).collect()
}
