//! The demo as its user starts it: three instances on the embedded log, all flights, every key of every store right.

use std::{
    net::TcpListener,
    ops::Range,
    process::{Command, Stdio},
};

/// The first of three ports in a row that are free now. Tests run side by side: each looks in a range of its own.
fn first_port(range: Range<u16>) -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    range.step_by(3).find(|port| (*port..port + 3).all(free)).expect("a machine has three free ports")
}

#[test]
fn all_answers_of_the_demo_are_right() {
    let output = Command::new(env!("CARGO_BIN_EXE_flights"))
        .args(["demo", "--exit", "--first-port", &first_port(22_000..23_500).to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("the demo runs");
    let (said, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{log}");
    assert!(said.contains(" 0 differ"), "{said}");
    assert!(said.contains("curl http://127.0.0.1:"), "{said}");
}

#[test]
fn a_taken_port_is_named_before_anything_is_fed() {
    let first = first_port(23_500..25_000);
    let _taken = TcpListener::bind(("127.0.0.1", first + 1)).expect("it was free just now");
    let output = Command::new(env!("CARGO_BIN_EXE_flights"))
        .args(["demo", "--exit", "--first-port", &first.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("the demo runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(error.contains(&format!("port {} ", first + 1)) && error.contains("--first-port"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
