//! The topics of an application: the users' must exist, the internal ones are created, and both are checked.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::internal_topics::Asked;
use crate::{
    log::{Admin, LogError, NewTopic},
    time::Clock,
    topology::InternalTopic,
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
    #[error("internal topics exist with settings that do not fit this topology: {}; change a setting with `kafka-configs.sh --alter \
        --entity-type topics --entity-name <topic> --add-config <setting>=<value>`, or delete the topics if their content is not needed any \
        more, or start the topology they belong to", list(.0))]
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

/// Creates the topics that do not exist, and checks those that do. `needed` are the same topics as the application needs them.
pub(super) fn ensure(
    admin: &mut dyn Admin,
    wanted: &[NewTopic],
    needed: &[InternalTopic],
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
        clock.sleep(LOOK_AGAIN);
    };
    let mut wrong = Vec::new();
    for (topic, needed) in wanted.iter().zip(needed) {
        let partitions = found.iter().find(|found| found.name == topic.name).map_or(0, |found| found.partitions);
        let config = admin.topic_config(&topic.name)?;
        wrong.extend(mismatches(topic, needed, partitions, &config, asked));
    }
    if wrong.is_empty() { Ok(()) } else { Err(TopicsError::Mismatch(wrong)) }
}

/// What differs between a topic as it should be and as it is.
fn mismatches(
    wanted: &NewTopic,
    needed: &InternalTopic,
    partitions: i32,
    config: &BTreeMap<String, String>,
    asked: &Asked,
) -> Vec<Mismatch> {
    let differ = |setting: &str, expected: String, found: &str| Mismatch {
        topic: wanted.name.clone(),
        setting: setting.into(),
        expected,
        found: found.into(),
    };
    let mut wrong = Vec::new();
    if partitions != wanted.partitions {
        wrong.push(differ("partitions", wanted.partitions.to_string(), &partitions.to_string()));
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
            wrong.push(differ(setting, expected.clone(), found));
        }
    }
    for least in needed.least() {
        // What is asked for is enough: then it is said already. A broker that does not tell a setting does not have it.
        let is_said = wrong.iter().any(|mismatch| mismatch.setting == least.setting);
        if let Some(found) = config.get(least.setting).filter(|found| !is_said && !least.allows(found)) {
            wrong.push(differ(least.setting, format!("{least} ({})", least.reason), found));
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

    fn config(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// What is found wrong with a topic of six partitions that has to have `own` settings.
    fn mismatches_of(own: &[(&str, &str)], partitions: i32, found: &[(&str, &str)], asked: &Asked) -> Vec<Mismatch> {
        let needed = InternalTopic { name: "app-x".into(), partitions: 6, config: config(own), asked: BTreeMap::new() };
        let wanted = NewTopic {
            name: needed.name.to_string(),
            partitions: needed.partitions,
            replication_factor: None,
            config: needed.config_with_additional_retention(1_000),
        };
        mismatches(&wanted, &needed, partitions, &config(found), asked)
    }

    const WINDOWS: &[(&str, &str)] = &[("cleanup.policy", "compact,delete"), ("retention.ms", "5000")];

    #[test]
    fn an_order_or_a_tuned_size_is_no_mismatch() {
        let found = [("cleanup.policy", "delete,compact"), ("segment.bytes", "2"), ("retention.ms", "7000")];
        assert_eq!(mismatches_of(WINDOWS, 6, &found, &Asked::new()), []);
    }

    #[test]
    fn a_mismatch_names_topic_setting_and_both_values_and_what_to_do() {
        let found = [("cleanup.policy", "delete"), ("retention.ms", "4999")];
        let error = TopicsError::Mismatch(mismatches_of(WINDOWS, 4, &found, &Asked::new())).to_string();
        for part in [
            "`app-x` has partitions=4, expected 6",
            "`app-x` has cleanup.policy=delete, expected compact,delete",
            "`app-x` has retention.ms=4999, expected 5000 or more",
            "kafka-configs.sh --alter",
            "or delete the topics",
        ] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }

    #[test]
    fn a_topic_that_keeps_too_little_does_not_fit_and_one_that_keeps_more_does() {
        let compacted: &[_] = &[("cleanup.policy", "compact")];
        let versions: &[_] = &[("cleanup.policy", "compact"), ("min.compaction.lag.ms", "9000")];
        let repartition: &[_] = &[("cleanup.policy", "delete"), ("retention.ms", "-1")];
        for (own, setting, too_little, enough) in [
            (compacted, "delete.retention.ms", "86399999", &["86400000", "86400001"][..]),
            (WINDOWS, "delete.retention.ms", "0", &["86400000"]),
            (WINDOWS, "retention.ms", "4999", &["5000", "5001", "-1"]),
            (WINDOWS, "retention.bytes", "1000000000", &["-1"]),
            (versions, "min.compaction.lag.ms", "8999", &["9000", "9001"]),
            (repartition, "retention.ms", "604800000", &["-1"]),
            (repartition, "retention.bytes", "1000000000", &["-1"]),
        ] {
            let found = |value| {
                let others = own.iter().copied().filter(|(name, _)| *name != setting);
                mismatches_of(own, 6, &others.chain([(setting, value)]).collect::<Vec<_>>(), &Asked::new())
            };
            let wrong: Vec<_> = found(too_little).into_iter().map(|it| (it.setting, it.found)).collect();
            assert_eq!(wrong, [(setting.to_owned(), too_little.to_owned())]);
            enough.iter().for_each(|value| assert_eq!(found(value), [], "{setting}={value}"));
        }
    }

    #[test]
    fn what_is_asked_for_has_to_be_so_and_is_told_once() {
        let asked = Asked::from([("app-x".to_owned(), ["retention.ms".to_owned()].into())]);
        let found =
            |ms| mismatches_of(WINDOWS, 6, &[("cleanup.policy", "compact,delete"), ("retention.ms", ms)], &asked);
        assert_eq!(found("6000"), []);
        for other in ["7000", "4999"] {
            let wrong: Vec<_> = found(other).into_iter().map(|it| (it.expected, it.found)).collect();
            assert_eq!(wrong, [("6000".to_owned(), other.to_owned())]);
        }
    }
}
