//! The table that is printed: one line for each figure, and the figures beyond their bounds.

use std::io::Write;

pub struct Table {
    pub missed: Vec<String>,
}

impl Table {
    pub fn new() -> Self {
        println!("| what | measured | bound |\n| --- | --- | --- |");
        Self { missed: Vec::new() }
    }

    pub fn line(&mut self, what: &str, measured: &str, value: f64, bound: Option<(f64, &str)>) {
        println!(
            "| {what} | {measured} | {} |",
            bound.map_or(String::new(), |(_, words)| if words.starts_with("none") {
                words.to_owned()
            } else {
                format!("under {words}")
            })
        );
        std::io::stdout().flush().unwrap();
        if bound.is_some_and(|(most, _)| value >= most) {
            self.missed.push(format!("{what}: {measured}"));
        }
    }

    pub fn memory(&mut self, what: &str, mib: f64, most: f64) {
        self.line(
            what,
            &format!("{mib:.0} MiB"),
            mib,
            Some((most, &format!("{most:.0} MiB"))),
        );
    }
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    groups.join(",")
}
