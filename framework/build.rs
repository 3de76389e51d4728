//! Mends one function of librdkafka 2.12, which may read memory that nobody wrote (its issue 5280, open there).
//!
//! A broker that has just come back answers a fetch with the new leaders of some partitions, and with none (-1) for others.
//! `rd_kafka_handle_Fetch_metadata_update` counts them all and fills in those that have one; what applies them takes the rest for
//! partitions too, and the process ends by a signal. Here that function's file is compiled again, with the count that is
//! true, and linked in front of librdkafka's own: an archive's member is only taken for symbols that are still missing.
//!
//! Nothing is done where librdkafka is linked dynamically or built by CMake, or is another one whose source has no such lines. Where the
//! compiler fails a warning says so, and librdkafka stays as it is.

use std::{env, error::Error, fs, path::PathBuf};

/// The end of the loop that fills in the partitions of one topic, and what follows it.
const FLAWED: &str = "changed_partition++;
                        }
                        changed_topic++;";

const MENDED: &str = "changed_partition++;
                        }
                        md->topics[changed_topic].partition_cnt = changed_partition;
                        changed_topic++;";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    // Where rdkafka-sys has built it, with its configuration.
    let Some(root) = env::var_os("DEP_RDKAFKA_ROOT").map(PathBuf::from) else { return Ok(()) };
    let sources = root.join("src");
    let Ok(source) = fs::read_to_string(sources.join("rdkafka_fetcher.c")) else { return Ok(()) };
    if source.matches(FLAWED).count() != 1 {
        return Ok(());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is missing: this is not run by cargo")?);
    let mended = out.join("rdkafka_fetcher.c");
    fs::write(&mended, source.replace(FLAWED, MENDED))?;
    let mut build = cc::Build::new();
    build.file(&mended).include(&sources).warnings(false).cargo_metadata(false);
    // Where the headers of its own dependencies are.
    let config = fs::read_to_string(root.join("Makefile.config")).unwrap_or_default();
    let flags = config.lines().filter(|line| line.starts_with("CFLAGS") || line.starts_with("CPPFLAGS"));
    for flag in flags.flat_map(str::split_whitespace).filter(|flag| flag.starts_with("-I") || flag.starts_with("-D")) {
        build.flag(flag);
    }
    if let Err(error) = build.try_compile("millpond_rdkafka_fetcher") {
        println!("cargo:warning=librdkafka is not mended (its issue 5280), as a file of it did not compile: {error}");
        return Ok(());
    }
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static:+whole-archive=millpond_rdkafka_fetcher");
    Ok(())
}
