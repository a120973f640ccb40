//! A version as a file to download: one row source, a writer for each format.
