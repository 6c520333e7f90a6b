//! Figures of the configuration plane, printed and not asserted. By hand:
//! `cargo test --release -p redis-adapters measured -- --ignored --nocapture --test-threads 1`.
