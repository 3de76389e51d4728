//! A ledger as a service: see `integration_tests::ledger`. Configured by `MILLPOND_*`; the application id is the prefix of its topics.
//!
//! It can be told where to die: by `LEDGER_FAILPOINT` counted from its start, or by a line on standard input counted from then on
//! (`commit:after:3`). It ends when standard input does, so that it does not outlive the test.

use std::{io, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use integration_tests::ledger::{DELIVERY_TIMEOUT_MS, FAILPOINT, topology};
use millpond::{
    App, Config,
    log::kafka::{KafkaLog, KafkaOptions},
    testing::{Fault, Faults, FaultyLog},
};

fn main() -> anyhow::Result<ExitCode> {
    let filter = std::env::var("MILLPOND_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().compact().with_ansi(false).with_env_filter(filter).with_writer(io::stderr).init();
    let config = Config::from_env()?;
    let prefix = config.application_id.clone().context("MILLPOND_APPLICATION_ID is not set")?;
    let mut options = KafkaOptions {
        bootstrap: config.bootstrap.clone(),
        client_id: config.instance_id.clone(),
        properties: config.kafka.clone(),
        ..KafkaOptions::default()
    };
    if let Ok(timeout) = std::env::var(DELIVERY_TIMEOUT_MS) {
        options.delivery_timeout = Duration::from_millis(timeout.parse()?);
    }
    let log = KafkaLog::open(options)?;
    let log = FaultyLog::aborting(Arc::new(log));
    let faults = log.faults();
    if let Ok(failpoint) = std::env::var(FAILPOINT) {
        faults.arm(failpoint.parse()?, Fault::Crash);
    }
    let app =
        App::new(topology(&prefix)?, config).with_log(Arc::new(log)).with_tables_watched(Arc::new(faults.clone()));
    std::thread::spawn(move || listen(&faults));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(app.run())?;
    Ok(ExitCode::SUCCESS)
}

/// Takes failpoints from standard input.
fn listen(faults: &Faults) {
    for line in io::stdin().lines() {
        match line.map_err(anyhow::Error::from).and_then(|line| Ok(line.parse()?)) {
            Ok(failpoint) => faults.arm(failpoint, Fault::Crash),
            Err(error) => tracing::error!(%error, "no failpoint"),
        }
    }
    std::process::exit(1);
}
