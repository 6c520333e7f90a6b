//! Several nodes and their store: stories, and random ones.

use super::*;

/// A gateway as it should use all this.
struct Node {
    name: &'static str,
    table: Table,
    /// It cannot reach the store.
    is_cut: bool,
    /// What it has under way.
    passes: Vec<(ProviderId, Terms, Pass)>,
}

impl Node {
    fn new(name: &'static str) -> Self {
        Self { name, table: Table::default(), is_cut: false, passes: Vec::new() }
    }

    fn poll(&mut self, store: &mut Fleet, now: UnixMillis) {
        if self.is_cut {
            return;
        }
        let news = store.read(Some(self.name), self.table.since(), now);
        self.table.take_in(news, now);
        let unsaved = self.table.unsaved();
        if !unsaved.is_empty() {
            store.merge(&unsaved, now);
            self.table.saved(&unsaved);
        }
    }

    /// Begins an attempt, if it may.
    fn begin(&mut self, store: &mut Fleet, id: ProviderId, terms: Terms, now: UnixMillis) -> Option<Taken> {
        match self.table.standing(id, &terms, None, now) {
            Standing::Ready | Standing::Overloaded { .. } => {
                self.passes.push((id, terms, self.table.pass()));
                None
            }
            Standing::NeedsPermit => {
                let seen = self.table.pass().seen;
                let ask =
                    PermitAsk { provider_id: id, terms, seen, node: self.name.to_owned(), hold_ms: 3_000 };
                let taken = if self.is_cut {
                    self.table.ask_here(&ask, now)
                } else {
                    let (taken, told) = store.take_permit(&ask, now);
                    told.doc.into_iter().for_each(|doc| self.table.put(doc, now));
                    taken
                };
                if let Taken::Granted(pass) | Taken::Unneeded(pass) = taken {
                    self.passes.push((id, terms, pass));
                }
                Some(taken)
            }
            Standing::Probing | Standing::Open { .. } | Standing::Cooling { .. } => None,
        }
    }

    /// True when the store was called.
    fn end(&mut self, store: &mut Fleet, said: &Report, now: UnixMillis) -> bool {
        if !self.table.is_news(said, now) {
            return false;
        }
        if self.is_cut {
            self.table.report_here(said, now);
            return false;
        }
        let told = store.report(said, now);
        told.doc.into_iter().for_each(|doc| self.table.put(doc, now));
        true
    }
}

#[test]
fn what_a_healthy_provider_serves_is_never_told_to_the_store() {
    let (mut store, mut node) = (Fleet::default(), Node::new("a"));
    node.poll(&mut store, at(0));
    let success = |node: &Node| report(A.0, node.table.pass(), Mark::Success);
    assert!(!node.end(&mut store, &success(&node), at(1)));
    assert!(!node.end(&mut store, &report(A.0, node.table.pass(), Mark::Neutral), at(1)));
    let off = Terms { failure_threshold: 0, ..Terms::default() };
    assert!(!node.end(
        &mut store,
        &Report { terms: off, ..report(A.0, node.table.pass(), Mark::Failure) },
        at(1)
    ));
    // A failure is, the success after it is, the next one is not.
    assert!(node.end(&mut store, &report(A.0, node.table.pass(), Mark::Failure), at(2)));
    assert!(node.end(&mut store, &success(&node), at(3)));
    assert!(!node.end(&mut store, &success(&node), at(4)));
    // Also not of one that was broken once.
    for ms in 5..10 {
        assert!(node.end(&mut store, &report(A.0, node.table.pass(), Mark::Failure), at(ms)));
    }
    assert!(!node.end(&mut store, &report(A.0, node.table.pass(), Mark::Failure), at(11)), "it is open");
    store.order(
        &Order::Reset { provider_id: A, terms: Terms::default(), cause: Cause::Reset, only_if: None },
        at(12),
    );
    node.poll(&mut store, at(13));
    assert!(!node.end(&mut store, &success(&node), at(14)));
    // Nor after an outage in which something was counted here.
    node.is_cut = true;
    node.end(&mut store, &report(A.0, node.table.pass(), Mark::Failure), at(15));
    node.is_cut = false;
    node.poll(&mut store, at(16));
    node.poll(&mut store, at(17));
    assert!(!node.end(&mut store, &success(&node), at(18)), "{:?}", node.table.doc(A));
}

#[test]
fn a_node_that_was_alone_brings_what_it_saw_and_believes_what_is_newer() {
    let mut store = Fleet::default();
    let (mut a, mut b) = (Node::new("a"), Node::new("b"));
    a.poll(&mut store, at(0));
    b.poll(&mut store, at(0));
    (a.is_cut, b.is_cut) = (true, true);
    for ms in 1..=5 {
        a.end(&mut store, &report(A.0, a.table.pass(), Mark::Failure), at(ms));
    }
    assert!(matches!(a.table.standing(A, &Terms::default(), None, at(6)), Standing::Open { .. }));
    assert_eq!(b.table.standing(A, &Terms::default(), None, at(6)), Standing::Ready);
    a.is_cut = false;
    a.poll(&mut store, at(10));
    b.is_cut = false;
    b.poll(&mut store, at(11));
    assert!(matches!(b.table.standing(A, &Terms::default(), None, at(12)), Standing::Open { .. }));
    assert_eq!(b.table.doc(A).unwrap().samples.len(), 5);
    // A reset while one is cut off: it comes back with older news.
    b.is_cut = true;
    let reset = Order::Reset { provider_id: A, terms: Terms::default(), cause: Cause::Reset, only_if: None };
    store.order(&reset, at(20));
    assert!(matches!(b.table.standing(A, &Terms::default(), None, at(21)), Standing::Open { .. }));
    b.is_cut = false;
    b.poll(&mut store, at(30));
    b.poll(&mut store, at(31));
    assert_eq!(b.table.standing(A, &Terms::default(), None, at(31)), Standing::Ready);
    assert_eq!(store.read(None, Since::default(), at(32)).docs[0].cause, Some(Cause::Reset));
}

#[test]
fn a_store_that_lost_everything_is_told_again() {
    let mut store = Fleet::default();
    let mut a = Node::new("a");
    a.poll(&mut store, at(0));
    for ms in 1..=5 {
        a.end(&mut store, &report(A.0, a.table.pass(), Mark::Failure), at(ms));
    }
    let known = a.table.doc(A).unwrap().clone();
    let mut store = Fleet::default();
    a.poll(&mut store, at(100));
    a.poll(&mut store, at(101));
    let again = store.read(None, Since::default(), at(102)).docs;
    assert_eq!(again, [known.clone().numbered(again[0].version)]);
    assert_eq!(a.table.doc(A), again.first());
    // It was reset on purpose: nobody brings anything back.
    store.order(&Order::ResetAll, at(110));
    a.poll(&mut store, at(111));
    a.poll(&mut store, at(112));
    assert_eq!(a.table.docs().count(), 0);
    assert_eq!(store.read(None, Since::default(), at(113)).docs, []);
    // And what was admitted before it counts for nothing.
    let late = report(A.0, Pass { seen: known.version, fence: None }, Mark::Failure);
    assert_eq!(store.report(&late, at(114)).doc, None);
}

#[test]
fn a_fleet_that_starts_begins_clean_and_one_that_grows_does_not() {
    let mut store = Fleet::default();
    assert!(store.join("a", at(0)));
    for ms in 1..=5 {
        store.report(&report(A.0, Pass { seen: u64::MAX, fence: None }, Mark::Failure), at(ms));
    }
    assert!(!store.join("b", at(6)));
    assert_eq!(store.read(None, Since::default(), at(7)).docs.len(), 1);
    // The same node twice is nobody else, but b is.
    assert!(!store.join("a", at(8)));
    store.leave("b");
    store.read(Some("a"), Since::default(), at(9));
    assert!(!store.join("c", at(10_009)), "a was heard ten seconds ago");
    store.leave("c");
    assert!(store.join("d", at(10_010)));
    assert_eq!(store.read(None, Since::default(), at(10_011)).docs, []);
}

#[test]
fn a_document_that_nobody_speaks_of_is_forgotten() {
    let (mut store, mut node) = (Fleet::default(), Node::new("a"));
    store.report(&report(A.0, Pass { seen: 0, fence: None }, Mark::Failure), at(0));
    node.poll(&mut store, at(0));
    let days = 2 * 86_400_000;
    assert_eq!(store.read(None, Since::default(), at(days)).docs.len(), 1);
    assert_eq!(store.read(None, Since::default(), at(days + 1)).docs.len(), 0);
    node.poll(&mut store, at(days + 1));
    assert_eq!(node.table.docs().count(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Poll(usize),
    Cut(usize, bool),
    Begin(usize, i64),
    End(usize, usize, Mark),
    Leave(usize),
    Reset(i64),
    Probed(i64),
    Lost,
}

fn steps(has_losses: bool) -> impl Strategy<Value = Vec<Step>> {
    let mark = prop_oneof![8 => Just(Mark::Failure), 3 => Just(Mark::Success), 1 => Just(Mark::Neutral)];
    let losses = u32::from(has_losses);
    let step = prop_oneof![
        3 => (1..6_000_i64).prop_map(Step::Wait),
        4 => (0..3_usize).prop_map(Step::Poll),
        2 * losses => (0..3_usize, any::<bool>()).prop_map(|(node, cut)| Step::Cut(node, cut)),
        10 => (0..3_usize, 0..3_i64).prop_map(|(node, id)| Step::Begin(node, id)),
        10 => (0..3_usize, 0..9_usize, mark).prop_map(|(node, which, mark)| Step::End(node, which, mark)),
        1 => (0..3_usize).prop_map(Step::Leave),
        1 => (0..3_i64).prop_map(Step::Reset),
        1 => (0..3_i64).prop_map(Step::Probed),
        losses => Just(Step::Lost),
    ];
    prop::collection::vec(step, 0..250)
}

/// Provider 0 has its breaker switched off.
fn terms(id: i64) -> Terms {
    let failure_threshold = u32::try_from(id).unwrap() * 2;
    Terms { failure_threshold, open_duration_ms: 5_000, half_open_success_threshold: 2, account: 1 }
}

fn has_evidence(doc: &CircuitDoc) -> bool {
    let count = u32::try_from(doc.samples.len()).unwrap();
    let explains = match doc.circuit {
        Circuit::Closed { failures } if failures > 0 => count == failures.min(8),
        Circuit::Closed { .. } => true,
        Circuit::Open { .. } => count > 0 && doc.cause.is_some() && doc.changed_at.is_some(),
        Circuit::HalfOpen { successes, .. } => count > successes && doc.cause.is_some(),
    };
    explains && count <= 8 && (doc.generation == 0 || doc.cause.is_some() || doc.changed_at.is_none())
}

struct World {
    store: Fleet,
    nodes: Vec<Node>,
    now: i64,
    /// Grants under way: fence → provider, owner, generation, lapses at.
    out: BTreeMap<u64, (ProviderId, &'static str, u64, i64)>,
    grants: u32,
}

impl World {
    fn new() -> Self {
        let mut store = Fleet::default();
        let mut nodes: Vec<Node> = ["a", "b", "c"].map(Node::new).into();
        for node in &mut nodes {
            store.join(node.name, at(0));
            node.poll(&mut store, at(0));
        }
        Self { store, nodes, now: 0, out: BTreeMap::new(), grants: 0 }
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        self.now += 1;
        let now = at(self.now);
        match step {
            Step::Wait(ms) => self.now += ms,
            Step::Poll(n) => self.nodes[*n].poll(&mut self.store, now),
            Step::Cut(n, is_cut) => self.nodes[*n].is_cut = *is_cut,
            Step::Begin(n, id) => self.begin(*n, ProviderId(*id), now)?,
            Step::End(n, which, mark) => {
                let node = &mut self.nodes[*n];
                if !node.passes.is_empty() {
                    let (id, terms, pass) = node.passes.remove(which % node.passes.len());
                    let said = Report { terms, ..report(id.0, pass, *mark) };
                    node.end(&mut self.store, &said, now);
                    pass.fence.map(|fence| self.out.remove(&fence));
                }
            }
            Step::Leave(n) => {
                let node = &mut self.nodes[*n];
                if !node.is_cut {
                    self.store.leave(node.name);
                    self.out.retain(|_, (_, owner, ..)| *owner != node.name);
                    node.passes.clear();
                    node.table = Table::default();
                }
            }
            Step::Reset(id) => {
                let order = Order::Reset {
                    provider_id: ProviderId(*id),
                    terms: terms(*id),
                    cause: Cause::Reset,
                    only_if: None,
                };
                self.store.order(&order, now);
            }
            Step::Probed(id) => {
                let generation = self.doc(ProviderId(*id)).map_or(0, |doc| doc.generation);
                let sample = sample(5, Some(200), now);
                self.store.order(&Order::Probed { provider_id: ProviderId(*id), generation, sample }, now);
            }
            Step::Lost => self.store = Fleet::default(),
        }
        let tables = self.nodes.iter().flat_map(|node| node.table.docs().cloned());
        let kept = self.store.clone().read(None, Since::default(), now).docs;
        for doc in tables.chain(kept) {
            prop_assert!(has_evidence(&doc), "{:?}", doc);
        }
        Ok(())
    }

    fn begin(&mut self, n: usize, id: ProviderId, now: UnixMillis) -> Result<(), TestCaseError> {
        let node = &mut self.nodes[n];
        let before = node.passes.len();
        let taken = node.begin(&mut self.store, id, terms(id.0), now);
        if id.0 == 0 {
            prop_assert_eq!(node.passes.len(), before + 1, "a disabled breaker blocks");
        }
        if let Some(Taken::Granted(pass)) = taken
            && !node.is_cut
        {
            let doc = self.doc(id).unwrap();
            let rival = self.out.values().find(|(provider, _, generation, until)| {
                (*provider, *generation) == (id, doc.generation) && self.now < *until
            });
            prop_assert_eq!(rival, None, "a second permit");
            let grant = (id, self.nodes[n].name, doc.generation, self.now + 3_000);
            self.out.insert(pass.fence.unwrap(), grant);
            self.grants += 1;
        }
        Ok(())
    }

    fn doc(&self, id: ProviderId) -> Option<CircuitDoc> {
        let docs = self.store.clone().read(None, Since::default(), at(self.now)).docs;
        docs.into_iter().find(|doc| doc.provider_id == id)
    }

    /// Everybody reaches the store again and hears all there is.
    fn settle(&mut self) {
        for _ in 0..4 {
            for node in &mut self.nodes {
                node.is_cut = false;
                self.now += 1;
                node.poll(&mut self.store, at(self.now));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No losses: permits are exact.
    #[test]
    fn one_permit_is_out_at_a_time_and_none_leaks(steps in steps(false)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step)?;
        }
        // All owners are silent; the time of all permits and breakers is over.
        world.now += 20_000;
        for id in [1, 2] {
            let node = &mut Node::new("later");
            node.poll(&mut world.store, at(world.now));
            let before = world.doc(ProviderId(id));
            let taken = node.begin(&mut world.store, ProviderId(id), terms(id), at(world.now));
            prop_assert!(!matches!(taken, Some(Taken::Refused)) && node.passes.len() == 1, "{:?}", before);
        }
    }

    /// Whoever is cut off, and whatever is lost: in the end all know the same, and a reset clears everywhere.
    #[test]
    fn nodes_come_to_know_the_same_and_a_reset_clears_everywhere(steps in steps(true)) {
        let mut world = World::new();
        for step in &steps {
            // Two probes may be out while nodes are cut off.
            world.out.clear();
            world.run(step)?;
        }
        world.settle();
        let kept = world.store.read(None, Since::default(), at(world.now)).docs;
        for node in &world.nodes {
            let mut known: Vec<CircuitDoc> = node.table.docs().cloned().collect();
            known.sort_by_key(|doc| doc.provider_id);
            prop_assert_eq!(&known, &kept, "{}", node.name);
            prop_assert!(node.table.unsaved().is_empty());
        }
        for id in 0..3 {
            world.run(&Step::Reset(id))?;
        }
        // Late results of all sorts, from before it.
        for step in [Mark::Failure, Mark::Success, Mark::Failure].iter().cycle().take(30).enumerate() {
            world.run(&Step::End(step.0 % 3, step.0, *step.1))?;
        }
        world.settle();
        for node in &world.nodes {
            for id in 0..3 {
                let standing = node.table.standing(ProviderId(id), &terms(id), None, at(world.now));
                prop_assert_eq!(standing, Standing::Ready);
                let circuit = node.table.doc(ProviderId(id)).map(|doc| doc.circuit.clone());
                prop_assert_eq!(circuit, Some(Circuit::Closed { failures: 0 }));
            }
        }
    }
}

/// The properties above would hold of a breaker that never opens.
#[test]
fn random_steps_reach_probes() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let grants: u32 = (0..100)
        .map(|_| {
            let mut world = World::new();
            let steps = steps(false).new_tree(&mut runner).unwrap().current();
            steps.iter().for_each(|step| world.run(step).unwrap());
            world.grants
        })
        .sum();
    assert!(grants > 100, "{grants}");
}
