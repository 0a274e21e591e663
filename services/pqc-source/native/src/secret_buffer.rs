use napi::bindgen_prelude::{BufferSlice, ToNapiValue};
use napi::{Env, JsValue, Result, sys};
use zeroize::Zeroizing;

/// Bytes that become a Buffer without a copy, and are zeroed when it is collected.
pub struct SecretBuffer(Zeroizing<Vec<u8>>);

impl SecretBuffer {
    /// `bytes` zero bytes.
    pub fn zeroed(bytes: usize) -> Self {
        SecretBuffer(Zeroizing::new(vec![0; bytes]))
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl ToNapiValue for SecretBuffer {
    unsafe fn to_napi_value(raw_env: sys::napi_env, mut value: Self) -> Result<sys::napi_value> {
        let env = Env::from_raw(raw_env);
        let (data, length) = (value.0.as_mut_ptr(), value.0.len());
        // SAFETY: the finalizer owns the bytes; moving a Vec leaves its heap memory where it is.
        let buffer =
            unsafe { BufferSlice::from_external(&env, data, length, value, |_, value| drop(value)) }?;
        Ok(buffer.raw())
    }
}
