//! Every case runs to its end, through every proxy of this machine. How fast is not a test's business.

use bench::bodies::CASES;
use bench::load::Span;
use bench::streams::StreamsSetup;
use bench::{Setup, Subject, nginx};
use std::path::PathBuf;
use std::time::Duration;

fn setup(nginx: Option<PathBuf>) -> Setup {
    Setup {
        program: PathBuf::from(env!("CARGO_BIN_EXE_bench")),
        nginx,
        rounds: 2,
        span: Span::Requests(20),
        cases: CASES.to_vec(),
        concurrency: vec![4, 1],
        streams: StreamsSetup {
            rounds: 2,
            served_before: 50,
            open: 20,
            event_every: Duration::from_millis(10),
        },
    }
}

#[tokio::test]
async fn every_case_runs_and_every_ratio_is_finite() {
    let mut steps = 0;
    let report = bench::run(&setup(nginx::find()), |_| steps += 1).await.unwrap();

    assert_eq!(steps, CASES.len() * 2 * 2 + 2);
    for measured in &report.measured {
        for (subject, samples) in &measured.samples {
            assert_eq!(samples.len(), 2, "{} through {}", measured.case.name, subject.name());
        }
    }
    let ratios = report.ratios();
    for (name, ratio) in &ratios {
        let is_finite = [ratio.median, ratio.min, ratio.max].iter().all(|r| r.is_finite());
        assert!(is_finite, "{name}: {ratio:?}");
    }
    let throughput = ratios.iter().filter(|(name, _)| name.contains("requests/s, gateway to bare")).count();
    assert_eq!(throughput, CASES.len() * 2);
    let has_nginx = report.memory.iter().any(|(subject, _)| *subject == Subject::Nginx);
    assert_eq!(has_nginx, nginx::find().is_some());
    assert!(report.bars().iter().any(|bar| bar.promise.contains("open streams") && bar.measured.is_some()));
    assert!(report.to_string().contains("| gateway |"));
}

#[tokio::test]
async fn without_nginx_the_others_are_measured() {
    let setup = Setup { rounds: 1, cases: vec![CASES[0]], concurrency: vec![2], ..setup(None) };
    let report = bench::run(&setup, |_| {}).await.unwrap();
    let [measured] = report.measured.as_slice() else { panic!("one case") };
    let subjects: Vec<_> = measured.samples.iter().map(|(subject, _)| *subject).collect();
    assert_eq!(subjects, [Subject::Direct, Subject::Bare, Subject::Gateway, Subject::Governed]);
}
