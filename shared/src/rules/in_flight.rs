//! Which of the requests that run on all nodes are shown.

use crate::contract::in_flight::{InFlight, RunningRequest};
use crate::ids::{KeyId, ProviderId, UserId};
use crate::ports::NodeInFlight;
use crate::time::UnixMillis;

/// What is looked for; `None`: whatever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The key's user.
    pub user_id: Option<UserId>,
    /// The key.
    pub key_id: Option<KeyId>,
    /// The provider of the newest attempt.
    pub provider_id: Option<ProviderId>,
    /// The model the seat asked for, in full.
    pub model: Option<String>,
    /// The node.
    pub node_id: Option<String>,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The oldest requests, the oldest first, each with its node.
    pub requests: Vec<(String, RunningRequest)>,
    /// Requests that may be looked for and are not shown: those that a node only counted, whatever they are, and those
    /// beyond the bound.
    pub left_out: u64,
    /// The nodes that were looked at, in their order, and when each of them told; `None`: it does not tell.
    pub nodes: Vec<(String, Option<UnixMillis>)>,
}

/// What of all this is shown, at most `max` requests.
#[must_use]
pub fn shown(nodes: Vec<NodeInFlight>, wanted: &Wanted, max: usize) -> Shown {
    let mut shown = Shown { requests: Vec::new(), left_out: 0, nodes: Vec::new() };
    for NodeInFlight { id, told } in nodes {
        if wanted.node_id.as_ref().is_some_and(|wanted| *wanted != id) {
            continue;
        }
        shown.nodes.push((id.clone(), told.as_ref().map(|told| told.at)));
        let Some(InFlight { requests, left_out, .. }) = told else { continue };
        shown.left_out = shown.left_out.saturating_add(left_out);
        let requests = requests.into_iter().filter(|request| wanted.fits(request));
        shown.requests.extend(requests.map(|request| (id.clone(), request)));
    }
    shown.requests.sort_by_key(|(_, request)| (request.started_at, request.id));
    let beyond = shown.requests.len().saturating_sub(max) as u64;
    shown.requests.truncate(max);
    shown.left_out = shown.left_out.saturating_add(beyond);
    shown
}

impl Wanted {
    fn fits(&self, request: &RunningRequest) -> bool {
        self.user_id.is_none_or(|id| id == request.user_id)
            && self.key_id.is_none_or(|id| id == request.key_id)
            && self.provider_id.is_none_or(|id| Some(id) == request.provider_id)
            && self.model.as_ref().is_none_or(|model| Some(model) == request.model.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_flight;

    fn node(id: &str, told: Option<InFlight>) -> NodeInFlight {
        NodeInFlight { id: id.to_owned(), told }
    }

    /// Requests 1 to 4 run on two nodes, one a second; a third node does not tell.
    fn nodes() -> Vec<NodeInFlight> {
        let mut both = [in_flight(7, [1, 3]), in_flight(8, [2, 4])];
        for request in both.iter_mut().flat_map(|told| &mut told.requests) {
            let n = i64::from(request.id.to_bytes()[15]);
            request.started_at = UnixMillis(n * 1_000);
            (request.user_id, request.key_id) = (UserId(n % 2), KeyId(n));
            request.provider_id = (n > 1).then_some(ProviderId(n / 2));
            request.model = (n != 4).then(|| format!("model {}", n / 3));
        }
        let [mut a, b] = both;
        a.left_out = 10;
        vec![node("a", Some(a)), node("b", Some(b)), node("c", None)]
    }

    fn found(wanted: Wanted, max: usize) -> (Vec<i64>, u64) {
        let shown = shown(nodes(), &wanted, max);
        (shown.requests.iter().map(|(_, request)| request.key_id.0).collect(), shown.left_out)
    }

    #[test]
    fn the_oldest_of_all_nodes_come_first_and_the_rest_is_counted() {
        let all = shown(nodes(), &Wanted::default(), 10);
        let of: Vec<&str> = all.requests.iter().map(|(node, _)| node.as_str()).collect();
        assert_eq!(of, ["a", "b", "a", "b"]);
        let told = |id: &str, at: Option<i64>| (id.to_owned(), at.map(UnixMillis));
        assert_eq!(all.nodes, [told("a", Some(7)), told("b", Some(8)), told("c", None)]);
        assert_eq!(found(Wanted::default(), 4), (vec![1, 2, 3, 4], 10));
        assert_eq!(found(Wanted::default(), 3), (vec![1, 2, 3], 11));
        assert_eq!(found(Wanted::default(), 0), (vec![], 14));
    }

    #[test]
    fn only_what_is_wanted_is_shown_or_counted_beyond_the_bound() {
        let any = Wanted::default;
        assert_eq!(found(Wanted { user_id: Some(UserId(1)), ..any() }, 9), (vec![1, 3], 10));
        assert_eq!(found(Wanted { user_id: Some(UserId(1)), ..any() }, 1), (vec![1], 11));
        assert_eq!(found(Wanted { key_id: Some(KeyId(4)), ..any() }, 9), (vec![4], 10));
        assert_eq!(found(Wanted { provider_id: Some(ProviderId(1)), ..any() }, 9), (vec![2, 3], 10));
        assert_eq!(found(Wanted { model: Some("model 0".to_owned()), ..any() }, 9), (vec![1, 2], 10));
        let both = Wanted { user_id: Some(UserId(0)), provider_id: Some(ProviderId(1)), ..any() };
        assert_eq!(found(both, 9), (vec![2], 10));
    }

    #[test]
    fn a_node_that_is_not_wanted_has_no_part_in_it() {
        let wanted = |id: &str| Wanted { node_id: Some(id.to_owned()), ..Wanted::default() };
        let shown_of = |id| shown(nodes(), &wanted(id), 9);
        assert_eq!(found(wanted("b"), 9), (vec![2, 4], 0));
        assert_eq!(shown_of("b").nodes, [("b".to_owned(), Some(UnixMillis(8)))]);
        assert_eq!(shown_of("c").nodes, [("c".to_owned(), None)]);
        assert_eq!(shown_of("x").nodes, []);
    }
}
