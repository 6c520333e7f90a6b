//! The cases with a throughput: every subject once per round, in an order that moves on by one each round, so
//! that nobody always comes first, and a slow moment of the machine meets all of one round.

use crate::Setup;
use crate::bodies::{Case, OUTPUT_TOKENS, SMALLEST};
use crate::books;
use crate::hub::client_secret;
use crate::load::Load;
use crate::subjects::{Stand, Subject, proxies};
use anyhow::{Context, Result};

/// What one subject did in one round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Finished requests per second.
    pub requests_per_s: f64,
    /// CPU seconds of the subject's processes per 1 000 requests.
    pub cpu_s_per_1k: f64,
    /// Half of all requests took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 99 in 100 took no longer, in milliseconds.
    pub p99_ms: f64,
}

/// A case at a concurrency: the samples of each subject, one a round.
#[derive(Debug)]
pub struct Measured {
    /// The case.
    pub case: Case,
    /// Connections, each with one request at a time.
    pub concurrency: usize,
    /// Who, and its samples in the order of the rounds.
    pub samples: Vec<(Subject, Vec<Sample>)>,
}

impl Measured {
    /// The samples of a subject; empty when it was not measured.
    #[must_use]
    pub fn of(&self, wanted: Subject) -> &[Sample] {
        self.samples.iter().find(|(subject, _)| *subject == wanted).map_or(&[], |(_, samples)| samples)
    }
}

/// Runs all cases at all concurrencies.
pub async fn run(setup: &Setup, progress: &mut impl FnMut(&str)) -> Result<Vec<Measured>> {
    let stand = Stand::start(setup, &[proxies(setup), vec![Subject::Governed]].concat()).await?;
    let mut booked = 0;
    let mut all = Vec::new();
    for &case in &setup.cases {
        for &concurrency in &setup.concurrency {
            let asked = stand.all().filter(|(subject, _)| is_asked(*subject, case));
            let mut samples: Vec<_> = asked.map(|(subject, _)| (subject, Vec::new())).collect();
            let subjects = samples.len();
            for round in 0..setup.rounds {
                progress(&format!("{} at concurrency {concurrency}, round {}", case.name, round + 1));
                for place in 0..subjects {
                    let (subject, samples) = &mut samples[(round + place) % subjects];
                    let what = || format!("{} through {}", case.name, subject.name());
                    let (sample, requests) =
                        measure(setup, &stand, *subject, case, concurrency).await.with_context(what)?;
                    samples.push(sample);
                    if *subject == Subject::Gateway {
                        booked += requests;
                    }
                }
            }
            all.push(Measured { case, concurrency, samples });
        }
    }
    books::hold(stand.child(Subject::Gateway)?, booked, booked * OUTPUT_TOKENS).await?;
    stand.stop().await?;
    Ok(all)
}

/// Budgets cost the same with each answer.
fn is_asked(subject: Subject, case: Case) -> bool {
    subject != Subject::Governed || case.name == SMALLEST
}

/// One subject in one round, and how many requests it served with the warm-up.
async fn measure(
    setup: &Setup,
    stand: &Stand,
    subject: Subject,
    case: Case,
    concurrency: usize,
) -> Result<(Sample, u64)> {
    let child = stand.child(subject)?;
    let mut load = Load::open(child.address, case, &client_secret(), concurrency).await?;
    let warm = load.run(setup.span.tenth()).await?;
    let before = child.cpu_s()?;
    let run = load.run(setup.span).await?;
    let cpu_s = child.cpu_s()? - before;
    let sample = Sample {
        requests_per_s: run.requests_per_s(),
        cpu_s_per_1k: cpu_s * 1_000.0 / run.latencies.len() as f64,
        p50_ms: run.quantile(0.50).as_secs_f64() * 1_000.0,
        p99_ms: run.quantile(0.99).as_secs_f64() * 1_000.0,
    };
    Ok((sample, (warm.latencies.len() + run.latencies.len()) as u64))
}
