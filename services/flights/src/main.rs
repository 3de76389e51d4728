//! The binary `flights`: see `flights --help`.

use std::{io, process::ExitCode};

use clap::Parser as _;
use flights::{
    cli::{Cli, Command, FeedArgs, ServeArgs},
    console::{self, Progress},
    demo::demo,
    feed::feed,
    topology::topology,
};
use millpond::{
    App,
    log::kafka::{KafkaLog, KafkaOptions},
};
use tracing::info;

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
    console::start_logging(cli.log_filter.as_deref())?;
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
    Ok(App::new(topology()?, args.config()?).run().await?)
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
