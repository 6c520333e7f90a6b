//! The figures of a run, ratios round by round, and the bars they are held against.

use crate::Subject;
use crate::bodies::SMALLEST;
use crate::rounds::{Measured, Sample};
use crate::stats::Spread;
use crate::streams::Memory;
use std::fmt::{self, Write as _};

/// The figures of a run.
#[derive(Debug)]
pub struct Report {
    /// The cases with a throughput.
    pub measured: Vec<Measured>,
    /// The memory of each proxy, one value a round.
    pub memory: Vec<(Subject, Vec<Memory>)>,
    /// Streams that were open.
    pub open_streams: usize,
}

/// A promise and what was measured of it.
#[derive(Debug)]
pub struct Bar {
    /// What is promised.
    pub promise: String,
    /// What was measured; `None` when the run was too short for it.
    pub measured: Option<Spread>,
    /// The bar.
    pub limit: Limit,
    /// What a proxy that costs nothing would have reached, where that is known.
    pub reach: Option<Spread>,
}

/// Which side of the bar is good.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// The median is to be this or less.
    AtMost(f64),
    /// The median is to be this or more.
    AtLeast(f64),
}

/// How a bar stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The median is on the good side.
    Held,
    /// It is not.
    Missed,
    /// It is not, nor would a proxy that costs nothing be: upstream and load generator take what it would need.
    OutOfReach,
    /// The run was too short to tell.
    Unknown,
}

impl Bar {
    /// How it stands, by the median.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let is_held = self.measured.map(|spread| match self.limit {
            Limit::AtMost(limit) => spread.median <= limit,
            Limit::AtLeast(limit) => spread.median >= limit,
        });
        match is_held {
            Some(true) => Verdict::Held,
            Some(false) if self.is_out_of_reach() => Verdict::OutOfReach,
            Some(false) => Verdict::Missed,
            None => Verdict::Unknown,
        }
    }

    fn is_out_of_reach(&self) -> bool {
        self.reach.is_some_and(|reach| match self.limit {
            Limit::AtMost(limit) => reach.median > limit,
            Limit::AtLeast(limit) => reach.median < limit,
        })
    }
}

impl Report {
    /// Every ratio of the report that could be measured, with its name.
    #[must_use]
    pub fn ratios(&self) -> Vec<(String, Spread)> {
        let mut all = Vec::new();
        for measured in &self.measured {
            for (subject, _) in &measured.samples {
                for against in [Subject::Bare, Subject::Nginx] {
                    let name = |what| {
                        format!("{} {what}, {} to {}", measured.case.name, subject.name(), against.name())
                    };
                    let of = |value| ratio(measured, *subject, against, value);
                    all.extend(of(|s| s.requests_per_s).map(|spread| (name("requests/s"), spread)));
                    all.extend(of(|s| s.cpu_s_per_1k).map(|spread| (name("CPU"), spread)));
                }
            }
        }
        all
    }

    /// The bars that this run says something about.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        for measured in &self.measured {
            self.add_bars(measured, &mut bars);
        }
        if let Some((_, memory)) = self.memory.iter().find(|(subject, _)| *subject == Subject::Gateway) {
            bars.push(Bar {
                promise: format!("{} open streams: MiB above before", self.open_streams),
                measured: Spread::of(memory.iter().map(|m| above_mib(*m))),
                limit: Limit::AtMost(40.0),
                reach: None,
            });
        }
        bars
    }

    fn add_bars(&self, measured: &Measured, bars: &mut Vec<Bar>) {
        let Measured { case, concurrency, .. } = *measured;
        let at = format!("{} at {concurrency}", case.name);
        let against = |other, value: fn(&Sample) -> f64| ratio(measured, Subject::Gateway, other, value);
        if concurrency == 1 {
            bars.push(Bar {
                promise: format!("{at}: added p50 to bare Pingora's"),
                measured: added_ratio(measured),
                limit: Limit::AtMost(2.0),
                reach: None,
            });
        } else if case.name == SMALLEST {
            bars.push(Bar {
                promise: format!("{at}: CPU to bare Pingora's"),
                measured: against(Subject::Bare, |s| s.cpu_s_per_1k),
                limit: Limit::AtMost(1.3),
                reach: None,
            });
            bars.push(Bar {
                promise: format!("{at}: CPU under budgets to bare Pingora's"),
                measured: ratio(measured, Subject::Governed, Subject::Bare, |s| s.cpu_s_per_1k),
                limit: Limit::AtMost(1.5),
                reach: None,
            });
        } else if case.is_stream() {
            bars.push(Bar {
                promise: format!("{at}: requests/s to bare Pingora's"),
                measured: against(Subject::Bare, |s| s.requests_per_s),
                limit: Limit::AtLeast(1.6),
                reach: ratio(measured, Subject::Direct, Subject::Bare, |s| s.requests_per_s),
            });
            bars.push(Bar {
                promise: format!("{at}: requests/s to nginx's"),
                measured: against(Subject::Nginx, |s| s.requests_per_s),
                limit: Limit::AtLeast(0.4),
                reach: None,
            });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.measured.is_empty() {
            writeln!(f, "{CASES_HEAD}")?;
        }
        for measured in &self.measured {
            for (subject, samples) in &measured.samples {
                writeln!(f, "{}", row(measured, *subject, samples))?;
            }
        }
        if !self.memory.is_empty() {
            writeln!(f, "\n{MEMORY_HEAD}")?;
        }
        for (subject, memory) in &self.memory {
            let cells = [
                show(Spread::of(memory.iter().map(|m| mib(m.before))), 1),
                show(Spread::of(memory.iter().map(|m| mib(m.during))), 1),
                show(Spread::of(memory.iter().map(|m| above_mib(*m))), 1),
            ];
            writeln!(f, "| {} | {} |", subject.name(), cells.join(" | "))?;
        }
        writeln!(f, "\n{BARS_HEAD}")?;
        for bar in self.bars() {
            let limit = match bar.limit {
                Limit::AtMost(limit) => format!("≤ {limit}"),
                Limit::AtLeast(limit) => format!("≥ {limit}"),
            };
            let verdict = match bar.verdict() {
                Verdict::Held => "held".to_owned(),
                Verdict::Missed => "**missed**".to_owned(),
                Verdict::OutOfReach => format!("out of reach: direct has {}", show(bar.reach, 2)),
                Verdict::Unknown => "not measured".to_owned(),
            };
            writeln!(f, "| {} | {limit} | {} | {verdict} |", bar.promise, show(bar.measured, 2))?;
        }
        Ok(())
    }
}

fn row(measured: &Measured, subject: Subject, samples: &[Sample]) -> String {
    let Measured { case, concurrency, .. } = *measured;
    let median =
        |value: fn(&Sample) -> f64| Spread::of(samples.iter().map(value)).map(|spread| spread.median);
    let mut row = format!("| {} | {concurrency} | {} |", case.name, subject.name());
    let figures = [
        (median(|s| s.requests_per_s), 0),
        (median(|s| s.cpu_s_per_1k), 4),
        (median(|s| s.p50_ms), 3),
        (median(|s| s.p99_ms), 3),
        (added_ms(measured, subject), 3),
    ];
    for (figure, digits) in figures {
        let _ = match figure {
            Some(figure) => write!(row, " {figure:.digits$} |"),
            None => write!(row, " – |"),
        };
    }
    for other in [Subject::Bare, Subject::Nginx] {
        for value in [|s: &Sample| s.requests_per_s, |s: &Sample| s.cpu_s_per_1k] {
            let is_compared = !matches!(subject, Subject::Direct) && subject != other;
            let spread = if is_compared { ratio(measured, subject, other, value) } else { None };
            let _ = write!(row, " {} |", show(spread, 2));
        }
    }
    row
}

/// A subject's value to another's, round by round.
fn ratio(measured: &Measured, ours: Subject, theirs: Subject, value: fn(&Sample) -> f64) -> Option<Spread> {
    let pairs = measured.of(ours).iter().zip(measured.of(theirs));
    Spread::of_ratios(pairs.map(|(ours, theirs)| (value(ours), value(theirs))))
}

/// What a proxy adds to the median latency at concurrency 1, in milliseconds.
fn added_ms(measured: &Measured, subject: Subject) -> Option<f64> {
    let is_asked = measured.concurrency == 1 && subject != Subject::Direct;
    let pairs = measured.of(subject).iter().zip(measured.of(Subject::Direct));
    let added = Spread::of(pairs.map(|(through, direct)| through.p50_ms - direct.p50_ms));
    added.filter(|_| is_asked).map(|spread| spread.median)
}

/// What the gateway adds to what bare Pingora adds, round by round.
fn added_ratio(measured: &Measured) -> Option<Spread> {
    let direct = measured.of(Subject::Direct).iter().map(|s| s.p50_ms);
    let both = measured.of(Subject::Gateway).iter().zip(measured.of(Subject::Bare));
    Spread::of_ratios(
        both.zip(direct).map(|((ours, bare), direct)| (ours.p50_ms - direct, bare.p50_ms - direct)),
    )
}

fn show(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(
        || "–".to_owned(),
        |s| format!("{:.digits$} [{:.digits$}..{:.digits$}]", s.median, s.min, s.max),
    )
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn above_mib(memory: Memory) -> f64 {
    mib(memory.during) - mib(memory.before)
}

const CASES_HEAD: &str = "\
| case | connections | through | requests/s | CPU s per 1k | p50 ms | p99 ms | p50 added, ms \
| requests/s to bare | CPU to bare | requests/s to nginx | CPU to nginx |
|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|";
const MEMORY_HEAD: &str = "\
| memory, MiB | after the requests | with the streams | above |
|---|--:|--:|--:|";
const BARS_HEAD: &str = "\
| bar | limit | median [min..max] | |
|---|--:|--:|---|";
