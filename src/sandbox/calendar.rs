//! The start times of all chats and tickets of the sandbox. Both are numbered from 1970 on. A
//! closed formula without a "today" gives the start of each number, so a number starts at the same
//! second whenever the sandbox is started, and there is always a next one. Each week has the same
//! share, spread over its hours by one of a few seeded patterns.

use super::chat::{SeededRng, purpose};

pub const HOUR: i64 = 3_600;
pub const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;
const WEEK_HOURS: usize = 168;
const PATTERNS: u64 = 8;

/// The relative number of starts in each hour of the day (UTC): a European shop with some use in
/// the evening and at night.
const BY_HOUR: [u64; 24] = [
    9, 6, 5, 4, 5, 9, 20, 42, 68, 84, 90, 88, 74, 80, 86, 82, 70, 58, 52, 55, 50, 38, 24, 14,
];
/// The relative number of starts on each day of the week, from Thursday, the first day of 1970.
const BY_WEEKDAY: [u64; 7] = [98, 90, 45, 40, 115, 108, 104];

pub struct ArrivalCalendar {
    seed: u64,
    /// The number of starts in `days` days.
    count: u64,
    days: u64,
    /// Cumulative sums of the hours' weights, from 0 to the whole week.
    patterns: Vec<Vec<u64>>,
}

impl ArrivalCalendar {
    pub fn new(seed: u64, count: u64, days: u32) -> Self {
        let patterns = (0..PATTERNS).map(|pattern| {
            let mut sums = vec![0u64];
            for hour in 0..WEEK_HOURS {
                let noise = 70
                    + SeededRng::new(
                        seed,
                        pattern * WEEK_HOURS as u64 + hour as u64,
                        purpose::HOUR,
                    )
                    .below(61);
                sums.push(
                    sums.last().copied().unwrap_or_default()
                        + BY_HOUR[hour % 24] * BY_WEEKDAY[hour / 24] * noise,
                );
            }
            sums
        });
        Self {
            seed,
            count,
            days: u64::from(days.max(1)),
            patterns: patterns.collect(),
        }
    }

    /// The start of `number` in unix seconds. Never decreases with the number.
    pub fn starts(&self, number: u64) -> i64 {
        let week = self.week_of(number);
        let (base, sums) = (self.before_week(week), self.pattern(week));
        let (count, whole) = (self.before_week(week + 1) - base, sums[WEEK_HOURS]);
        let before = |sum: u64| base + share(count, sum, whole);
        let hour = sums
            .partition_point(|sum| before(*sum) <= number)
            .saturating_sub(1)
            .min(WEEK_HOURS - 1);
        let (from, to) = (before(sums[hour]), before(sums[hour + 1]));
        let jitter = SeededRng::new(self.seed, number, purpose::START).below(HOUR as u64);
        week as i64 * WEEK
            + hour as i64 * HOUR
            + (((number - from) * HOUR as u64 + jitter) / (to - from).max(1)) as i64
    }

    /// The first number that starts at `moment` or later.
    pub fn first_from(&self, moment: i64) -> u64 {
        let moment = moment.clamp(0, i64::from(u32::MAX) * 4);
        let week = (moment / WEEK) as u64;
        let (mut low, mut high) = (self.before_week(week), self.before_week(week + 1));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.starts(middle) < moment {
                low = middle + 1
            } else {
                high = middle
            }
        }
        low
    }

    fn before_week(&self, week: u64) -> u64 {
        share(self.count, week * 7, self.days)
    }

    fn week_of(&self, number: u64) -> u64 {
        let mut week = share(number, self.days, self.count.max(1) * 7);
        while self.count > 0 && self.before_week(week + 1) <= number {
            week += 1;
        }
        while self.before_week(week) > number {
            week -= 1;
        }
        week
    }

    fn pattern(&self, week: u64) -> &[u64] {
        &self.patterns[SeededRng::new(self.seed, week, purpose::WEEK).below(PATTERNS) as usize]
    }
}

/// `of * part / whole`, rounded down.
fn share(of: u64, part: u64, whole: u64) -> u64 {
    (u128::from(of) * u128::from(part) / u128::from(whole)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_moments_agree_at_every_rate() {
        for (count, days) in [
            (1, 60),
            (100, 10),
            (2_000, 60),
            (1_000_000, 60),
            (12, 3_700),
        ] {
            let calendar = ArrivalCalendar::new(3, count, days);
            let from = calendar.first_from(1_790_000_000);
            let starts: Vec<_> = (from..from + 500)
                .map(|number| calendar.starts(number))
                .collect();
            assert!(
                starts[0] >= 1_790_000_000 && starts.is_sorted(),
                "{count} in {days}"
            );
            for (number, start) in (from..).zip(&starts) {
                assert!(
                    calendar.first_from(*start) <= number
                        && calendar.first_from(start + 1) > number,
                    "{count} in {days}: {number}"
                );
            }
        }
        assert_eq!(ArrivalCalendar::new(3, 0, 10).first_from(1_790_000_000), 0);
    }
}
