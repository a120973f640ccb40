//! Pages, sort, filter and search over a version.
