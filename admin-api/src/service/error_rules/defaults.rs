//! The rules of a release in the database: those that are missing are put there, those that are still as a release made
//! them follow the newest one, and those it no longer has go.
//!
//! Never touched: a rule that an admin has changed, the switch of any rule, a rule that an admin has deleted, and a pattern
//! that an admin has a rule for. Two admin-apis that start at once take turns at the revision's lock; the second finds
//! nothing to do, and what changes nothing makes no revision.

use super::{ErrorRuleFields, MAX_RULES, columns};
use crate::error::{Error, Resource};
use crate::repo::entity::error_rules::{ActiveModel, Model};
use crate::repo::error_rules as repo;
use crate::service::change::{Change, Entry};
use crate::service::{Actor, Admin, Changed};
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::ConnectionTrait;
use serde_json::json;
use shared::ids::ErrorRuleId;
use shared::rules::error_rules::{DefaultRule, default_rules};
use std::collections::BTreeSet;

/// How the rules of a release changed what is there; each by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// New.
    pub inserted: Vec<String>,
    /// As another release made them, until now.
    pub refreshed: Vec<String>,
    /// No release's any more.
    pub removed: Vec<String>,
}

/// Brings the rules of this release into the database.
pub async fn sync_defaults(admin: Admin) -> Result<Changed<Synced>, Error> {
    let defaults = defaults()?;
    if plan(admin.db().reader(), &defaults).await?.is_empty() {
        return Ok(Changed { value: Synced::default(), revision: None });
    }
    let change = Change::begin(&admin, &Actor::system("error_rules")).await?;
    // Another process may have been faster.
    let plan = plan(&change.tx, &defaults).await?;
    if plan.is_empty() {
        return change.nothing(Synced::default()).await;
    }
    carry_out(change, plan, "sync_defaults").await
}

/// The same, and those that were deleted come back.
pub async fn restore_defaults(admin: Admin, actor: Actor) -> Result<Changed<Synced>, Error> {
    let defaults = defaults()?;
    let change = Change::begin(&admin, &actor).await?;
    let has_removed = !repo::removed_names(&change.tx).await?.is_empty();
    repo::forget_removed(&change.tx).await?;
    let plan = plan(&change.tx, &defaults).await?;
    if plan.is_empty() && !has_removed {
        return change.nothing(Synced::default()).await;
    }
    carry_out(change, plan, "restore_defaults").await
}

fn defaults() -> Result<Vec<DefaultRule>, Error> {
    let corrupt =
        |_| Error::Corrupt { resource: Resource::ErrorRule, id: "defaults".to_owned(), column: "file" };
    default_rules().map_err(corrupt)
}

async fn plan(db: &impl ConnectionTrait, defaults: &[DefaultRule]) -> Result<Plan, Error> {
    Ok(Plan::of(defaults, &repo::all(db).await?, &repo::removed_names(db).await?))
}

async fn carry_out(change: Change, plan: Plan, verb: &'static str) -> Result<Changed<Synced>, Error> {
    let mut synced = Synced::default();
    for (id, name) in plan.remove {
        repo::delete(&change.tx, id).await?;
        synced.removed.push(name);
    }
    for (id, rule) in plan.refresh {
        let row = ActiveModel {
            id: Unchanged(id.0),
            revision: Set(change.revision_column()),
            updated_at_ms: Set(change.now.0),
            ..shipped(&rule)
        };
        repo::update(&change.tx, row).await?;
        synced.refreshed.push(rule.name);
    }
    for rule in plan.insert {
        let row = ActiveModel {
            is_enabled: Set(true),
            is_default: Set(true),
            default_name: Set(Some(rule.name.clone())),
            override_response: Set(None),
            override_status_code: Set(None),
            revision: Set(change.revision_column()),
            created_at_ms: Set(change.now.0),
            updated_at_ms: Set(change.now.0),
            ..shipped(&rule)
        };
        repo::insert(&change.tx, row).await?;
        synced.inserted.push(rule.name);
    }
    let Synced { inserted, refreshed, removed } = &synced;
    let after = json!({ "inserted": inserted, "refreshed": refreshed, "removed": removed });
    let entry = Entry {
        verb,
        resource: Resource::ErrorRule,
        id: "defaults".to_owned(),
        before: None,
        after: Some(after),
    };
    change.commit(synced, entry).await
}

/// The columns that a release decides.
fn shipped(rule: &DefaultRule) -> ActiveModel {
    let fields = ErrorRuleFields {
        pattern: rule.pattern.clone(),
        match_type: rule.match_type,
        category: rule.category,
        description: Some(rule.description.clone()),
        priority: rule.priority,
        is_enabled: true,
        override_response: None,
        override_status_code: None,
    };
    let ActiveModel { pattern, match_type, category, description, priority, .. } = columns(&fields);
    ActiveModel { pattern, match_type, category, description, priority, ..Default::default() }
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    insert: Vec<DefaultRule>,
    refresh: Vec<(ErrorRuleId, DefaultRule)>,
    remove: Vec<(ErrorRuleId, String)>,
}

impl Plan {
    fn of(defaults: &[DefaultRule], rows: &[Model], removed: &BTreeSet<String>) -> Self {
        let mut plan = Self::default();
        let named = |row: &Model, rule: &DefaultRule| row.default_name.as_ref() == Some(&rule.name);
        for row in rows.iter().filter(|row| row.is_default) {
            if !defaults.iter().any(|rule| named(row, rule)) {
                let name = row.default_name.clone().unwrap_or_else(|| row.id.to_string());
                plan.remove.push((ErrorRuleId(row.id), name));
            }
        }
        let stays = |row: &&Model| !plan.remove.iter().any(|(id, _)| id.0 == row.id);
        let rows: Vec<&Model> = rows.iter().filter(stays).collect();
        let room = usize::try_from(MAX_RULES).unwrap_or(usize::MAX).saturating_sub(rows.len());
        for rule in defaults {
            let is_elsewhere = rows.iter().any(|row| row.pattern == rule.pattern && !named(row, rule));
            match rows.iter().find(|row| named(row, rule)) {
                _ if is_elsewhere => {}
                Some(row) if row.is_default && !is_as(row, rule) => {
                    plan.refresh.push((ErrorRuleId(row.id), rule.clone()));
                }
                Some(_) => {}
                None if removed.contains(&rule.name) || plan.insert.len() >= room => {}
                None => plan.insert.push(rule.clone()),
            }
        }
        plan
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn is_as(row: &Model, rule: &DefaultRule) -> bool {
    row.pattern == rule.pattern
        && row.match_type == rule.match_type.as_str()
        && row.category == rule.category.as_str()
        && row.description.as_ref() == Some(&rule.description)
        && row.priority == rule.priority
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::model::{ErrorCategory, ErrorMatch};

    fn rule(name: &str, pattern: &str) -> DefaultRule {
        DefaultRule {
            name: name.to_owned(),
            match_type: ErrorMatch::Contains,
            pattern: pattern.to_owned(),
            category: ErrorCategory::PromptLimit,
            description: "d".to_owned(),
            priority: 1_000,
        }
    }

    fn row(id: i64, rule: &DefaultRule) -> Model {
        Model {
            id,
            pattern: rule.pattern.clone(),
            match_type: rule.match_type.as_str().to_owned(),
            category: rule.category.as_str().to_owned(),
            description: Some(rule.description.clone()),
            priority: rule.priority,
            is_enabled: true,
            is_default: true,
            default_name: Some(rule.name.clone()),
            override_response: None,
            override_status_code: None,
            revision: 1,
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }

    fn planned(defaults: &[DefaultRule], rows: &[Model]) -> Plan {
        Plan::of(defaults, rows, &BTreeSet::new())
    }

    #[test]
    fn what_is_missing_comes_and_what_is_there_stays_as_it_is() {
        let (a, b) = (rule("a", "x"), rule("b", "y"));
        let plan = planned(&[a.clone(), b.clone()], &[row(1, &a)]);
        assert_eq!(plan, Plan { insert: vec![b.clone()], ..Plan::default() });
        let off = Model { is_enabled: false, ..row(1, &a) };
        assert!(
            planned(&[a, b.clone()], &[off, row(2, &b)]).is_empty(),
            "a switch is no change of a release's"
        );
    }

    #[test]
    fn a_rule_follows_its_release_until_an_admin_changes_it() {
        let (old, new) = (rule("a", "x"), rule("a", "z"));
        let plan = planned(std::slice::from_ref(&new), &[row(1, &old)]);
        assert_eq!(plan, Plan { refresh: vec![(ErrorRuleId(1), new.clone())], ..Plan::default() });
        let changed = Model { is_default: false, ..row(1, &old) };
        assert!(planned(&[new], std::slice::from_ref(&changed)).is_empty());
        assert!(planned(&[], &[changed]).is_empty(), "nor does it go with the release that had it");
        let gone = planned(&[], &[row(1, &old)]);
        assert_eq!(gone, Plan { remove: vec![(ErrorRuleId(1), "a".to_owned())], ..Plan::default() });
    }

    #[test]
    fn what_an_admin_deleted_or_has_a_rule_for_does_not_come() {
        let a = rule("a", "x");
        assert!(Plan::of(std::slice::from_ref(&a), &[], &BTreeSet::from(["a".to_owned()])).is_empty());
        let own = Model { is_default: false, default_name: None, ..row(1, &a) };
        assert!(planned(std::slice::from_ref(&a), std::slice::from_ref(&own)).is_empty());
        // Nor does a rule of the release take over the pattern of an admin's.
        let other = Model { pattern: "before".to_owned(), ..row(2, &a) };
        assert!(planned(&[a], &[own, other]).is_empty());
    }
}
