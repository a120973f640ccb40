//! Plans the slices: counts the rows of each minute of the period and joins consecutive minutes.

use std::ops::Range;

use super::{ByStart, START_COLUMN, column, moments};
use crate::clock::Millis;
use crate::connectors::report::ColumnKind;
use crate::datasets::columns;
use crate::error::{Error, Result};

const MINUTE: Millis = 60_000;

/// Memory limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The maximum number of rows in a slice. A minute with more rows is a slice by itself.
    pub keys: usize,
    /// The maximum number of rows in one minute.
    pub keys_of_a_minute: u32,
    /// The target size of a group of complete rows, in bytes and in rows.
    pub rows_bytes: usize,
    pub rows: usize,
    /// If a group is larger than this, the next attempt reads half as many rows.
    pub max_bytes: usize,
}

pub(super) const LIMITS: Limits = Limits {
    keys: 32 << 10,
    keys_of_a_minute: 1 << 20,
    rows_bytes: 2 << 20,
    rows: 2_048,
    max_bytes: 6 << 20,
};

/// In which portions the rows are read.
pub(super) struct SlicePlan {
    /// The slices that have rows.
    pub slices: Vec<Range<Millis>>,
    /// The number of complete rows to read in one group.
    pub at_once: usize,
}

impl ByStart {
    /// Computes the slices that have rows, and the size of a group.
    pub(super) fn make_plan(&mut self) -> Result<SlicePlan> {
        let minutes = usize::try_from((self.period.end - self.period.start + MINUTE - 1) / MINUTE)
            .unwrap_or(0);
        let mut counts = vec![0_u32; minutes];
        let schema = columns::to_schema(&[column(START_COLUMN, ColumnKind::Timestamp)]);
        let mut row_bytes = 1;
        for source in &self.sources {
            let whole = columns::to_schema(&source.columns);
            for meta in &source.version.segments {
                let open = self.segments.open(meta)?;
                let within = open.groups_within(START_COLUMN, &self.period);
                self.counts.without_start += within.empty;
                if within.groups.is_empty() {
                    continue;
                }
                row_bytes = row_bytes.max(open.row_bytes(&whole));
                for batch in open.read(&schema, Some(&within.groups))? {
                    for start in moments(&batch?)?
                        .flatten()
                        .filter(|start| self.period.contains(start))
                    {
                        let minute = usize::try_from((start - self.period.start) / MINUTE)
                            .unwrap_or(usize::MAX);
                        if let Some(count) = counts.get_mut(minute) {
                            *count += 1;
                            if *count > self.limits.keys_of_a_minute {
                                return Err(Error::internal(
                                    "more rows start in one minute than can be put in order",
                                ));
                            }
                        }
                    }
                }
            }
        }
        Ok(SlicePlan {
            slices: self.slices(&counts),
            at_once: (self.limits.rows_bytes / row_bytes.max(1)).clamp(1, self.limits.rows),
        })
    }

    fn slices(&self, counts: &[u32]) -> Vec<Range<Millis>> {
        let mut slices: Vec<Range<Millis>> = Vec::new();
        let mut keys = 0;
        for (start, count) in (self.period.start..)
            .step_by(MINUTE as usize)
            .zip(counts)
            .filter(|(_, count)| **count > 0)
        {
            let (count, end) = (*count as usize, (start + MINUTE).min(self.period.end));
            match slices.last_mut() {
                Some(last) if keys + count <= self.limits.keys => {
                    last.end = end;
                    keys += count;
                }
                _ => {
                    slices.push(start..end);
                    keys = count;
                }
            }
        }
        slices
    }
}
