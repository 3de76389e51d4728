//! The binary `flights`: see `flights --help`.

use std::{io, process::ExitCode};

use clap::Parser as _;
use flights::{
    cli::{Cli, Command, FeedArgs, ServeArgs},
    console::{self, Progress},
    demo::demo,
    environment::warn_of_unknown_variables,
    feed::feed,
    topology::topology,
};
use millpond::{
    App,
    log::kafka::{KafkaLog, KafkaOptions},
};
use tracing::{info, warn};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("flights: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    console::start_logging(cli.log_filter())?;
    match cli.command {
        Command::Feed(args) => feed_kafka(&args).map(|()| ExitCode::SUCCESS),
        Command::Serve(args) => runtime()?.block_on(serve(&args)).map(|()| ExitCode::SUCCESS),
        Command::Demo(args) => {
            let right = runtime()?.block_on(demo(&args, &mut io::stdout()))?;
            Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    warn_of_unknown_variables();
    let config = args.config()?;
    if config.advertised_url.is_none() && config.http.ip().is_unspecified() {
        let (http, url) = (config.http, config.url());
        warn!("listening on {http}: others are told to ask {url}; if that is not this machine, say --advertised-url");
    }
    Ok(App::new(topology()?, config).run().await?)
}

fn feed_kafka(args: &FeedArgs) -> anyhow::Result<()> {
    let config = args.config()?;
    let options = args.options(&config);
    let log = KafkaLog::connect(KafkaOptions {
        bootstrap: config.bootstrap,
        client_id: "flights-feed".into(),
        properties: config.kafka,
        ..KafkaOptions::default()
    })?;
    let mut progress = Progress::new();
    let report = feed(&log, &options, |now| progress.set(&format!("feeding {}", now.topic), now.written, now.total))?;
    progress.finish();
    info!(records = report.records(), seconds = report.elapsed.as_secs_f32(), "fed");
    Ok(())
}
