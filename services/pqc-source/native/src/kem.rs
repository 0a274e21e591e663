//! liboqs behind lengths that are checked: nothing unsafe leaves this file.

use std::ffi::CStr;
use std::sync::OnceLock;

use oqs_sys::common::{OQS_STATUS, OQS_init};
use oqs_sys::kem::{
    OQS_KEM, OQS_KEM_alg_count, OQS_KEM_alg_identifier, OQS_KEM_decaps, OQS_KEM_encaps, OQS_KEM_keypair,
    OQS_KEM_new,
};

/// The C library reported a failure; it says no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

/// One KEM of liboqs.
pub struct Kem {
    pub name: String,
    pub public_key_bytes: usize,
    pub private_key_bytes: usize,
    pub ciphertext_bytes: usize,
    pub shared_secret_bytes: usize,
    raw: *const OQS_KEM,
}

// SAFETY: liboqs only reads the structure, which is made once and never freed.
unsafe impl Send for Kem {}
unsafe impl Sync for Kem {}

impl Kem {
    /// Makes one key pair. Panics unless both slices are exactly as long as the algorithm says.
    pub fn generate(&self, public_key: &mut [u8], private_key: &mut [u8]) -> Result<(), Failed> {
        assert_eq!(public_key.len(), self.public_key_bytes);
        assert_eq!(private_key.len(), self.private_key_bytes);
        // SAFETY: the lengths are those that liboqs writes.
        check(unsafe { OQS_KEM_keypair(self.raw, public_key.as_mut_ptr(), private_key.as_mut_ptr()) })
    }

    /// Encapsulates to one public key. Panics unless every slice is exactly as long as the algorithm says.
    pub fn encapsulate(
        &self,
        ciphertext: &mut [u8],
        shared_secret: &mut [u8],
        public_key: &[u8],
    ) -> Result<(), Failed> {
        assert_eq!(ciphertext.len(), self.ciphertext_bytes);
        assert_eq!(shared_secret.len(), self.shared_secret_bytes);
        assert_eq!(public_key.len(), self.public_key_bytes);
        // SAFETY: the lengths are those that liboqs reads and writes.
        check(unsafe {
            OQS_KEM_encaps(
                self.raw,
                ciphertext.as_mut_ptr(),
                shared_secret.as_mut_ptr(),
                public_key.as_ptr(),
            )
        })
    }

    /// Decapsulates one ciphertext. Panics unless every slice is exactly as long as the algorithm says.
    pub fn decapsulate(
        &self,
        shared_secret: &mut [u8],
        ciphertext: &[u8],
        private_key: &[u8],
    ) -> Result<(), Failed> {
        assert_eq!(shared_secret.len(), self.shared_secret_bytes);
        assert_eq!(ciphertext.len(), self.ciphertext_bytes);
        assert_eq!(private_key.len(), self.private_key_bytes);
        // SAFETY: the lengths are those that liboqs reads and writes.
        check(unsafe {
            OQS_KEM_decaps(
                self.raw,
                shared_secret.as_mut_ptr(),
                ciphertext.as_ptr(),
                private_key.as_ptr(),
            )
        })
    }
}

/// Every KEM that this build has; liboqs is initialised on the first call.
pub fn kems() -> &'static [Kem] {
    static KEMS: OnceLock<Vec<Kem>> = OnceLock::new();
    KEMS.get_or_init(|| {
        // SAFETY: called once, before anything else of liboqs.
        unsafe { OQS_init() };
        // SAFETY: no arguments.
        let count = unsafe { OQS_KEM_alg_count() }.max(0) as usize;
        (0..count).filter_map(load).collect()
    })
}

/// The KEM of exactly that name.
pub fn find(name: &str) -> Option<&'static Kem> {
    kems().iter().find(|kem| kem.name == name)
}

/// liboqs lists algorithms that a build leaves out, too: those cannot be made.
fn load(i: usize) -> Option<Kem> {
    // SAFETY: `i` is below the count; the name is a static string of liboqs.
    let identifier = unsafe { OQS_KEM_alg_identifier(i) };
    if identifier.is_null() {
        return None;
    }
    // SAFETY: a name that liboqs gave; the result is null or lives until it is freed, which never happens.
    let raw = unsafe { OQS_KEM_new(identifier) };
    if raw.is_null() {
        return None;
    }
    // SAFETY: not null, see above.
    let (name, kem) = unsafe { (CStr::from_ptr(identifier), &*raw) };
    Some(Kem {
        name: name.to_string_lossy().into_owned(),
        public_key_bytes: kem.length_public_key,
        private_key_bytes: kem.length_secret_key,
        ciphertext_bytes: kem.length_ciphertext,
        shared_secret_bytes: kem.length_shared_secret,
        raw,
    })
}

fn check(status: OQS_STATUS) -> Result<(), Failed> {
    match status {
        OQS_STATUS::OQS_SUCCESS => Ok(()),
        _ => Err(Failed),
    }
}
