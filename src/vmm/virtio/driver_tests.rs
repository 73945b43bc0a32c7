//! Our devices under somebody else's drivers: those of the crate `virtio-drivers`, over our registers and
//! our guest memory.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::ptr::NonNull;
use std::rc::Rc;

use virtio_drivers::device::blk::VirtIOBlk;
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Device;
use super::block::Block;
use super::console::Console;
use super::mmio::Mmio;
use crate::sys::fd;
use crate::vmm::memory::GuestRam;

const RAM: u64 = 16 << 20;

/// The memory of the guest that a test plays, whose drivers take from it and never give back.
struct Board {
    ram: GuestRam,
    next: Cell<u64>,
}

thread_local! {
    static BOARD: Board = Board {
        ram: GuestRam::mosaic(RAM, &[]).unwrap(),
        next: Cell::new(PAGE_SIZE as u64),
    };
}

fn take(bytes: usize) -> u64 {
    BOARD.with(|board| {
        let at = board.next.get();
        let end = at + bytes.next_multiple_of(PAGE_SIZE) as u64;
        assert!(end <= RAM);
        board.next.set(end);
        at
    })
}

struct Guest;

// SAFETY: pages are handed out once each, zero as they were mapped, page-aligned, and stay mapped while
// the thread lives, which is longer than any driver in it.
unsafe impl Hal for Guest {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let at = take(pages * PAGE_SIZE);
        let host = BOARD.with(|board| board.ram.host_address() + at);
        let host = std::ptr::with_exposed_provenance_mut(host as usize);
        (at, NonNull::new(host).unwrap())
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("registers are behind the transport")
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        let at = take(buffer.len());
        if direction != BufferDirection::DeviceToDriver {
            // SAFETY: valid, and used by nobody else, for this call (the trait's contract).
            let bytes = unsafe { buffer.as_ref() };
            BOARD.with(|board| board.ram.write(at, bytes)).unwrap();
        }
        at
    }

    unsafe fn unshare(at: PhysAddr, mut buffer: NonNull<[u8]>, direction: BufferDirection) {
        if direction != BufferDirection::DriverToDevice {
            // SAFETY: as above.
            let bytes = unsafe { buffer.as_mut() };
            BOARD.with(|board| board.ram.read_into(at, bytes)).unwrap();
        }
    }
}

/// Accesses to registers, as the crate's own MMIO transport makes them.
struct Wire<D>(Rc<RefCell<Mmio<D>>>);

impl<D: Device> Wire<D> {
    fn get(&self, register: u64) -> u32 {
        let mut data = [0; 4];
        self.0.borrow().read(register, &mut data);
        u32::from_le_bytes(data)
    }

    fn put(&mut self, register: u64, value: u32) {
        BOARD.with(|board| {
            let memory = board.ram.view().unwrap();
            self.0
                .borrow_mut()
                .write(register, &value.to_le_bytes(), &memory);
        });
    }

    fn put_wide(&mut self, register: u64, value: u64) {
        self.put(register, value as u32);
        self.put(register + 4, (value >> 32) as u32);
    }
}

impl<D: Device> Transport for Wire<D> {
    fn device_type(&self) -> DeviceType {
        assert_eq!((self.get(0), self.get(4)), (0x7472_6976, 2));
        u8::try_from(self.get(8)).unwrap().try_into().unwrap()
    }

    fn read_device_features(&mut self) -> u64 {
        self.put(0x14, 0);
        let low = self.get(0x10);
        self.put(0x14, 1);
        u64::from(self.get(0x10)) << 32 | u64::from(low)
    }

    fn write_driver_features(&mut self, features: u64) {
        self.put(0x24, 0);
        self.put(0x20, features as u32);
        self.put(0x24, 1);
        self.put(0x20, (features >> 32) as u32);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.put(0x30, queue.into());
        self.get(0x34)
    }

    fn notify(&mut self, queue: u16) {
        self.put(0x50, queue.into());
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(self.get(0x70))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.put(0x70, status.bits());
        assert_eq!(self.get(0x70), status.bits(), "taken as it was written");
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.put(0x30, queue.into());
        self.put(0x38, size);
        self.put_wide(0x80, descriptors);
        self.put_wide(0x90, driver_area);
        self.put_wide(0xa0, device_area);
        self.put(0x44, 1);
        assert_eq!(self.get(0x44), 1);
    }

    fn queue_unset(&mut self, queue: u16) {
        self.put(0x30, queue.into());
        self.put(0x44, 0);
        assert_eq!(self.get(0x44), 0);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.put(0x30, queue.into());
        self.get(0x44) == 1
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let pending = self.get(0x60);
        self.put(0x64, pending);
        assert_eq!(self.get(0x60), 0);
        InterruptStatus::from_bits_truncate(pending)
    }

    fn read_config_generation(&self) -> u32 {
        self.get(0xfc)
    }

    fn read_config_space<T: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<T> {
        let mut value = T::new_zeroed();
        self.0
            .borrow()
            .read(0x100 + offset as u64, value.as_mut_bytes());
        Ok(value)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> virtio_drivers::Result<()> {
        BOARD.with(|board| {
            let memory = board.ram.view().unwrap();
            let at = 0x100 + offset as u64;
            self.0.borrow_mut().write(at, value.as_bytes(), &memory);
        });
        Ok(())
    }
}

fn disk(writable: bool) -> Rc<RefCell<Mmio<Block>>> {
    let bytes: Vec<u8> = (0..64 * 512u32).map(|at| (at / 512) as u8).collect();
    let mut file = fd::memory(c"isobench-test-disk").unwrap();
    file.write_all(&bytes).unwrap();
    let block = Block::new(file, writable, "serial").unwrap();
    Rc::new(RefCell::new(Mmio::new(block).unwrap()))
}

#[test]
fn a_disk_is_read_written_and_flushed() {
    let device = disk(true);
    let mut driver = VirtIOBlk::<Guest, _>::new(Wire(device.clone())).unwrap();
    assert_eq!((driver.capacity(), driver.readonly()), (64, false));
    let mut name = [0; 20];
    assert_eq!(driver.device_id(&mut name), Ok(6));
    assert_eq!(&name[..6], b"serial");
    let mut sectors = [0xff; 4 * 512];
    driver.read_blocks(7, &mut sectors).unwrap();
    for (n, sector) in (7..).zip(sectors.chunks(512)) {
        assert!(sector.iter().all(|byte| *byte == n));
    }
    // Rounds enough for the rings to wrap several times.
    for round in 0..100u8 {
        let sector = usize::from(round) % 64;
        driver.write_blocks(sector, &[round; 512]).unwrap();
        let mut back = [0; 512];
        driver.read_blocks(sector, &mut back).unwrap();
        assert_eq!(back, [round; 512]);
    }
    driver.flush().unwrap();
    assert!(
        driver
            .ack_interrupt()
            .contains(InterruptStatus::QUEUE_INTERRUPT)
    );
    assert!(
        driver.read_blocks(64, &mut sectors).is_err(),
        "behind the end"
    );
    let requests = device.borrow().device().requests();
    assert_eq!(
        (requests.reads, requests.writes, requests.refused),
        (101, 100, 1)
    );
    assert_eq!(
        (requests.read_bytes, requests.written_bytes),
        (104 * 512, 100 * 512)
    );
    assert!(device.borrow().fault().is_none());
    drop(driver);
}

#[test]
fn a_disk_that_is_read_only_says_so_and_stays_as_it_is() {
    let device = disk(false);
    let mut driver = VirtIOBlk::<Guest, _>::new(Wire(device.clone())).unwrap();
    assert!(driver.readonly());
    assert!(driver.write_blocks(0, &[9; 512]).is_err());
    let mut back = [9; 512];
    driver.read_blocks(0, &mut back).unwrap();
    assert_eq!(back, [0; 512]);
    assert_eq!(device.borrow().device().requests().writes, 0);
}

#[test]
fn a_console_prints_and_is_typed_on() {
    let console = Mmio::new(Console::new(Vec::new())).unwrap();
    let device = Rc::new(RefCell::new(console));
    let mut driver = VirtIOConsole::<Guest, _>::new(Wire(device.clone())).unwrap();
    driver.send_bytes(b"hello, ").unwrap();
    for byte in b"host\n" {
        driver.send(*byte).unwrap();
    }
    assert_eq!(device.borrow().device().output(), b"hello, host\n");
    assert_eq!(driver.recv(true), Ok(None));
    let typed: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
    assert_eq!(
        device.borrow_mut().device_mut().type_in(&typed),
        typed.len()
    );
    BOARD.with(|board| {
        let memory = board.ram.view().unwrap();
        let queue = Console::<Vec<u8>>::INPUT;
        assert!(device.borrow_mut().poke(queue, &memory), "an interrupt");
    });
    assert_eq!(driver.ack_interrupt(), Ok(true));
    let mut received = Vec::new();
    while let Some(byte) = driver.recv(true).unwrap() {
        received.push(byte);
    }
    assert!(received == typed);
    assert!(device.borrow().fault().is_none());
}
