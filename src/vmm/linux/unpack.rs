//! The kernel that a bzImage holds compressed, as the ELF file that it was made of: for VMMs that take no
//! bzImage.
//!
//! The payload's last four bytes say how many bytes it unpacks to
//! (`Documentation/arch/x86/boot.rst`, `payload_length`), which bounds what is unpacked. What comes out is
//! as hostile as the file: it is checked as any kernel ([`super::kernel::Kernel::parse`]).

use std::io::{self, Read};

use flate2::read::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use super::bzimage;
use super::kernel::{Format, Kernel, KernelError, MAX_FILE};

/// KiB that unpacking xz may take: its makefile asks for a dictionary of 32 or 128 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// Why a bzImage gives no vmlinux.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// By none of gzip, LZ4, xz and Zstandard.
    #[error("the kernel is compressed in a way that is not known (it begins with {0:02x?})")]
    Method([u8; 4]),
    /// The compressed bytes are not as their format has them.
    #[error("the compressed kernel cannot be unpacked as {0}: {1}")]
    Broken(&'static str, io::Error),
    /// More or fewer bytes than it says.
    #[error("the compressed kernel unpacks to {found} bytes, not {expected}")]
    Length {
        /// Bytes that came out, more than `expected` where that was not all.
        found: usize,
        /// Bytes that it says.
        expected: usize,
    },
    /// What came out is no kernel.
    #[error("what it unpacks to: {0}")]
    Kernel(#[from] KernelError),
}

/// The vmlinux of a kernel: itself, where it is one.
///
/// # Errors
/// See [`UnpackError`].
pub fn vmlinux(kernel: &Kernel) -> Result<Kernel, UnpackError> {
    let header = match (kernel.format, &kernel.header) {
        (Format::BzImage, Some(header)) => header,
        _ => return Ok(kernel.clone()),
    };
    let packed = bzimage::payload(&kernel.bytes, header)?;
    let Some((_, length)) = packed.split_last_chunk::<4>() else {
        return Err(KernelError::Truncated(kernel.bytes.len()).into());
    };
    let expected = u32::from_le_bytes(*length) as usize;
    let length = |found| UnpackError::Length { found, expected };
    if expected as u64 > MAX_FILE {
        return Err(length(0));
    }
    let unpacked = unpack(packed, expected)?;
    if unpacked.len() != expected {
        return Err(length(unpacked.len()));
    }
    let mut vmlinux = Kernel::parse(unpacked)?;
    vmlinux.version.clone_from(&kernel.version);
    Ok(vmlinux)
}

/// Unpacks it, to one byte more than expected at most.
fn unpack(packed: &[u8], expected: usize) -> Result<Vec<u8>, UnpackError> {
    let read = |name, stream: &mut dyn Read| {
        let mut unpacked = Vec::new();
        let read = stream.take(expected as u64 + 1).read_to_end(&mut unpacked);
        read.map_err(|error| UnpackError::Broken(name, error))?;
        Ok(unpacked)
    };
    // With gzip the length is the end of its own trailer, else it stands behind.
    let stream = &packed[..packed.len() - 4];
    match packed.first_chunk::<4>().copied().unwrap_or_default() {
        [0x1f, 0x8b, ..] => read("gzip", &mut GzDecoder::new(packed)),
        [0xfd, b'7', b'z', b'X'] => {
            read("xz", &mut XzReader::new_mem_limit(stream, false, XZ_MEMORY))
        }
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let name = "Zstandard";
            let mut decoder = StreamingDecoder::new(stream)
                .map_err(|error| UnpackError::Broken(name, io::Error::other(error)))?;
            read(name, &mut decoder)
        }
        [0x02, 0x21, 0x4c, 0x18] => lz4(stream.get(4..).unwrap_or_default(), expected)
            .map_err(|error| UnpackError::Broken("LZ4", error)),
        other => Err(UnpackError::Method(other)),
    }
}

/// LZ4's legacy format (`lz4 -l`): blocks, each behind its length, all but the last of the full size.
fn lz4(mut packed: &[u8], expected: usize) -> io::Result<Vec<u8>> {
    const BLOCK: usize = 8 << 20;
    let mut unpacked = Vec::new();
    let mut block = vec![0; BLOCK.min(expected)];
    while let Some((length, rest)) = packed.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        if rest.len() < length || !unpacked.len().is_multiple_of(BLOCK) {
            return Err(io::Error::other(
                "a block that lies outside, or is cut short",
            ));
        }
        let (compressed, behind) = rest.split_at(length);
        let n =
            lz4_flex::block::decompress_into(compressed, &mut block).map_err(io::Error::other)?;
        unpacked.extend_from_slice(&block[..n]);
        if unpacked.len() > expected || n == 0 {
            break;
        }
        packed = behind;
    }
    Ok(unpacked)
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
