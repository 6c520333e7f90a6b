//! Collects what cannot be accepted, so that a caller hears all of it at once.

use crate::error::{Error, Resource, Violation};
use sea_orm::DbErr;
use shared::model::{ClientPattern, GroupSet};
use std::ops::RangeInclusive;

/// The violations found so far.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Notes a violation unless `is_fine`.
    pub fn require(&mut self, is_fine: bool, field: &str, message: &str) {
        if !is_fine {
            self.0.push(Violation::new(field, message));
        }
    }

    /// A text whose length in characters is in range, without control characters.
    pub fn text(&mut self, field: &str, text: &str, chars: RangeInclusive<usize>) {
        if !chars.contains(&text.chars().count()) {
            let message = format!("must have {} to {} characters", chars.start(), chars.end());
            self.require(false, field, &message);
        }
        self.require(!text.chars().any(char::is_control), field, "must not hold control characters");
    }

    /// A display name: 1 to 64 characters, no blanks around it.
    pub fn name(&mut self, field: &str, name: &str) {
        self.text(field, name, 1..=64);
        self.require(name == name.trim(), field, "must not begin or end with a blank");
    }

    /// A note of at most 500 characters, in lines.
    pub fn note(&mut self, field: &str, note: Option<&str>) {
        let one_line = note.unwrap_or_default().replace(['\n', '\r', '\t'], " ");
        self.text(field, &one_line, 0..=500);
    }

    /// A whole number in range.
    pub fn number<N: PartialOrd + std::fmt::Display>(
        &mut self,
        field: &str,
        n: &N,
        range: &RangeInclusive<N>,
    ) {
        if !range.contains(n) {
            self.require(false, field, &format!("must be {} to {}", range.start(), range.end()));
        }
    }

    /// A list of short texts, none twice.
    pub fn list(&mut self, field: &str, items: &[String], most: usize, chars: RangeInclusive<usize>) {
        if items.len() > most {
            self.require(false, field, &format!("must have at most {most} items"));
        }
        for (i, item) in items.iter().enumerate() {
            self.text(&format!("{field}[{i}]"), item, chars.clone());
            self.require(!items[..i].contains(item), &format!("{field}[{i}]"), "is there twice");
        }
    }

    /// A list of clients.
    pub fn clients(&mut self, field: &str, patterns: &[ClientPattern]) {
        let texts: Vec<String> = patterns.iter().map(|pattern| pattern.text().to_owned()).collect();
        self.list(field, &texts, 100, 1..=128);
        for (i, text) in texts.iter().enumerate() {
            self.require(text.trim() == text, &format!("{field}[{i}]"), "must not begin or end with a blank");
        }
    }

    /// A list of group names; `*` only where a caller may have all.
    pub fn groups(&mut self, field: &str, set: &GroupSet, star: Star) {
        self.text(field, &set.to_string(), 0..=200);
        let is_star_fine = star == Star::Allowed || !set.names().any(|n| n == GroupSet::ALL);
        self.require(is_star_fine, field, "must not hold `*`: a provider belongs to groups by name");
    }

    /// All of them, or nothing to say.
    pub fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }
}

/// Whether `*` (every provider) makes sense in a list of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Star {
    /// On the caller's side.
    Allowed,
    /// On the provider's side.
    Refused,
}

/// A violated unique name as what it is, anything else as a fault of the database.
pub fn name_taken(resource: Resource) -> impl Fn(DbErr) -> Error {
    move |error| match error.sql_err() {
        Some(sea_orm::SqlErr::UniqueConstraintViolation(_)) => Error::NameTaken(resource),
        _ => Error::Database(error),
    }
}
