//! Chance that never changes: stored chains replay from it.

use rand::RngCore;

/// The chance behind the draws of one request: a SplitMix64 stream, fixed for ever so that stored chains
/// replay (`rand`'s own generators may change from version to version). The n-th draw depends on the seed
/// and n alone.
#[derive(Clone, Debug)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// The stream of a seed, at its first draw.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::at(seed, 0)
    }

    /// The stream of a seed after `drawn` draws.
    #[must_use]
    pub fn at(seed: u64, drawn: u64) -> Self {
        Self { state: seed.wrapping_add(GAMMA.wrapping_mul(drawn)) }
    }
}

impl RngCore for Draws {
    fn next_u32(&mut self) -> u32 {
        // The upper half: `as` cannot cut anything off after the shift.
        u32::try_from(self.next_u64() >> 32).unwrap_or(0)
    }

    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.iter_mut().zip(word).for_each(|(byte, chance)| *byte = chance);
        }
    }
}

/// SplitMix64's increment (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
