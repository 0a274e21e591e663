//! Batches: items of equal size, end to end. These run on the lanes' threads.

use std::time::Instant;

use napi_derive::napi;
use zeroize::Zeroizing;

use crate::kem::{Failed, Kem};
use crate::secret_buffer::SecretBuffer;

/// A batch of key pairs.
#[napi(object, object_from_js = false)]
pub struct KeyPairs {
    #[napi(ts_type = "Buffer")]
    pub public_keys: SecretBuffer,
    #[napi(ts_type = "Buffer")]
    pub private_keys: SecretBuffer,
}

/// A batch of ciphertexts with their shared secrets.
#[napi(object, object_from_js = false)]
pub struct Encapsulated {
    #[napi(ts_type = "Buffer")]
    pub ciphertexts: SecretBuffer,
    #[napi(ts_type = "Buffer")]
    pub shared_secrets: SecretBuffer,
}

/// Nanoseconds that liboqs itself takes for one operation, in a batch without JavaScript.
#[napi(object, object_from_js = false)]
pub struct RawSpeed {
    pub generate: f64,
    pub encapsulate: f64,
    pub decapsulate: f64,
}

pub fn generate(kem: &Kem, count: usize) -> Result<KeyPairs, Failed> {
    let mut public_keys = SecretBuffer::zeroed(count * kem.public_key_bytes);
    let mut private_keys = SecretBuffer::zeroed(count * kem.private_key_bytes);
    let pairs = public_keys
        .as_mut_slice()
        .chunks_exact_mut(kem.public_key_bytes)
        .zip(
            private_keys
                .as_mut_slice()
                .chunks_exact_mut(kem.private_key_bytes),
        );
    for (public_key, private_key) in pairs {
        kem.generate(public_key, private_key)?;
    }
    Ok(KeyPairs {
        public_keys,
        private_keys,
    })
}

pub fn encapsulate(kem: &Kem, public_keys: &[u8]) -> Result<Encapsulated, Failed> {
    let count = public_keys.len() / kem.public_key_bytes;
    let mut ciphertexts = SecretBuffer::zeroed(count * kem.ciphertext_bytes);
    let mut shared_secrets = SecretBuffer::zeroed(count * kem.shared_secret_bytes);
    let items = public_keys
        .chunks_exact(kem.public_key_bytes)
        .zip(ciphertexts.as_mut_slice().chunks_exact_mut(kem.ciphertext_bytes))
        .zip(
            shared_secrets
                .as_mut_slice()
                .chunks_exact_mut(kem.shared_secret_bytes),
        );
    for ((public_key, ciphertext), shared_secret) in items {
        kem.encapsulate(ciphertext, shared_secret, public_key)?;
    }
    Ok(Encapsulated {
        ciphertexts,
        shared_secrets,
    })
}

/// One private key for each ciphertext; the number of both is checked by the caller.
pub fn decapsulate(kem: &Kem, private_keys: &[u8], ciphertexts: &[u8]) -> Result<SecretBuffer, Failed> {
    let count = ciphertexts.len() / kem.ciphertext_bytes;
    let mut shared_secrets = SecretBuffer::zeroed(count * kem.shared_secret_bytes);
    let items = ciphertexts
        .chunks_exact(kem.ciphertext_bytes)
        .zip(private_keys.chunks_exact(kem.private_key_bytes))
        .zip(
            shared_secrets
                .as_mut_slice()
                .chunks_exact_mut(kem.shared_secret_bytes),
        );
    for ((ciphertext, private_key), shared_secret) in items {
        kem.decapsulate(shared_secret, ciphertext, private_key)?;
    }
    Ok(shared_secrets)
}

/// Passes over the key pairs of one measurement; the fastest counts, since all that disturbs one makes it longer.
const PASSES: usize = 5;

/// Times each operation over `count` key pairs, one after the other, in memory that is there already.
pub fn measure(kem: &Kem, count: usize) -> Result<RawSpeed, Failed> {
    let mut public_keys = vec![1; count * kem.public_key_bytes];
    let mut private_keys = Zeroizing::new(vec![1; count * kem.private_key_bytes]);
    let mut ciphertexts = vec![1; count * kem.ciphertext_bytes];
    let mut shared_secrets = Zeroizing::new(vec![1; count * kem.shared_secret_bytes]);
    Ok(RawSpeed {
        generate: fastest(1, count, |i| {
            kem.generate(
                item_mut(&mut public_keys, i, kem.public_key_bytes),
                item_mut(&mut private_keys, i, kem.private_key_bytes),
            )
        })?,
        encapsulate: fastest(PASSES, count, |i| {
            kem.encapsulate(
                item_mut(&mut ciphertexts, i, kem.ciphertext_bytes),
                item_mut(&mut shared_secrets, i, kem.shared_secret_bytes),
                item(&public_keys, i, kem.public_key_bytes),
            )
        })?,
        decapsulate: fastest(PASSES, count, |i| {
            kem.decapsulate(
                item_mut(&mut shared_secrets, i, kem.shared_secret_bytes),
                item(&ciphertexts, i, kem.ciphertext_bytes),
                item(&private_keys, i, kem.private_key_bytes),
            )
        })?,
    })
}

fn item(packed: &[u8], i: usize, bytes: usize) -> &[u8] {
    &packed[i * bytes..(i + 1) * bytes]
}

fn item_mut(packed: &mut [u8], i: usize, bytes: usize) -> &mut [u8] {
    &mut packed[i * bytes..(i + 1) * bytes]
}

/// Nanoseconds of one of `count` operations in the fastest of some passes.
fn fastest(
    passes: usize,
    count: usize,
    mut operation: impl FnMut(usize) -> Result<(), Failed>,
) -> Result<f64, Failed> {
    let mut best = f64::INFINITY;
    for _ in 0..passes {
        let started = Instant::now();
        for i in 0..count {
            operation(i)?;
        }
        best = best.min(started.elapsed().as_nanos() as f64 / count as f64);
    }
    Ok(best)
}
