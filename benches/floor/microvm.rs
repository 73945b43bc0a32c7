//! The floor of `microvm`: the fewest system calls after which a vCPU executes its first
//! instruction at CPL 3 in long mode, under page tables and a GDT of its own. No checks beyond
//! errors, no IDT, no watchdog, no timing but the one interval. What a VMM's start costs above this
//! is the VMM's own. Two floors: [`Model::None`], whose CPU has no CPUID and no AVX, and
//! [`Model::Avx`], which adds the two calls without which no payload may use AVX.
//!
//! ```text
//!   guest-physical   what                                  guest-virtual
//!   0x0000           PML4                                  –
//!   0x1000           PDPT                                  –
//!   0x2000           page directory                        –
//!   0x3000           page table of 0x20_0000..0x40_0000    –
//!   0x4000           GDT, TSS with the I/O bitmap          0x20_1000, supervisor
//!   0x5000           rdtsc; …; out                         0x20_0000
//! ```
#![allow(unsafe_code)]

use std::arch::x86_64::{_mm_lfence, _rdtsc};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use kvm_bindings::{
    CpuId, KVM_EXIT_IO, KVM_SYNC_X86_REGS, KVM_SYNC_X86_SREGS, kvm_cpuid_entry2, kvm_regs, kvm_run,
    kvm_segment, kvm_sregs, kvm_userspace_memory_region, kvm_xcr, kvm_xcrs,
};

const KVM_CREATE_VM: libc::c_ulong = 0xae01;
const KVM_CREATE_VCPU: libc::c_ulong = 0xae41;
const KVM_SET_USER_MEMORY_REGION: libc::c_ulong = 0x4020_ae46;
const KVM_RUN: libc::c_ulong = 0xae80;
const KVM_GET_SREGS: libc::c_ulong = 0x8138_ae83;
const KVM_GET_VCPU_MMAP_SIZE: libc::c_ulong = 0xae04;

const KVM_GET_SUPPORTED_CPUID: libc::c_ulong = 0xc008_ae05;
const KVM_SET_CPUID2: libc::c_ulong = 0x4008_ae90;
const KVM_SET_XCRS: libc::c_ulong = 0x4188_aea7;
const CR4_OSXSAVE: u64 = 1 << 18;

/// What the CPU of a floor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Neither CPUID nor AVX.
    None,
    /// CPUID's feature leaves and XCR0.
    Avx,
}

const CODE: u64 = 0x20_0000;
const TABLES: u64 = 0x20_1000;
/// TSS with an I/O bitmap of zeros behind it: every port below 0x800 is allowed. The bitmap and not
/// IOPL, for a KVM that runs CPL 3 on the host's own CPL 3 loses IOPL at the first exit.
const TSS: u64 = TABLES + 0x80;
const TSS_LIMIT: u32 = 0x67 + 0x100;
/// rdtsc; shl rdx, 32; or rax, rdx; mov rbx, rax; mov edx, 0x5b0; out dx, eax; jmp $.
/// RAX and RDX after RDTSC are read from the registers after the exit.
const GUEST: [u8; 20] = [
    0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0x48, 0x89, 0xc3, 0x66, 0xba, 0xb0, 0x05,
    0xef, 0xeb, 0xfe, 0xf4,
];

/// One start and its end, in ticks of the host's counter.
#[derive(Clone, Copy, Debug)]
pub struct FloorSample {
    /// From just before the first system call to the guest's first instruction.
    pub startup: u64,
    /// From the exit until nothing is left.
    pub teardown: u64,
}

/// A VM of the floor. Dropped in this order.
#[derive(Debug)]
pub struct Bare {
    vcpu: OwnedFd,
    run: Map,
    _vm: OwnedFd,
    _ram: Map,
    _kvm: OwnedFd,
}

/// What every start shares: the size of `kvm_run` and the register image.
#[derive(Debug)]
pub struct Floor {
    run_bytes: usize,
    ram_bytes: usize,
    sregs: kvm_sregs,
    features: Option<(CpuId, kvm_xcrs)>,
    offset: Option<u64>,
}

fn now() -> u64 {
    // SAFETY: LFENCE and RDTSC exist on every x86-64 CPU and are allowed in user mode.
    unsafe {
        _mm_lfence();
        let reading = _rdtsc();
        _mm_lfence();
        reading
    }
}

fn ioctl<T>(fd: &impl AsRawFd, request: libc::c_ulong, argument: *const T) -> io::Result<i32> {
    // SAFETY: the callers pass a KVM descriptor and the request's own argument: a plain number
    // cast to a pointer, or a structure of the request's type that outlives the call.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: a descriptor that the kernel has just returned and nobody else has.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A mapping, unmapped when dropped.
#[derive(Debug)]
struct Map(*mut u8, usize);

impl Map {
    fn new(bytes: usize, flags: i32, fd: i32) -> io::Result<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(ptr::null_mut(), bytes, prot, flags, fd, 0) };
        if at == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self(at.cast(), bytes))
        }
    }

    fn word(&self, at: usize, value: u64) {
        assert!(at + 8 <= self.1);
        // SAFETY: inside the mapping, aligned by the callers' constants, and nobody else's yet.
        unsafe { self.0.add(at).cast::<u64>().write_volatile(value) };
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: what `new` mapped; its users are gone.
        unsafe { libc::munmap(self.0.cast(), self.1) };
    }
}

fn open() -> io::Result<OwnedFd> {
    // SAFETY: a NUL-terminated literal.
    let fd = unsafe { libc::open(c"/dev/kvm".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if fd < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(owned(fd))
    }
}

/// The feature leaves and the XCR0 they allow.
fn features(kvm: &OwnedFd) -> io::Result<(CpuId, kvm_xcrs)> {
    let mut all = CpuId::new(256).map_err(|error| io::Error::other(format!("{error:?}")))?;
    ioctl(kvm, KVM_GET_SUPPORTED_CPUID, all.as_mut_fam_struct_ptr())?;
    let some: Vec<kvm_cpuid_entry2> = all
        .as_slice()
        .iter()
        .filter(|e| e.index == 0 && matches!(e.function, 0 | 1 | 7 | 0xd))
        .copied()
        .collect();
    let state = some.iter().find(|e| e.function == 0xd).map_or(1, |e| e.eax);
    let mut xcrs = kvm_xcrs {
        nr_xcrs: 1,
        ..Default::default()
    };
    xcrs.xcrs[0] = kvm_xcr {
        xcr: 0,
        reserved: 0,
        value: u64::from(state) & 0xe7,
    };
    let cpuid = CpuId::from_entries(&some).map_err(|e| io::Error::other(format!("{e:?}")))?;
    Ok((cpuid, xcrs))
}

fn number(value: usize) -> *const u8 {
    ptr::without_provenance(value)
}

impl Floor {
    /// Prepares what does not depend on a single VM. `ram_bytes` is that of the VM it is compared
    /// with.
    pub fn new(ram_bytes: usize, model: Model) -> io::Result<Self> {
        let kvm = open()?;
        let features = match model {
            Model::None => None,
            Model::Avx => Some(features(&kvm)?),
        };
        let run_bytes = ioctl(&kvm, KVM_GET_VCPU_MMAP_SIZE, number(0))? as usize;
        let vm = owned(ioctl(&kvm, KVM_CREATE_VM, number(0))?);
        let vcpu = owned(ioctl(&vm, KVM_CREATE_VCPU, number(0))?);
        let mut sregs = kvm_sregs::default();
        ioctl(&vcpu, KVM_GET_SREGS, &raw mut sregs)?;
        let flat = |selector, type_, long: bool| kvm_segment {
            limit: 0xffff_ffff,
            selector,
            type_,
            present: 1,
            dpl: 3,
            db: u8::from(!long),
            s: 1,
            l: u8::from(long),
            g: 1,
            ..Default::default()
        };
        sregs.cs = flat(0x0b, 11, true);
        let data = flat(0x13, 3, false);
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
        sregs.tr = kvm_segment {
            base: TSS,
            limit: TSS_LIMIT,
            type_: 11,
            present: 1,
            ..Default::default()
        };
        sregs.ldt = kvm_segment {
            unusable: 1,
            ..Default::default()
        };
        (sregs.gdt.base, sregs.gdt.limit) = (TABLES, 3 * 8 - 1);
        sregs.cr0 = 1 << 31 | 1 << 5 | 1 << 4 | 1;
        sregs.cr3 = 0;
        sregs.cr4 = 1 << 5 | if features.is_some() { CR4_OSXSAVE } else { 0 };
        sregs.efer = 1 << 8 | 1 << 10;
        Ok(Self {
            run_bytes,
            ram_bytes,
            sregs,
            features,
            offset: None,
        })
    }

    /// Everything before the first KVM_RUN.
    fn make(&self) -> io::Result<Bare> {
        let kvm = open()?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let ram = Map::new(self.ram_bytes, flags, -1)?;
        // Present, writable, user, accessed; the leaf is dirty too.
        for (at, value) in [
            (0, 0x1027),
            (0x1000, 0x2027),
            (0x2008, 0x3027),
            (0x3000, 0x5067),
            (0x3008, 0x4063),
        ] {
            ram.word(at, value);
        }
        // The last word of the TSS: where its I/O bitmap begins.
        ram.word(0x4080 + 96, 104 << 48);
        ram.word(0x4008, 0x00af_fb00_0000_ffff);
        ram.word(0x4010, 0x00cf_f300_0000_ffff);
        // SAFETY: 20 bytes inside the mapping, which `Map::word` has shown to reach that far.
        unsafe { ptr::copy_nonoverlapping(GUEST.as_ptr(), ram.0.add(0x5000), GUEST.len()) };
        let vm = owned(ioctl(&kvm, KVM_CREATE_VM, number(0))?);
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: self.ram_bytes as u64,
            userspace_addr: ram.0.addr() as u64,
        };
        ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &raw const region)?;
        let vcpu = owned(ioctl(&vm, KVM_CREATE_VCPU, number(0))?);
        let run = Map::new(self.run_bytes, libc::MAP_SHARED, vcpu.as_raw_fd())?;
        if let Some((cpuid, xcrs)) = &self.features {
            ioctl(&vcpu, KVM_SET_CPUID2, cpuid.as_fam_struct_ptr())?;
            ioctl(&vcpu, KVM_SET_XCRS, &raw const *xcrs)?;
        }
        let shared = run.0.cast::<kvm_run>();
        // SAFETY: the start of the vCPU's own mapping, which is larger than `kvm_run`; the vCPU has
        // not run. The first KVM_RUN takes both register sets from it (KVM_CAP_SYNC_REGS).
        unsafe {
            (*shared).s.regs.sregs = self.sregs;
            (*shared).s.regs.regs.rip = CODE;
            (*shared).s.regs.regs.rflags = 1 << 1;
            (*shared).kvm_dirty_regs = u64::from(KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS);
        }
        Ok(Bare {
            vcpu,
            run,
            _vm: vm,
            _ram: ram,
            _kvm: kvm,
        })
    }

    /// One VM that has run up to its exit, and stays.
    #[allow(dead_code)] // `floor` measures starts only
    pub fn hold(&self) -> io::Result<Bare> {
        let bare = self.make()?;
        bare.enter()?;
        Ok(bare)
    }

    /// One VM: from nothing to its first instruction and back to nothing.
    pub fn start(&mut self) -> io::Result<FloorSample> {
        let t0 = now();
        let bare = self.make()?;
        let entered = now();
        bare.enter()?;
        let back = now();
        let guest = bare.guest_counter()?;
        // Off every clock: the first start finds out whose counter the guest reads.
        let offset = *self.offset.get_or_insert_with(|| {
            if (entered..=back).contains(&guest) {
                0
            } else {
                u64::MAX
            }
        });
        let t1 = if offset == 0 {
            guest
        } else {
            // Another counter than the host's: the middle of the run, an error of half of it.
            entered + (back - entered) / 2
        };
        let t4 = now();
        drop(bare);
        Ok(FloorSample {
            startup: t1 - t0,
            teardown: now() - t4,
        })
    }
}

impl Bare {
    /// Runs the guest up to its one exit.
    fn enter(&self) -> io::Result<()> {
        ioctl(&self.vcpu, KVM_RUN, number(0))?;
        // SAFETY: the start of the vCPU's own mapping; the vCPU is stopped.
        let reason = unsafe { (*self.run.0.cast::<kvm_run>()).exit_reason };
        if reason == KVM_EXIT_IO {
            Ok(())
        } else {
            Err(io::Error::other(format!("exit reason {reason}")))
        }
    }

    fn guest_counter(&self) -> io::Result<u64> {
        const KVM_GET_REGS: libc::c_ulong = 0x8090_ae81;
        let mut regs = kvm_regs::default();
        ioctl(&self.vcpu, KVM_GET_REGS, &raw mut regs)?;
        Ok(regs.rbx)
    }
}
