//! What a document gets wrong, sorted from the faults that struck; a request carries it among its extensions.

use jiff::tz::TimeZone;

use super::super::faults::Kind;
use super::encoding::Label;

#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// A document that is none of the period's chats.
    pub instead: Option<Kind>,
    /// Times are in the sample's form, in this zone.
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

impl Manner {
    pub fn of(struck: &[Kind]) -> Self {
        let mut manner = Self::default();
        for kind in struck {
            match kind {
                Kind::SampleTimes { zone } => {
                    manner.sample_times = Some(zone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC));
                }
                Kind::OddTimes => manner.odd_times = true,
                Kind::Encoding { label } => manner.encoding = Some(*label),
                Kind::TwoRoots => manner.two_roots = true,
                Kind::Trailing => manner.trailing = true,
                Kind::Unknown => manner.unknown = true,
                Kind::Overlap => manner.overlap = true,
                Kind::Crlf => manner.crlf = true,
                Kind::Twice => manner.twice = true,
                Kind::NoId => manner.no_id = true,
                Kind::Bare => manner.bare = true,
                Kind::SeveralOperators => manner.several_operators = true,
                Kind::CapitalOperators => manner.capital_operators = true,
                Kind::LooseText => manner.loose_text = true,
                Kind::Shuffle { seed } => manner.shuffle = Some(*seed),
                Kind::WrongRoot
                | Kind::Doctype { .. }
                | Kind::Deep { .. }
                | Kind::ManyAttributes { .. }
                | Kind::LongText { .. }
                | Kind::LargeChat { .. }
                | Kind::EndlessChats => manner.instead = Some(kind.clone()),
                _ => {}
            }
        }
        manner
    }
}
