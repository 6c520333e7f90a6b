//! What a choice costs: `cargo run --release -p shared --features testing --example select_cost`.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and says what it found")]

use rand::RngCore;
use shared::contract::breaker::{CoolAsk, CoolKind, Mark, Report};
use shared::model::rules::Pattern;
use shared::model::{ActiveTime, Client, ClientPattern, GroupSet, MatchType, ModelRule, Provider};
use shared::protocol::Dialect;
use shared::rules::breaker::table::Table;
use shared::rules::select::{Pool, SelectFacts, Selection, select};
use shared::testing::{provider, report, rng};
use shared::time::{UnixMillis, Zone};
use std::collections::HashSet;
use std::time::Instant;

fn main() {
    let groups: Vec<String> = (0..20).map(|n| format!("group-{n:02}")).collect();
    let rule = |match_type, text| Pattern::new(match_type, text).map(ModelRule).ok();
    let rules: Vec<ModelRule> = [
        rule(MatchType::Exact, "claude-haiku-4-5"),
        rule(MatchType::Prefix, "claude-sonnet"),
        rule(MatchType::Regex, "^claude-opus-[0-9]+(-[0-9]+)*$"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let providers: Vec<Provider> = (1..=500_i64)
        .zip(groups.iter().cycle())
        .map(|(id, group)| Provider {
            group_tag: GroupSet::parse(group),
            weight: u32::try_from(id % 10 + 1).unwrap_or(1),
            priority: u32::try_from(id % 3).unwrap_or(0),
            active_time: ActiveTime::parse("00:00", "23:59").ok(),
            allowed_models: rules.clone(),
            allowed_clients: vec![ClientPattern::new("codex-cli"), ClientPattern::new("claude*")],
            ..provider(id)
        })
        .collect();
    let pool = Pool::new(&providers, &HashSet::new(), &Zone::parse("Europe/Berlin").unwrap_or_default());
    let now = UnixMillis(1_790_000_000_000);
    let table = half_at_rest(&providers, now);
    for (name, caller, table) in [
        ("one group", "group-07", None),
        ("five groups", "group-01,group-05,group-09,group-13,group-17", None),
        ("all", "*", None),
        ("one group, half of it at rest", "group-07", Some((&table, now))),
        ("all, half of them at rest", "*", Some((&table, now))),
    ] {
        let caller = GroupSet::parse(caller);
        let facts = SelectFacts {
            pool: &pool,
            groups: &caller,
            dialect: Dialect::Anthropic,
            model: Some("claude-opus-5-1"),
            client: Some(Client("claude-cli/2.1.7 (external, cli)")),
            at: now,
            table,
            out: &[],
            only: None,
        };
        let mut draws = rng(1);
        let mut batches: Vec<u128> = (0..101)
            .map(|_| {
                let began = Instant::now();
                for _ in 0..200 {
                    if let Selection::Exhausted(_) = std::hint::black_box(select(&facts, &mut draws)) {
                        draws.next_u64();
                    }
                }
                began.elapsed().as_nanos() / 200
            })
            .collect();
        batches.sort_unstable();
        println!("{name}: median {} ns, worst batch {} ns", batches[50], batches[100]);
    }
}

/// Of four providers one has an open breaker and one a cool-down of its rate limit.
fn half_at_rest(providers: &[Provider], now: UnixMillis) -> Table {
    let mut table = Table::default();
    for provider in providers {
        let id = provider.id.0;
        let said = Report { terms: provider.circuit_terms(), ..report(id, table.pass(), Mark::Failure) };
        let cool = CoolAsk {
            kind: CoolKind::RateLimit,
            model: None,
            first_ms: 60_000,
            longest_ms: 60_000,
            memory_ms: 60_000,
        };
        match id % 4 {
            0 => (0..said.terms.failure_threshold).for_each(|_| {
                table.report_here(&said, now);
            }),
            1 => drop(table.report_here(&Report { mark: Mark::Neutral, cool: Some(cool), ..said }, now)),
            _ => {}
        }
    }
    table
}
