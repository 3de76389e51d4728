//! The conformance suite of the log port, on every adapter.

mod embedded {
    use integration_tests::log_conformance::beds::EmbeddedBed;
    integration_tests::log_conformance!(EmbeddedBed::in_memory(), EmbeddedBed::in_memory());
}

mod embedded_on_disk {
    use integration_tests::log_conformance::beds::EmbeddedBed;
    integration_tests::log_conformance!(EmbeddedBed::on_disk(), EmbeddedBed::on_disk());
}

mod kafka {
    use integration_tests::log_conformance::beds::KafkaBed;
    integration_tests::log_conformance!(KafkaBed::shared(), KafkaBed::own());
}
