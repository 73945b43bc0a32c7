//! Every method gives back the file that went in, and what is not as it says is refused.

use std::io::Write;

use linux_loader::loader::bootparam::setup_header;
use lzma_rust2::{XzOptions, XzWriter};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use vm_memory::ByteValued;

use super::*;
use crate::vmm::linux::kernel_tests;

/// A bzImage with this as its compressed kernel.
fn packed_in(payload: &[u8]) -> Kernel {
    let body = (0x300 + payload.len()).next_multiple_of(16);
    let file = kernel_tests::bzimage(|header| {
        header.payload_length = payload.len() as u32;
        header.syssize = (body / 16) as u32;
    });
    let mut file = file[..3 * 512 + 0x300].to_vec();
    file.extend_from_slice(payload);
    file.resize(3 * 512 + body, 0);
    Kernel::parse(file).unwrap()
}

fn inner() -> Vec<u8> {
    kernel_tests::vmlinux(|_, _| {})
}

fn with_length(mut packed: Vec<u8>, length: usize) -> Vec<u8> {
    packed.extend_from_slice(&(length as u32).to_le_bytes());
    packed
}

fn gzip(file: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(file).unwrap();
    encoder.finish().unwrap()
}

fn xz(file: &[u8]) -> Vec<u8> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(6)).unwrap();
    writer.write_all(file).unwrap();
    writer.finish().unwrap()
}

fn lz4_legacy(file: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x02, 0x21, 0x4c, 0x18];
    for block in file.chunks(8 << 20) {
        let block = lz4_flex::block::compress(block);
        packed.extend_from_slice(&(block.len() as u32).to_le_bytes());
        packed.extend_from_slice(&block);
    }
    packed
}

fn every_method(file: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let zstd = compress_to_vec(file, CompressionLevel::Fastest);
    [
        ("gzip", gzip(file)),
        ("xz", with_length(xz(file), file.len())),
        ("zstd", with_length(zstd, file.len())),
        ("lz4", with_length(lz4_legacy(file), file.len())),
    ]
}

#[test]
fn every_method_gives_back_what_went_in() {
    let file = inner();
    for (method, packed) in every_method(&file) {
        let kernel = packed_in(&packed);
        let vmlinux = vmlinux(&kernel).unwrap();
        assert!(vmlinux.bytes == file, "{method}");
        assert_eq!(vmlinux.format, Format::Vmlinux);
        assert_eq!(vmlinux.version, kernel.version);
    }
    let itself = Kernel::parse(file.clone()).unwrap();
    assert!(vmlinux(&itself).unwrap().bytes == file);
}

/// More than one block of LZ4's.
#[test]
fn a_large_kernel_comes_in_blocks() {
    let mut file = inner();
    file.resize((8 << 20) + 12_345, 7);
    let kernel = packed_in(&with_length(lz4_legacy(&file), file.len()));
    assert!(vmlinux(&kernel).unwrap().bytes == file);
}

#[test]
fn what_is_not_as_it_says_is_refused() {
    let file = inner();
    let why = |packed: &[u8]| vmlinux(&packed_in(packed)).unwrap_err();
    assert!(matches!(why(b"UNKNOWN!"), UnpackError::Method(m) if m == *b"UNKN"));
    assert!(matches!(
        why(b"abc"),
        UnpackError::Kernel(KernelError::Truncated(_))
    ));
    for (method, packed) in every_method(&file) {
        for wrong in [file.len() - 1, file.len() + 1, 0, u32::MAX as usize] {
            let mut packed = packed.clone();
            let at = packed.len() - 4;
            packed[at..].copy_from_slice(&(wrong as u32).to_le_bytes());
            let refused = matches!(
                why(&packed),
                UnpackError::Length { .. } | UnpackError::Broken(..)
            );
            assert!(refused, "{method}: {wrong}");
        }
        for cut in [6, packed.len() / 2] {
            let packed = with_length(packed[..cut].to_vec(), file.len());
            assert!(
                vmlinux(&packed_in(&packed)).is_err(),
                "{method}: cut at {cut}"
            );
        }
    }
    let text = with_length(lz4_legacy(b"no kernel"), 9);
    assert!(matches!(
        why(&text),
        UnpackError::Kernel(KernelError::Unknown)
    ));
}

/// A header whose payload lies outside is no kernel; one that was changed behind the check is refused, too.
#[test]
fn a_payload_outside_the_file_is_refused() {
    let file = kernel_tests::bzimage(|_| {});
    let mut header = setup_header::from_slice(&file[0x1f1..][..size_of::<setup_header>()])
        .copied()
        .unwrap();
    header.payload_length = u32::MAX;
    let outside = bzimage::payload(&file, &header).unwrap_err();
    assert!(matches!(outside, KernelError::Payload { .. }));
}
