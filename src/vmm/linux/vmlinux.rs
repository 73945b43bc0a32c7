//! A kernel as ELF file. Only physical addresses count: paging of its own comes later.

use linux_loader::elf::{Elf64_Ehdr, Elf64_Phdr};
use vm_memory::ByteValued;

use super::kernel::{KernelError, Placement};
use super::layout;

/// Program headers that a kernel may have; the distributions' have five.
const MAX_HEADERS: u16 = 64;
/// COMMAND_LINE_SIZE of x86 (`arch/x86/include/asm/setup.h`).
const COMMAND_LINE: u64 = 2047;

const ET_EXEC: u16 = 2;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PF_X: u32 = 1;

fn read<T: ByteValued + Copy>(file: &[u8], at: u64) -> Option<T> {
    let at = usize::try_from(at).ok()?;
    let bytes = file.get(at..at.checked_add(size_of::<T>())?)?;
    let mut value = T::zeroed();
    value.as_mut_slice().copy_from_slice(bytes);
    Some(value)
}

/// Checks the file, and says where its segments go: at the physical addresses it was linked for, from
/// the start of the lowest.
///
/// # Errors
/// The first field that does not fit.
pub fn placement(file: &[u8]) -> Result<Placement, KernelError> {
    let unreadable = |what: &str| KernelError::Elf(what.to_owned());
    let header: Elf64_Ehdr = read(file, 0).ok_or(KernelError::Truncated(file.len()))?;
    // EI_CLASS, EI_DATA, EI_VERSION.
    if header.e_ident[4..7] != [2, 1, 1] {
        return Err(unreadable("not 64-bit, little-endian, version 1"));
    }
    if header.e_machine != EM_X86_64 {
        return Err(KernelError::Machine(header.e_machine));
    }
    if header.e_type != ET_EXEC {
        return Err(KernelError::Type(header.e_type));
    }
    if usize::from(header.e_phentsize) != size_of::<Elf64_Phdr>()
        || !(1..=MAX_HEADERS).contains(&header.e_phnum)
        || header.e_phoff < size_of::<Elf64_Ehdr>() as u64
    {
        return Err(unreadable("its program headers are not as ELF has them"));
    }
    let mut found: Vec<(usize, Elf64_Phdr)> = Vec::new();
    for index in 0..usize::from(header.e_phnum) {
        let at = header
            .e_phoff
            .checked_add((index * size_of::<Elf64_Phdr>()) as u64)
            .ok_or_else(|| unreadable("its program headers lie outside"))?;
        let segment: Elf64_Phdr =
            read(file, at).ok_or_else(|| unreadable("its program headers lie outside"))?;
        // The loader passes over segments without bytes; so does this.
        if segment.p_type == PT_LOAD && segment.p_filesz != 0 {
            found.push((index, segment));
        }
    }
    check(file, &found)?;
    let inside = |s: &Elf64_Phdr| (s.p_paddr..s.p_paddr + s.p_filesz).contains(&header.e_entry);
    if !found
        .iter()
        .any(|(_, s)| s.p_flags & PF_X != 0 && inside(s))
    {
        return Err(KernelError::Entry(header.e_entry));
    }
    let start = found.iter().map(|(_, s)| s.p_paddr).min();
    let start = start.ok_or(KernelError::NothingToLoad)?;
    // To whole pages: views of files begin with one.
    let start = start / crate::vmm::layout::PAGE * crate::vmm::layout::PAGE;
    let end = |of: fn(&Elf64_Phdr) -> u64| found.iter().map(|(_, s)| s.p_paddr + of(s)).max();
    let (loaded, memory) = (end(|s| s.p_filesz), end(|s| s.p_memsz));
    Ok(Placement {
        start,
        loaded: loaded.unwrap_or(start) - start,
        memory: memory.unwrap_or(start) - start,
        entry: header.e_entry,
        command_line: COMMAND_LINE.min(layout::COMMAND_LINE_BYTES - 1),
        pieces: found
            .iter()
            .map(|(_, s)| {
                let from = s.p_offset as usize;
                (s.p_paddr, from..from + s.p_filesz as usize)
            })
            .collect(),
    })
}

/// Every segment by itself, then each with those before it. After this no sum of its fields overflows.
fn check(file: &[u8], segments: &[(usize, Elf64_Phdr)]) -> Result<(), KernelError> {
    if segments.is_empty() {
        return Err(KernelError::NothingToLoad);
    }
    for (position, (index, segment)) in segments.iter().enumerate() {
        let file_end = segment.p_offset.checked_add(segment.p_filesz);
        if file_end.is_none_or(|end| end > file.len() as u64) || segment.p_filesz > segment.p_memsz
        {
            return Err(KernelError::Segment(*index));
        }
        let end = segment.p_paddr.checked_add(segment.p_memsz);
        let end = end.filter(|end| *end <= layout::MAPPED_END);
        let Some(end) = end.filter(|_| segment.p_paddr >= layout::HIGH) else {
            return Err(KernelError::SegmentAddress(*index));
        };
        for (other, before) in &segments[..position] {
            if segment.p_paddr < before.p_paddr + before.p_memsz && before.p_paddr < end {
                return Err(KernelError::Overlap(*other, *index));
            }
        }
    }
    Ok(())
}
