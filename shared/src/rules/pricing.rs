//! What tokens cost: filled by slice c.
