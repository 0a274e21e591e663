//! liboqs against its own known answers: one exchange of each KEM with the
//! generator of NIST's test programs in the place of the system's randomness.
//! That replacement exists in this test program only, never in the addon.

#[path = "../src/kem.rs"]
#[allow(dead_code)]
mod kem;

use std::fmt::Write;
use std::sync::Mutex;

use aes::Aes256;
use aes::cipher::{BlockEncrypt, KeyInit};
use oqs_sys::rand::OQS_randombytes_custom_algorithm;
use sha2::{Digest, Sha256};

const VECTORS: &str = include_str!("../../../../test/vectors/liboqs-kats.json");

/// CTR_DRBG with AES-256 and no derivation function (NIST SP 800-90A, 10.2.1).
struct CtrDrbg {
    key: [u8; 32],
    counter: u128,
}

static GENERATOR: Mutex<CtrDrbg> = Mutex::new(CtrDrbg {
    key: [0; 32],
    counter: 0,
});

impl CtrDrbg {
    fn seeded(seed: &[u8; 48]) -> Self {
        let mut generator = CtrDrbg {
            key: [0; 32],
            counter: 0,
        };
        generator.update(seed);
        generator
    }

    fn block(&mut self) -> [u8; 16] {
        self.counter = self.counter.wrapping_add(1);
        let mut block = self.counter.to_be_bytes().into();
        Aes256::new(&self.key.into()).encrypt_block(&mut block);
        block.into()
    }

    fn update(&mut self, provided: &[u8; 48]) {
        let mut state = [0; 48];
        for part in state.chunks_exact_mut(16) {
            part.copy_from_slice(&self.block());
        }
        for (byte, other) in state.iter_mut().zip(provided) {
            *byte ^= other;
        }
        self.key.copy_from_slice(&state[..32]);
        self.counter = u128::from_be_bytes(state[32..].try_into().unwrap());
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(16) {
            part.copy_from_slice(&self.block()[..part.len()]);
        }
        self.update(&[0; 48]);
    }
}

unsafe extern "C" fn generate(bytes: *mut u8, count: usize) {
    // SAFETY: liboqs gives a buffer of that size.
    let bytes = unsafe { std::slice::from_raw_parts_mut(bytes, count) };
    GENERATOR.lock().unwrap().fill(bytes);
}

/// SHA-256 of the first test case as NIST's programs print it.
fn first_case(kem: &kem::Kem) -> String {
    let entropy: [u8; 48] = std::array::from_fn(|i| i as u8);
    let mut seed = [0; 48];
    CtrDrbg::seeded(&entropy).fill(&mut seed);
    *GENERATOR.lock().unwrap() = CtrDrbg::seeded(&seed);

    let mut public_key = vec![0; kem.public_key_bytes];
    let mut private_key = vec![0; kem.private_key_bytes];
    let mut ciphertext = vec![0; kem.ciphertext_bytes];
    let mut shared_secret = vec![0; kem.shared_secret_bytes];
    let mut opened = vec![0; kem.shared_secret_bytes];
    kem.generate(&mut public_key, &mut private_key).unwrap();
    kem.encapsulate(&mut ciphertext, &mut shared_secret, &public_key)
        .unwrap();
    kem.decapsulate(&mut opened, &ciphertext, &private_key).unwrap();
    assert_eq!(opened, shared_secret, "{}", kem.name);

    let mut text = String::from("count = 0\n");
    let fields: [(&str, &[u8]); 5] = [
        ("seed", &seed),
        ("pk", &public_key),
        ("sk", &private_key),
        ("ct", &ciphertext),
        ("ss", &shared_secret),
    ];
    for (name, bytes) in fields {
        writeln!(text, "{name} = {}", hex(bytes).to_uppercase()).unwrap();
    }
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The pairs of texts in the file's object `sha256`, which is all that this test needs of JSON.
fn expected() -> Vec<(String, String)> {
    let object = VECTORS.split_once("\"sha256\"").expect("the answers").1;
    let texts: Vec<&str> = object.split('"').skip(1).step_by(2).collect();
    texts
        .chunks_exact(2)
        .map(|pair| (pair[0].to_owned(), pair[1].to_owned()))
        .collect()
}

#[test]
fn every_kem_gives_its_known_answer() {
    let expected = expected();
    assert_eq!(expected.len(), 26, "the vectors are not what this test expects");
    assert_eq!(kem::kems().len(), 29);
    // SAFETY: a function that lives as long as the program.
    unsafe { OQS_randombytes_custom_algorithm(Some(generate)) };
    let differing: Vec<String> = expected
        .iter()
        .filter_map(|(name, answer)| {
            let got = first_case(kem::find(name).expect("a KEM of that name"));
            (got != *answer).then(|| format!("{name}: {got}"))
        })
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
