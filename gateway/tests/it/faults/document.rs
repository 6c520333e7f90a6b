//! The matrix for people: `docs/FAULTS.md`, written from the declarations that the cells are held to.

use super::rows;
use super::seen::{INPUT_NANO_USD, Mode, OUTPUT_NANO_USD, Seen, THRESHOLD, Words, name};
use super::table::{Company, Row, broken, none_left, rate_limited, stalled};
use shared::protocol::Dialect;
use std::fmt::Write as _;
use std::path::Path;

#[test]
fn the_document_says_what_is_declared() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/FAULTS.md");
    let declared = document();
    if std::env::var_os("UPDATE_FAULTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &declared).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == declared,
        "docs/FAULTS.md is stale: run UPDATE_FAULTS=1 cargo test -p gateway --test it faults::document"
    );
}

#[test]
fn each_fault_has_one_row_and_somewhere_to_happen() {
    let rows = rows::all();
    for row in &rows {
        assert_eq!(rows.iter().filter(|other| other.fault == row.fault).count(), 1, "{}", row.fault);
        assert!(Dialect::ALL.iter().any(|d| Mode::ALL.iter().any(|m| row.has(*d, *m))), "{}", row.fault);
    }
}

fn document() -> String {
    let rows = rows::all();
    let micros = |nano_usd: u64| (nano_usd / 1_000).to_string();
    let mut text = HEAD
        .replace("{threshold}", &THRESHOLD.to_string())
        .replace("{input}", &micros(INPUT_NANO_USD))
        .replace("{output}", &micros(OUTPUT_NANO_USD));
    for (mode, title) in [(Mode::Stream, "Streams"), (Mode::Whole, "Whole answers")] {
        let _ = writeln!(text, "\n## {title}\n\n{COLUMNS}");
        for row in rows.iter().filter(|row| Dialect::ALL.iter().any(|dialect| row.has(*dialect, mode))) {
            lines(&mut text, row, mode);
        }
    }
    legend(&mut text);
    text
}

/// A line for each different cell; dialects that agree share one.
fn lines(text: &mut String, row: &Row, mode: Mode) {
    let mut told: Vec<(String, Vec<&'static str>)> = Vec::new();
    let has = |dialect: &Dialect| row.has(*dialect, mode);
    for dialect in Dialect::ALL.into_iter().filter(has) {
        let cells = cells(row, dialect, mode);
        match told.iter_mut().find(|(known, _)| *known == cells) {
            Some((_, names)) => names.push(name(dialect)),
            None => told.push((cells, vec![name(dialect)])),
        }
    }
    let mut fault = row.fault;
    for (cells, names) in told {
        let names = if names.len() == Dialect::ALL.len() { "all".to_owned() } else { names.join(", ") };
        let _ = writeln!(text, "| {fault} | {names} | {cells} |");
        fault = "″";
    }
}

fn cells(row: &Row, dialect: Dialect, mode: Mode) -> String {
    let [alone, beside] = Company::ALL.map(|company| row.declared(dialect, mode, company));
    let cooling = alone.cooling.as_ref().map_or("–".to_owned(), ToString::to_string);
    let columns = [
        alone.seat.to_string(),
        chain(&alone),
        beside.seat.to_string(),
        chain(&beside),
        breaker(&alone, &beside),
        cooling,
    ];
    columns.join(" | ")
}

/// The attempts, each with what it is billed; repeated ones are counted.
fn chain(seen: &Seen) -> String {
    let mut told: Vec<(String, usize)> = Vec::new();
    for one in &seen.tries {
        let words = format!("{one} [{}]", one.bill);
        match told.last_mut() {
            Some((last, times)) if *last == words => *times += 1,
            _ => told.push((words, 1)),
        }
    }
    let spelled = told.into_iter().map(|(words, times)| match times {
        1 => words,
        times => format!("{times} × {words}"),
    });
    spelled.collect::<Vec<_>>().join("<br>")
}

/// How our own errors are called in each dialect.
fn legend(text: &mut String) {
    let _ = writeln!(text, "\n## Our errors in each dialect\n\n{LEGEND}");
    for (what, words) in OURS {
        let spelled = Dialect::ALL.map(|dialect| {
            let words = words(dialect);
            let code = words.code.map(|code| format!(" `{code}`")).unwrap_or_default();
            format!("`{}`{code}", words.kind)
        });
        let _ = writeln!(text, "| {what} | {} |", spelled.join(" | "));
    }
}

fn breaker(alone: &Seen, beside: &Seen) -> String {
    if alone.breaker == beside.breaker {
        alone.breaker.to_string()
    } else {
        format!("{}; beside another {}", alone.breaker, beside.breaker)
    }
}

type Told = fn(Dialect) -> Words;

const OURS: [(&str, Told); 4] = [
    ("503 “No available providers: …”", |dialect| none_left(dialect, "")),
    ("429 “All providers are at their rate limit …”", rate_limited),
    ("in a stream: “The provider's stream broke …”", broken),
    ("in a stream: “The provider stopped sending …”", stalled),
];

const LEGEND: &str = "| error | Anthropic: `type` | chat: `type` `code` | Responses: `type` or event, `code` | Gemini: `status`, `reason` |\n|---|---|---|---|---|";

const COLUMNS: &str = "| its fault | dialect | alone: the seat gets | chain [bill] | beside another: the seat gets | chain [bill] | breaker | cool-down |\n|---|---|---|---|---|---|---|---|";

const HEAD: &str = "\
<!-- Written by UPDATE_FAULTS=1 cargo test -p gateway --test it faults::document. Do not edit: the rows are in gateway/tests/it/faults/rows.rs. -->
# What happens when a provider fails

Each line is played by `gateway/tests/it/faults` against a real gateway and a simulated upstream, in each of its dialects,
once with the failing provider alone and once beside another that is well (in the next tier). What is written here is what the
tests compare with.

- **The seat gets**: *its* and *the other's* answers and words are compared byte for byte; errors of ours with their text, and their
  type and code in the caller's dialect (below), `retry-after` and `x-should-retry`. In a stream nothing of an attempt is sent before it is real,
  so a failure before content is never seen while somebody else can serve.
- **Chain**: the attempts in the decision chain, with the upstream's status where there was one.
- **[Bill]**: the attempt's ledger row: its outcome, its input/output tokens and their cost in millionths of a dollar, at {input} and
  {output} a token; `≈` marks a flagged estimate. What failed costs what it told, or what is guessed of it.
- **Breaker**: state and failures in a row of the failing provider, whose `circuit_breaker_failure_threshold` is {threshold} here;
  `ENABLE_CIRCUIT_BREAKER_ON_NETWORK_ERRORS` is off.
- **Cool-down**: why, of the model or of the whole provider, and for how long.
- `max_attempts` is 2, as it is by default. Timers are short where they are what ends an attempt; by default they are 120 s to the head,
  300 s between events (900 s while a model thinks), 600 s for a whole answer.
";
