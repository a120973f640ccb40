//! One page, one file; the template has the same name.
