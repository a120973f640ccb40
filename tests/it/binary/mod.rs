//! The built binary, tested from outside.

mod commands;
mod data_directory;
mod set_up_link;
mod vault_key;
mod vendor_connections;

/// A refused start prints one line.
fn single_line(err: &str) -> &str {
    assert_eq!(err.lines().count(), 1, "one line is enough: {err}");
    err.trim_end()
}
