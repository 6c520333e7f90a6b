//! What budgets promise: tables for windows and refusals, and a world of nodes in which everything goes wrong.

mod busy;
mod edges;
mod opening;
mod sim;
mod words;
