//! `liboqs-node`: the KEMs of liboqs for Node.
//!
//! The surface is plain data: names, numbers and Buffers that hold items end
//! to end. Every operation checks its input before liboqs sees it, runs on a
//! thread of the lane that the caller names, and settles a promise; nothing
//! blocks the event loop. Copies of secrets made here are zeroed when they are
//! done with, and returned Buffers when they are collected.

mod kem;
mod lanes;
mod operations;
mod secret_buffer;

use std::panic::{AssertUnwindSafe, catch_unwind};

use napi::bindgen_prelude::{Buffer, Object, ToNapiValue};
use napi::{Env, Error, Result, Status};
use napi_derive::napi;
use zeroize::Zeroizing;

use kem::{Failed, Kem};
use lanes::Lane;
use operations::{Encapsulated, KeyPairs, RawSpeed};
use secret_buffer::SecretBuffer;

/// Largest result of one call; a caller that asks for more has made a mistake.
const MAX_RESULT_BYTES: usize = 256 * 1024 * 1024;

/// A KEM of this build with its sizes in bytes.
#[napi(object, object_from_js = false)]
pub struct KemSizes {
    pub name: String,
    pub public_key_bytes: u32,
    pub private_key_bytes: u32,
    pub ciphertext_bytes: u32,
    pub shared_secret_bytes: u32,
}

/// The KEMs of this build.
#[napi]
pub fn algorithms() -> Vec<KemSizes> {
    kem::kems()
        .iter()
        .map(|kem| KemSizes {
            name: kem.name.clone(),
            public_key_bytes: kem.public_key_bytes as u32,
            private_key_bytes: kem.private_key_bytes as u32,
            ciphertext_bytes: kem.ciphertext_bytes as u32,
            shared_secret_bytes: kem.shared_secret_bytes as u32,
        })
        .collect()
}

/// Makes `count` key pairs.
#[napi(ts_return_type = "Promise<KeyPairs>")]
pub fn generate_key_pairs<'env>(
    env: &'env Env,
    algorithm: String,
    count: f64,
    lane: String,
) -> Result<Object<'env>> {
    let kem = find(&algorithm)?;
    let count = whole("count", count, most_pairs(kem))?;
    run::<KeyPairs, _, _>(env, parse_lane(&lane)?, (), move |_| {
        operations::generate(kem, count as usize)
    })
}

/// Encapsulates to each of `public_keys`. They are read where they lie: the
/// caller neither changes nor transfers them before the promise settles.
#[napi(ts_return_type = "Promise<Encapsulated>")]
pub fn encapsulate<'env>(
    env: &'env Env,
    algorithm: String,
    public_keys: Buffer,
    lane: String,
) -> Result<Object<'env>> {
    let kem = find(&algorithm)?;
    packed("public keys", &public_keys, kem.public_key_bytes)?;
    run::<Encapsulated, _, _>(env, parse_lane(&lane)?, public_keys, move |keys| {
        operations::encapsulate(kem, keys)
    })
}

/// Decapsulates each of `ciphertexts` with the private key of the same place.
#[napi(ts_return_type = "Promise<Buffer>")]
pub fn decapsulate<'env>(
    env: &'env Env,
    algorithm: String,
    private_keys: Buffer,
    ciphertexts: Buffer,
    lane: String,
) -> Result<Object<'env>> {
    let kem = find(&algorithm)?;
    let keys = packed("private keys", &private_keys, kem.private_key_bytes)?;
    if packed("ciphertexts", &ciphertexts, kem.ciphertext_bytes)? != keys {
        return Err(invalid("there must be as many ciphertexts as private keys"));
    }
    // The caller may wipe its private keys at any moment, e.g. because its stream has ended.
    let input = (Zeroizing::new(private_keys.to_vec()), ciphertexts.to_vec());
    run::<SecretBuffer, _, _>(env, parse_lane(&lane)?, input, move |(keys, texts)| {
        operations::decapsulate(kem, keys, texts)
    })
}

/// How fast liboqs is by itself: each operation over `count` key pairs, on a thread of the lane.
#[napi(ts_return_type = "Promise<RawSpeed>")]
pub fn measure<'env>(env: &'env Env, algorithm: String, count: f64, lane: String) -> Result<Object<'env>> {
    let kem = find(&algorithm)?;
    let count = whole("count", count, most_pairs(kem))?;
    run::<RawSpeed, _, _>(env, parse_lane(&lane)?, (), move |_| {
        operations::measure(kem, count as usize)
    })
}

/// Runs `work` over `input` on a thread of `lane`; the promise settles on the
/// thread of JavaScript, which is also where `input` is let go of.
fn run<'env, Output, Input, Work>(
    env: &'env Env,
    lane: Lane,
    mut input: Input,
    work: Work,
) -> Result<Object<'env>>
where
    Output: ToNapiValue + Send + 'static,
    Input: Send + 'static,
    Work: FnOnce(&mut Input) -> std::result::Result<Output, Failed> + Send + 'static,
{
    type Resolver<Output> = Box<dyn FnOnce(Env) -> Result<Output> + Send>;
    let (deferred, promise) = env.create_deferred::<Output, Resolver<Output>>()?;
    let job = Box::new(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut input)));
        deferred.resolve(Box::new(move |_| {
            drop(input);
            match outcome {
                Ok(Ok(output)) => Ok(output),
                Ok(Err(Failed)) => Err(Error::new(Status::GenericFailure, "the operation failed")),
                Err(_) => Err(Error::new(Status::GenericFailure, "the operation broke off")),
            }
        }));
    });
    lanes::submit(lane, job).map_err(|_| Error::new(Status::QueueFull, "too many operations are waiting"))?;
    Ok(promise)
}

/// Key pairs that one call may make.
fn most_pairs(kem: &Kem) -> f64 {
    (MAX_RESULT_BYTES / (kem.public_key_bytes + kem.private_key_bytes)) as f64
}

fn find(name: &str) -> Result<&'static Kem> {
    kem::find(name).ok_or_else(|| invalid("this build has no such algorithm"))
}

fn parse_lane(name: &str) -> Result<Lane> {
    Lane::parse(name).ok_or_else(|| invalid("the lane must be light, medium or heavy"))
}

/// How many items of `item_bytes` lie in `bytes`: at least one and no remainder.
fn packed(what: &str, bytes: &[u8], item_bytes: usize) -> Result<usize> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(item_bytes) || bytes.len() > MAX_RESULT_BYTES {
        return Err(invalid(format!(
            "{what} must be one or more items of {item_bytes} bytes"
        )));
    }
    Ok(bytes.len() / item_bytes)
}

/// JavaScript's numbers are doubles: NaN, fractions and negative ones must not become something else.
fn whole(what: &str, value: f64, most: f64) -> Result<u64> {
    if value.fract() == 0.0 && (1.0..=most).contains(&value) {
        return Ok(value as u64);
    }
    Err(invalid(format!("{what} must be a whole number from 1 to {most}")))
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::new(Status::InvalidArg, reason.into())
}
