//! SHA-256 (FIPS 180-4), in plain scalar code: the same instructions on every CPU.

use isobench_abi::Fold64;

use super::{Done, fill, timed};

/// Hashes `size` bytes, `reps` times, each digest written over the first 32 bytes.
pub fn run(heap: &mut [u64], size: u64, reps: u64) -> Done {
    let message = &mut heap[..size as usize / 8];
    fill(message);
    let (start, digest, end) = timed((message, reps), |(message, reps)| {
        let mut digest = [0; 8];
        for _ in 0..reps {
            digest = hash(message);
            for (slot, pair) in message.iter_mut().zip(digest.chunks_exact(2)) {
                *slot = little_endian(pair[0], pair[1]);
            }
        }
        digest
    });
    let digest = digest
        .chunks_exact(2)
        .fold(Fold64::EMPTY, |fold, pair| {
            fold.word(little_endian(pair[0], pair[1]))
        })
        .word(32);
    Done {
        start,
        end,
        digest,
        isa: 0,
    }
}

/// Two big-endian words of a digest, as the eight bytes they stand for, read little-endian.
fn little_endian(first: u32, second: u32) -> u64 {
    u64::from(first.swap_bytes()) | u64::from(second.swap_bytes()) << 32
}

/// Section 5.3.3: the first 32 bits of the fractional parts of the square roots of the first eight
/// primes.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Section 4.2.2: likewise of the cube roots of the first 64 primes.
#[rustfmt::skip]
static ROUND: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The hash of a message that is a whole number of 64-bit words.
fn hash(message: &[u64]) -> [u32; 8] {
    let mut hash = INITIAL;
    let mut blocks = message.chunks_exact(8);
    for block in &mut blocks {
        let mut words = [0; 16];
        unpack(block, &mut words);
        compress(&mut hash, words);
    }
    // Section 5.1.1: a one bit, zeros, and the length in bits as a 64-bit big-endian number; a
    // second block where the length no longer fits.
    let rest = blocks.remainder();
    let bits = message.len() as u64 * 64;
    let mut words = [0; 16];
    unpack(rest, &mut words);
    words[rest.len() * 2] = 0x8000_0000;
    if rest.len() == 7 {
        compress(&mut hash, words);
        words = [0; 16];
    }
    words[14] = (bits >> 32) as u32;
    words[15] = bits as u32;
    compress(&mut hash, words);
    hash
}

/// Up to eight message words as big-endian 32-bit words.
fn unpack(message: &[u64], words: &mut [u32; 16]) {
    for (pair, &word) in words.chunks_exact_mut(2).zip(message) {
        pair[0] = (word as u32).swap_bytes();
        pair[1] = ((word >> 32) as u32).swap_bytes();
    }
}

/// Section 6.2.2: one block. The message schedule is a ring of 16 words.
fn compress(hash: &mut [u32; 8], mut schedule: [u32; 16]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *hash;
    for (group, constants) in ROUND.chunks_exact(16).enumerate() {
        for t in 0..16 {
            if group > 0 {
                let early = schedule[(t + 1) % 16];
                let late = schedule[(t + 14) % 16];
                let small0 = early.rotate_right(7) ^ early.rotate_right(18) ^ (early >> 3);
                let small1 = late.rotate_right(17) ^ late.rotate_right(19) ^ (late >> 10);
                schedule[t] = schedule[t]
                    .wrapping_add(small0)
                    .wrapping_add(schedule[(t + 9) % 16])
                    .wrapping_add(small1);
            }
            let big1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choose = g ^ (e & (f ^ g));
            let first = h
                .wrapping_add(big1)
                .wrapping_add(choose)
                .wrapping_add(constants[t])
                .wrapping_add(schedule[t]);
            let big0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let majority = (a & b) | (c & (a | b));
            h = g;
            g = f;
            f = e;
            e = d.wrapping_add(first);
            d = c;
            c = b;
            b = a;
            a = first.wrapping_add(big0).wrapping_add(majority);
        }
    }
    for (word, add) in hash.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(add);
    }
}
