//! Selects the chats of a query, newest first, and counts them without a scan if the filter depends
//! only on slots. A `Selection` is a list of pieces: ranges of numbers, split where a chat that
//! ended on request lies between them or where one was deleted.

use std::ops::Range;

use super::changes::EXTRA;
use super::chat::Chat;
use super::chat_profile::ChatProfile;
use super::world::{BLOCK, World};

/// A filter of chats. Empty lists and missing values match everything.
#[derive(Clone, Debug, Default)]
pub struct ChatFilter {
    /// Only chats whose group list contains one of these.
    pub groups: Vec<u32>,
    /// Only chats with an agent with one of these logins.
    pub agents: Vec<String>,
    /// Only chats with one of these tags.
    pub tags: Vec<String>,
    pub tagged: Option<bool>,
    pub has_goal: Option<bool>,
    pub goal: Option<u32>,
    pub queued: Option<bool>,
    pub rate: Option<String>,
    pub include_pending: bool,
    pub content: ContentFilter,
}

/// Filters of a chat's content: such a query generates every chat of its range.
#[derive(Clone, Debug, Default)]
pub struct ContentFilter {
    /// Contained in the id, the visitor's name or email address, or a message; ignores case.
    pub query: Option<String>,
    pub visitor: Option<String>,
    pub city: Option<String>,
    pub region: Option<String>,
    pub country: Option<String>,
    /// With or without an answer in the survey after the chat.
    pub comment: Option<bool>,
}

impl ChatFilter {
    /// Whether the filter has a condition that depends only on a chat's slot.
    fn is_of_slots(&self) -> bool {
        let lists = self.groups.is_empty() && self.agents.is_empty() && self.tags.is_empty();
        let values = self.tagged.is_none()
            && self.has_goal.is_none()
            && self.goal.is_none()
            && self.queued.is_none()
            && self.rate.is_none();
        !(lists && values)
    }

    fn passes(&self, profile: &ChatProfile) -> bool {
        (self.groups.is_empty()
            || self
                .groups
                .iter()
                .any(|group| profile.groups.contains(group)))
            && (self.agents.is_empty()
                || profile
                    .logins()
                    .any(|login| self.agents.iter().any(|agent| agent == login)))
            && (self.tags.is_empty()
                || profile
                    .tags
                    .iter()
                    .any(|tag| self.tags.iter().any(|wanted| wanted == tag)))
            && self
                .tagged
                .is_none_or(|tagged| tagged != profile.tags.is_empty())
            && self
                .has_goal
                .is_none_or(|wanted| wanted == profile.goal.is_some())
            && self
                .goal
                .is_none_or(|goal| profile.goal.is_some_and(|kind| kind.id() == goal))
            && self.queued.is_none_or(|queued| queued == profile.queued)
            && self.rate.as_ref().is_none_or(|rate| rate == profile.rating)
    }
}

impl ContentFilter {
    fn is_set(&self) -> bool {
        let Self {
            query,
            visitor,
            city,
            region,
            country,
            comment,
        } = self;
        query.is_some()
            || visitor.is_some()
            || city.is_some()
            || region.is_some()
            || country.is_some()
            || comment.is_some()
    }

    fn passes(&self, chat: &Chat) -> bool {
        let (visitor, place) = (&chat.visitor, chat.visitor.place);
        let holds = |text: &str, part: &str| text.to_lowercase().contains(part);
        self.query.as_ref().is_none_or(|query| {
            let part = query.to_lowercase();
            let about = [
                &chat.id,
                &*visitor.name,
                visitor.email.as_deref().unwrap_or_default(),
            ];
            about
                .into_iter()
                .chain(chat.lines.iter().map(|line| &*line.text))
                .any(|text| holds(text, &part))
        }) && self.visitor.as_ref().is_none_or(|id| *id == visitor.id)
            && self.city.as_ref().is_none_or(|city| city == place.city)
            && self
                .region
                .as_ref()
                .is_none_or(|region| region == place.region)
            && self
                .country
                .as_ref()
                .is_none_or(|country| country == place.country)
            && self
                .comment
                .is_none_or(|comment| comment != chat.after.is_empty())
    }
}

impl World {
    /// The chats that started in `span` (unix seconds, without its end) and match the filter, as
    /// they are now.
    pub fn select(&self, span: Range<i64>, filter: &ChatFilter) -> Selection<'_> {
        let (numbers, snapshot) = (self.numbers(), self.changes().snapshot());
        let (first, end) = (
            numbers.archive.start,
            if filter.include_pending {
                numbers.pending.end
            } else {
                numbers.archive.end
            },
        );
        let number = |moment: i64| self.calendar().first_from(moment).clamp(first, end);
        let wanted = filter
            .is_of_slots()
            .then(|| SlotFilter::of(self.profiles(), filter));
        let mut selection = Selection {
            world: self,
            pieces: Vec::new(),
            wanted,
        };
        let (low, mut high) = (number(span.start), number(span.end));
        let mut edge = None;
        for (at, started) in snapshot.extras.iter().enumerate().rev() {
            let extra = EXTRA + at as u64;
            if !span.contains(started)
                || snapshot.removed.contains(&extra)
                || !selection.wants(extra)
            {
                continue;
            }
            // Many extra chats have the same start: their position is computed once.
            let place = match edge {
                Some((same, place)) if same == *started => place,
                _ => number(started + 1).max(low),
            };
            edge = Some((*started, place));
            selection.push_range(place..high, &snapshot.removed);
            high = high.min(place);
            selection.push_one(extra);
        }
        selection.push_range(low..high, &snapshot.removed);
        if filter.content.is_set() {
            let found = selection
                .all()
                .filter(|number| filter.content.passes(&self.chat(*number)))
                .collect();
            selection.pieces = vec![Piece::These(found)];
        }
        selection
    }
}

/// The slots that match a filter.
struct SlotFilter {
    slots: Vec<bool>,
    each_block: u64,
}

impl SlotFilter {
    fn of(profiles: &[ChatProfile], filter: &ChatFilter) -> Self {
        let slots: Vec<bool> = profiles
            .iter()
            .map(|profile| filter.passes(profile))
            .collect();
        Self {
            each_block: slots.iter().filter(|wanted| **wanted).count() as u64,
            slots,
        }
    }
}

enum Piece {
    /// The matching chats of a range of numbers, newest last.
    Range(Range<u64>),
    /// All of these numbers, newest first.
    These(Vec<u64>),
}

/// The chats of a query, newest first.
pub struct Selection<'a> {
    world: &'a World,
    pieces: Vec<Piece>,
    wanted: Option<SlotFilter>,
}

impl Selection<'_> {
    pub fn total(&self) -> u64 {
        self.pieces.iter().map(|piece| self.size(piece)).sum()
    }

    /// The numbers of at most `take` chats after the newest `skip`.
    pub fn numbers(&self, skip: u64, take: u64) -> Vec<u64> {
        let (mut numbers, mut skip) = (Vec::with_capacity(take.min(1_000) as usize), skip);
        for piece in &self.pieces {
            let left = (take - numbers.len() as u64) as usize;
            let here = self.size(piece);
            match piece {
                _ if skip >= here => {}
                Piece::Range(range) => {
                    let (low, high) = (self.rank(range.start), self.rank(range.end));
                    numbers.extend(
                        (low..high - skip)
                            .rev()
                            .take(left)
                            .map(|rank| self.number(rank)),
                    );
                }
                Piece::These(these) => numbers.extend(these.iter().skip(skip as usize).take(left)),
            }
            skip = skip.saturating_sub(here);
        }
        numbers
    }

    /// The numbers of all chats, newest first.
    pub fn all(&self) -> impl Iterator<Item = u64> {
        self.pieces.iter().flat_map(|piece| {
            let (range, these) = match piece {
                Piece::Range(range) => (range.clone(), [].as_slice()),
                Piece::These(these) => (0..0, these.as_slice()),
            };
            range
                .rev()
                .filter(|number| self.wants(*number))
                .chain(these.iter().copied())
        })
    }

    fn wants(&self, number: u64) -> bool {
        self.wanted
            .as_ref()
            .is_none_or(|wanted| wanted.slots[self.world.slot(number)])
    }

    fn push_one(&mut self, number: u64) {
        match self.pieces.last_mut() {
            Some(Piece::These(these)) => these.push(number),
            _ => self.pieces.push(Piece::These(vec![number])),
        }
    }

    fn push_range(&mut self, range: Range<u64>, removed: &std::collections::BTreeSet<u64>) {
        if range.is_empty() {
            return;
        }
        let mut high = range.end;
        for deleted in removed.range(range.clone()).rev() {
            self.pieces.push(Piece::Range(deleted + 1..high));
            high = *deleted;
        }
        self.pieces.push(Piece::Range(range.start..high));
    }

    fn size(&self, piece: &Piece) -> u64 {
        match piece {
            Piece::Range(range) => self.rank(range.end) - self.rank(range.start),
            Piece::These(these) => these.len() as u64,
        }
    }

    /// The number of matching chats below `number`.
    fn rank(&self, number: u64) -> u64 {
        let Some(wanted) = &self.wanted else {
            return number;
        };
        let block = number / BLOCK;
        let rest = (block * BLOCK..number)
            .filter(|n| wanted.slots[self.world.slot(*n)])
            .count() as u64;
        block * wanted.each_block + rest
    }

    /// The number of the matching chat that has `rank` matching ones below it.
    fn number(&self, rank: u64) -> u64 {
        let Some(wanted) = &self.wanted else {
            return rank;
        };
        let (block, nth) = (
            rank / wanted.each_block.max(1),
            rank % wanted.each_block.max(1),
        );
        let mut candidates =
            (block * BLOCK..(block + 1) * BLOCK).filter(|n| wanted.slots[self.world.slot(*n)]);
        candidates.nth(nth as usize).unwrap_or_default()
    }
}
