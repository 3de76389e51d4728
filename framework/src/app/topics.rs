//! The topics of an application: the users' must exist, the internal ones are created, and both are checked.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::internal_topics::Asked;
use crate::{
    log::{Admin, LogError, NewTopic},
    time::Clock,
    topology::DELETE_RETENTION_MS,
};

/// How long a topic may take to show up after it was created.
const VISIBLE_WITHIN: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is wrong with the topics.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// The log refused or could not be reached.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Topics of the user's that the topology or the settings name do not exist.
    #[error("the application uses topics that do not exist: {}; create them, or correct their names", .0.join(", "))]
    Missing(Vec<String>),
    /// The configuration sets what the framework relies on.
    #[error("`internal_topics` sets {setting} for `{pattern}`, which `{topic}` is like: {problem}")]
    Setting {
        /// The pattern of names.
        pattern: String,
        /// A topic that is like it.
        topic: String,
        /// The setting and its value.
        setting: String,
        /// Why it cannot be.
        problem: String,
    },
    /// The configuration has settings for internal topics that there are not.
    #[error("`internal_topics` has settings for `{pattern}`, and no internal topic is like that; there are: {}", .there.join(", "))]
    NoneLike {
        /// The pattern of names.
        pattern: String,
        /// The internal topics.
        there: Vec<String>,
    },
    /// Internal topics exist with settings that do not fit.
    #[error("internal topics exist with settings that do not fit this topology: {}; \
        if their content is not needed any more delete them, else start the topology they belong to", list(.0))]
    Mismatch(Vec<Mismatch>),
}

/// A setting of a topic that is not what it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The topic.
    pub topic: String,
    /// The setting.
    pub setting: String,
    /// What it has to be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

// === impl Mismatch ===

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` has {}={}, expected {}", self.topic, self.setting, self.found, self.expected)
    }
}

fn list(mismatches: &[Mismatch]) -> String {
    mismatches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The partition counts of topics that must exist.
pub(crate) fn existing<'a>(
    admin: &mut dyn Admin,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<String, i32>, TopicsError> {
    let names: Vec<&str> = names.into_iter().collect();
    let found: BTreeMap<String, i32> =
        admin.topics(&names)?.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
    let missing: Vec<String> =
        names.iter().filter(|name| !found.contains_key(**name)).map(|name| format!("`{name}`")).collect();
    if missing.is_empty() { Ok(found) } else { Err(TopicsError::Missing(missing)) }
}

/// Creates the topics that do not exist, and checks those that do.
pub(crate) fn ensure(
    admin: &mut dyn Admin,
    wanted: &[NewTopic],
    asked: &Asked,
    clock: &dyn Clock,
) -> Result<(), TopicsError> {
    let names: Vec<&str> = wanted.iter().map(|topic| topic.name.as_str()).collect();
    let there = admin.topics(&names)?;
    let new: Vec<NewTopic> =
        wanted.iter().filter(|topic| there.iter().all(|found| found.name != topic.name)).cloned().collect();
    if !new.is_empty() {
        admin.create_topics(&new)?;
        for topic in &new {
            tracing::info!(topic = topic.name, partitions = topic.partitions, "created an internal topic");
        }
    }
    let deadline = clock.monotonic() + VISIBLE_WITHIN;
    let found = loop {
        let found = admin.topics(&names)?;
        if found.len() == names.len() {
            break found;
        }
        if clock.monotonic() > deadline {
            return Err(LogError::Timeout { what: "creating internal topics".into(), after: VISIBLE_WITHIN }.into());
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    let mut wrong = Vec::new();
    for topic in wanted {
        let partitions = found.iter().find(|found| found.name == topic.name).map_or(0, |found| found.partitions);
        let config = admin.topic_config(&topic.name)?;
        wrong.extend(mismatches(topic, partitions, &config, asked));
    }
    if wrong.is_empty() { Ok(()) } else { Err(TopicsError::Mismatch(wrong)) }
}

/// What differs between a topic as it should be and as it is. Only settings that were asked for count.
fn mismatches(wanted: &NewTopic, partitions: i32, config: &BTreeMap<String, String>, asked: &Asked) -> Vec<Mismatch> {
    let differ = |setting: &str, expected: &str, found: &str| Mismatch {
        topic: wanted.name.clone(),
        setting: setting.into(),
        expected: expected.into(),
        found: found.into(),
    };
    let mut wrong = Vec::new();
    if partitions != wanted.partitions {
        wrong.push(differ("partitions", &wanted.partitions.to_string(), &partitions.to_string()));
    }
    // State that was away is brought up to date only while its changelog remembers deletions.
    if wanted.config.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"))
        && let Some(found) = config.get("delete.retention.ms")
        && found.parse::<i64>().is_ok_and(|ms| ms < DELETE_RETENTION_MS)
    {
        wrong.push(differ("delete.retention.ms", &format!("{DELETE_RETENTION_MS} or more"), found));
    }
    for (setting, expected) in &wanted.config {
        // Sizes and times may be tuned by the operator, unless the configuration asks for them; how records are cleaned up and stamped
        // may not.
        let is_asked = asked.get(&wanted.name).is_some_and(|settings| settings.contains(setting));
        if !is_asked && !matches!(setting.as_str(), "cleanup.policy" | "message.timestamp.type") {
            continue;
        }
        let found = config.get(setting).map_or("", String::as_str);
        if normal(found) != normal(expected) {
            wrong.push(differ(setting, expected, found));
        }
    }
    wrong
}

/// `delete,compact` is `compact,delete`.
fn normal(value: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = value.split(',').map(str::trim).collect();
    parts.sort_unstable();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> NewTopic {
        let config = [("cleanup.policy", "compact,delete"), ("segment.bytes", "1")];
        NewTopic {
            name: "app-store-changelog".into(),
            partitions: 6,
            replication_factor: None,
            config: config.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    }

    #[test]
    fn an_order_or_a_tuned_size_is_no_mismatch() {
        let config = [("cleanup.policy", "delete,compact"), ("segment.bytes", "2")];
        assert_eq!(
            mismatches(&topic(), 6, &config.map(|(n, v)| (n.to_owned(), v.to_owned())).into(), &Asked::new()),
            []
        );
    }

    #[test]
    fn a_changelog_that_forgets_deletions_too_soon_does_not_fit() {
        let config = |ms: &str| {
            let settings = [("cleanup.policy", "compact,delete"), ("delete.retention.ms", ms)];
            settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        };
        assert_eq!(mismatches(&topic(), 6, &config("86400000"), &Asked::new()), []);
        assert_eq!(mismatches(&topic(), 6, &config("3600000"), &Asked::new())[0].setting, "delete.retention.ms");
    }

    #[test]
    fn a_mismatch_names_topic_setting_and_both_values() {
        let config = [("cleanup.policy".to_owned(), "delete".to_owned())].into();
        let error = TopicsError::Mismatch(mismatches(&topic(), 4, &config, &Asked::new())).to_string();
        assert!(error.contains("`app-store-changelog` has partitions=4, expected 6"), "{error}");
        assert!(error.contains("cleanup.policy=delete, expected compact,delete"), "{error}");
    }
}
