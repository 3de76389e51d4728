//! Environment variables that look like settings and are none: said aloud, since a misspelt one would be ignored in silence.

use std::env;

use tracing::warn;

/// What all settings begin with.
const PREFIX: &str = "MILLPOND_";
/// The settings: those of [`millpond::Config`], and `LOG`, which is this program's.
const SETTINGS: [&str; 35] = [
    "ACCEPTABLE_RECOVERY_LAG",
    "ADVERTISED_URL",
    "APPLICATION_ID",
    "BOOTSTRAP",
    "CAPACITY",
    "COALESCE_UPDATES",
    "COMMIT_INTERVAL_MS",
    "DEAD_LETTER_TOPIC",
    "DESERIALIZATION_ERRORS",
    "DRAIN_TIMEOUT_MS",
    "GUARANTEE",
    "HTTP",
    "INSTANCE_ID",
    "INTERNAL_TOPICS",
    "LOG",
    "MAX_POLL_INTERVAL_MS",
    "MAX_TASK_IDLE_MS",
    "MAX_WARMUP_REPLICAS",
    "MEMORY_BYTES",
    "NUM_STANDBY_REPLICAS",
    "OFFSET_RESET",
    "PROCESSING_ERRORS",
    "PRODUCTION_ERRORS",
    "REPLICATION_FACTOR",
    "SESSION_TIMEOUT_MS",
    "STANDBY_REPLACEMENT_DELAY_MS",
    "STATE_CLEANUP_DELAY_MS",
    "STATE_DIR",
    "STATE_WAIT_MS",
    "SUSPICION_TIMEOUT_MS",
    "THREADS",
    "TIMESTAMPS",
    "TRANSACTION_TIMEOUT_MS",
    "WINDOW_CHANGELOG_ADDITIONAL_RETENTION_MS",
    "ZONE",
];
/// Whatever comes behind is somebody else's: settings of the Kafka client, of topics, and of the tests of millpond.
const OPEN_ENDED: [&str; 3] = ["KAFKA_", "TEST_", "TOPIC_"];

/// Warns of every variable `MILLPOND_*` that is no setting, and names the one that may be meant.
pub fn warn_of_unknown_variables() {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if let Some(nearest) = unknown(&name) {
            warn!("{name} is no setting and is ignored; the nearest that there is: {PREFIX}{nearest}");
        }
    }
}

/// The setting with the most similar name, for a variable that is none.
fn unknown(variable: &str) -> Option<&'static str> {
    let setting = variable.strip_prefix(PREFIX)?;
    if SETTINGS.contains(&setting) || OPEN_ENDED.iter().any(|prefix| setting.starts_with(prefix)) {
        return None;
    }
    SETTINGS.into_iter().min_by_key(|known| strsim::damerau_levenshtein(setting, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_told_with_the_one_that_is_meant() {
        assert_eq!(unknown("MILLPOND_COMIT_INTERVAL"), Some("COMMIT_INTERVAL_MS"));
        assert_eq!(unknown("MILLPOND_THREAD"), Some("THREADS"));
        assert_eq!(unknown("MILLPOND_"), Some("LOG"));
        for variable in ["MILLPOND_THREADS", "MILLPOND_KAFKA_SASL_USERNAME", "MILLPOND_TEST_KAFKA", "THREAD", "PATH"] {
            assert_eq!(unknown(variable), None, "{variable}");
        }
    }

    /// The framework ignores what it does not know, so the two lists can only be compared in its source.
    #[test]
    fn the_settings_are_those_of_the_framework() {
        let source = include_str!("../../../framework/src/config.rs");
        let arms = source.lines().filter_map(|line| line.trim_start().strip_prefix('"')?.split_once("\" => "));
        let mut settings: Vec<&str> = arms.map(|(name, _)| name).filter(|name| name.to_uppercase() == *name).collect();
        settings.push("LOG");
        settings.sort_unstable();
        assert_eq!(settings, SETTINGS);
    }
}
