//! The payload: the one ELF that every backend runs, embedded at build time.

use std::sync::OnceLock;

use object::Endianness;
use object::elf::{FileHeader64, PF_W, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use sha2::{Digest, Sha256};

/// Bytes at an address where the structures of an ELF file may be read in place.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("ISOBENCH_PAYLOAD")));

/// The ELF file, 64-byte aligned.
pub static BYTES: &[u8] = &FILE.0;

/// SHA-256 of [`BYTES`], lower-case hexadecimal, computed when it was built.
pub const SHA256: &str = env!("ISOBENCH_PAYLOAD_SHA256");

/// The embedded payload is not what was built: this binary is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Not an ELF file with readable segments.
    #[error("the embedded payload is not a readable ELF file: this binary is damaged")]
    Malformed,
    /// The bytes do not have the digest they were built with.
    #[error("the embedded payload's SHA-256 is not {SHA256}: this binary is damaged")]
    Digest,
}

/// Checks that [`BYTES`] has the digest [`SHA256`].
///
/// # Errors
/// It has not.
pub fn verify() -> Result<(), PayloadError> {
    let found: String = Sha256::digest(BYTES)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == SHA256 {
        Ok(())
    } else {
        Err(PayloadError::Digest)
    }
}

/// What [`isobench_abi::Report::image`] must be: the fold over the load segments that are not
/// writable, in the order of the program headers. Computed once.
///
/// # Errors
/// [`PayloadError::Malformed`].
pub fn image_fold() -> Result<u64, PayloadError> {
    static FOLD: OnceLock<Result<u64, PayloadError>> = OnceLock::new();
    *FOLD.get_or_init(|| fold_image(BYTES).ok_or(PayloadError::Malformed))
}

fn fold_image(file: &[u8]) -> Option<u64> {
    let header = FileHeader64::<Endianness>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let segments = header
        .program_headers(endian, file)
        .ok()?
        .iter()
        .filter(|segment| {
            segment.p_type(endian) == PT_LOAD && segment.p_flags(endian).0 & PF_W.0 == 0
        })
        .map(|segment| Some((segment.p_vaddr(endian), segment.data(endian, file).ok()?)))
        .collect::<Option<Vec<_>>>()?;
    Some(isobench_abi::image_fold(segments.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_bytes_are_those_that_were_built() {
        assert_eq!(verify(), Ok(()));
        assert!(
            BYTES
                .as_ptr()
                .cast::<FileHeader64<Endianness>>()
                .is_aligned()
        );
    }

    #[test]
    fn the_image_covers_headers_constants_and_code() {
        let fold = image_fold().unwrap();
        let mut other = BYTES.to_vec();
        assert_eq!(fold_image(&other), Some(fold));
        // The last byte of the first page belongs to no segment; the first of the code does.
        other[0x1000] ^= 1;
        assert_ne!(fold_image(&other), Some(fold));
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        for cut in [0, 1, 63, 64, 100, 300] {
            assert_eq!(fold_image(&BYTES[..cut]), None, "{cut}");
        }
    }
}
