//! The faults of a LiveLeader document, collected from the active faults and passed in the
//! request's extensions.

use jiff::tz::TimeZone;

use super::super::faults::FaultKind;
use super::encoding::Label;

#[derive(Clone, Debug, Default)]
pub struct DocumentFaults {
    /// The fault that replaces the document of the period.
    pub replacement: Option<FaultKind>,
    /// Times have the sample's format, in this time zone.
    pub sample_times: Option<TimeZone>,
    pub odd_times: bool,
    pub encoding: Option<Label>,
    pub two_roots: bool,
    pub trailing: bool,
    pub unknown: bool,
    pub overlap: bool,
    pub crlf: bool,
    pub twice: bool,
    pub no_id: bool,
    pub bare: bool,
    pub several_operators: bool,
    pub capital_operators: bool,
    pub loose_text: bool,
    pub shuffle: Option<u64>,
}

impl DocumentFaults {
    pub fn of(active: &[FaultKind]) -> Self {
        let mut document_faults = Self::default();
        for kind in active {
            match kind {
                FaultKind::SampleTimes { zone } => {
                    document_faults.sample_times = Some(
                        zone.as_deref()
                            .and_then(|name| TimeZone::get(name).ok())
                            .unwrap_or(TimeZone::UTC),
                    );
                }
                FaultKind::OddTimes => document_faults.odd_times = true,
                FaultKind::Encoding { label } => document_faults.encoding = Some(*label),
                FaultKind::TwoRoots => document_faults.two_roots = true,
                FaultKind::Trailing => document_faults.trailing = true,
                FaultKind::Unknown => document_faults.unknown = true,
                FaultKind::Overlap => document_faults.overlap = true,
                FaultKind::Crlf => document_faults.crlf = true,
                FaultKind::Twice => document_faults.twice = true,
                FaultKind::NoId => document_faults.no_id = true,
                FaultKind::Bare => document_faults.bare = true,
                FaultKind::SeveralOperators => document_faults.several_operators = true,
                FaultKind::CapitalOperators => document_faults.capital_operators = true,
                FaultKind::LooseText => document_faults.loose_text = true,
                FaultKind::Shuffle { seed } => document_faults.shuffle = Some(*seed),
                FaultKind::WrongRoot
                | FaultKind::Doctype { .. }
                | FaultKind::Deep { .. }
                | FaultKind::ManyAttributes { .. }
                | FaultKind::LongText { .. }
                | FaultKind::LargeChat { .. }
                | FaultKind::EndlessChats => document_faults.replacement = Some(kind.clone()),
                _ => {}
            }
        }
        document_faults
    }
}
