//! DataSets: where a report's rows land. Rows are columns (`columns`) in immutable files (`segments`) that a version lists
//! (`versions`); people read them a page at a time (`preview`) or whole (`export`).

/// What a column is, and what happens when columns change.
pub mod columns;
/// A version as a file to download.
pub mod export;
/// Pages, sort, filter and search over a version.
pub mod preview;
/// Writes and reads the files of rows; the only place that knows files.
pub mod segments;
/// Commit, history, retention and sweep.
pub mod versions;

#[cfg(test)]
mod testing;
