//! Where the files of this checkout are.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The folder of this crate. It is asked for when the program runs, as cargo says it: several checkouts may share one target
/// directory, and what was compiled in one of them then runs in another. Without cargo it is where the crate was compiled.
#[must_use]
pub fn crate_folder() -> PathBuf {
    let told = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let told = told.filter(|folder| folder.file_name() == Path::new(env!("CARGO_MANIFEST_DIR")).file_name());
    told.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    crate_folder().parent().expect("the crate lies in the repository").to_owned()
}
