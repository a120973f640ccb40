//! DataSets on pages: from the empty list to rows, records and downloads, as an owner, a colleague
//! and a stranger see them.

mod data;
mod list;
mod runs;
