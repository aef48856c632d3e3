//! Architectures: published counts, names and logits, and new heads.

mod architectures;
mod networks_page;
mod new_head;
mod published;

#[path = "../../../tests/support/by_formula.rs"]
mod by_formula;
