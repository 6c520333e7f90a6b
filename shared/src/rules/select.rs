//! Which provider serves: filled by slice b.
